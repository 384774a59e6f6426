// Opens the Store implementations. Nothing else of store/ is visible outside it.
#pragma once

#include <coracle/store.h>

#include <memory>
#include <string>

namespace coracle {

struct SqliteStoreOptions {
  std::string path;              // the database file; made when absent
  Decorator decorate = nullptr;  // nullptr: values are published as written
};
// Internal when the database can not be opened, is damaged or of another version; Conflict when
// another process has it open. Reserves a block of revisions (one small write) and loads every
// entry.
Result<std::unique_ptr<Store>> open_sqlite_store(SqliteStoreOptions options);

// Keeps everything in memory: the reference for SqliteStore and the store of tests.
std::unique_ptr<Store> open_memory_store(Decorator decorate = nullptr);

}  // namespace coracle
