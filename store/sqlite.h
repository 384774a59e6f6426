// SQLite behind RAII and Result: every return code is looked at, extended codes included. The only
// user of sqlite3.h beside it is nobody. Not thread-safe: one thread at a time per Database.
//
// The codes of its errors tell what the caller can do: Invalid: what the file holds is wrong;
// Unavailable: the disk did not do as told (EIO, a failed fsync), the connection is not to be
// trusted any more; TooLarge: the disk is full, nothing happened; Internal: the rest.
#pragma once

#include <coracle/result.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace coracle {

inline bool is_damage(const Error& error) {
  return error.code == Code::Invalid;
}
inline bool is_disk_full(const Error& error) {
  return error.code == Code::TooLarge;
}

// Quick leaves out what concerns indexes.
enum class Thoroughness { Quick, Full };

enum class OpenMode { Create, Existing, ReadOnly };

class Statement {
 public:
  void bind(int index, std::int64_t value);
  void bind_text(int index, std::string_view text);   // copied
  void bind_blob(int index, std::string_view bytes);  // the bytes must live until the step
  // True when there is a row, false at the end. A broken cursor is an error, never a short list.
  Result<bool> step();
  std::int64_t column_int(int column) const;
  std::string_view column_bytes(int column) const;  // valid until the next step
  void reset();

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  sqlite3* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Database {
 public:
  // The log (-wal) of a database that was opened for writing stays when it is closed, emptied: its
  // absence then tells that somebody took it. ReadOnly connections never checkpoint.
  static Result<Database> open(const std::string& path, OpenMode mode = OpenMode::Create);
  Result<void> execute(const std::string& sql);
  Result<Statement> prepare(const std::string& sql);
  // The first column of the first row; NotFound when there is none.
  Result<std::string> query_text(const std::string& sql);
  Result<std::int64_t> query_int(const std::string& sql);
  // Invalid says what is wrong with the structure.
  Result<void> check(Thoroughness how);
  // Replaces the target's content by this one's, as of one moment, while others write here.
  Result<void> copy_to(Database& target);
  // Closing it will touch no file: for a connection that is not to be trusted.
  void abandon();

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  explicit Database(sqlite3* database) : database_(database) {}
  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace coracle
