// The writer's connection: opened with every check, brought in line with memory after the disk
// failed, or made anew from memory. Memory is the truth while a store runs: it holds exactly what
// was acknowledged.
#pragma once

#include <coracle/store.h>

#include <optional>

#include "files.h"
#include "key_space.h"
#include "object_table.h"

namespace coracle {

struct Connection {
  Database database;
  RowWriter rows;
};

struct Opened {
  Connection connection;
  KeySpace::Entries entries;
  Contents contents;
  Revision revision = 0;  // of the state that was loaded: no lower one is ever given again
  Revision reserved = 0;  // not above `revision` when the disk is too full to reserve
};

// Opens, checks and loads; makes a new database unless there was one before. Invalid: damaged.
Result<Opened> open_connection(const std::string& path, const Decorator& decorate,
                               const FileLock& lock, bool used_before);

// Opens again and makes the rows equal to the durable ones of `truth`, in one transaction.
// Invalid: damaged.
Result<Connection> open_in_line(const std::string& path, const std::vector<EntryPtr>& truth,
                                Revision reserved);
struct Rebuilt {
  Connection connection;
  std::string aside;
};
// Writes a new database from memory into the place of a damaged one, which is kept aside.
Result<Rebuilt> rebuild(const std::string& path, const std::vector<EntryPtr>& truth,
                        Revision reserved);

}  // namespace coracle
