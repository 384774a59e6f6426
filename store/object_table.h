// What a database holds: its tables, made, checked, read and written. Every row carries a checksum,
// so damage inside a value, which SQLite can not see, is seen here. One thread at a time.
#pragma once

#include <coracle/object.h>

#include <functional>

#include "sqlite.h"

namespace coracle {

// Revisions are reserved in blocks, so that none is given twice although the counter is not written
// while running.
constexpr Revision kRevisionBlock = Revision{1} << 32;
// How far a recovery jumps: further than the blocks that starts since a snapshot can have taken.
constexpr Revision kRecoveryJump = Revision{1} << 48;
constexpr Revision kRevisionLimit = Revision{1} << 62;  // nothing honest gets there

struct Row {
  std::string_view key;
  Revision create_revision = 0;
  Revision mod_revision = 0;
  std::string_view value;
};
using RowVisitor = std::function<void(const Row&)>;

struct Contents {
  Revision reserved = 0;  // every revision below it may have been used
  Revision newest = 0;    // of the rows
  std::size_t objects = 0;
  std::uint64_t digest = 0;  // of all rows, whatever their order
};

// True when there is nothing in it, not even tables.
Result<bool> is_blank(Database& database);
// Makes the tables in a blank database; brings those of an earlier program to this format.
Result<void> prepare_tables(Database& database);
// Checks structure, identity, format and every row, and shows the rows in key order. Invalid says
// what is wrong with it; rows shown before that are not to be used. Writes nothing.
Result<Contents> read_contents(Database& database, Thoroughness how, const RowVisitor& visit);
Result<void> set_reserved(Database& database, Revision reserved);

// Prepared writes.
class RowWriter {
 public:
  static Result<RowWriter> create(Database& database);
  Result<void> put(const Row& row);
  Result<void> erase(std::string_view key);
  Result<void> reserve(Revision reserved);

 private:
  RowWriter(Statement put, Statement erase, Statement reserve);
  Statement put_, erase_, reserve_;
};

}  // namespace coracle
