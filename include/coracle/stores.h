// Opens the Store implementations, and copies databases. Nothing else of store/ is visible outside
// it.
#pragma once

#include <coracle/store.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace coracle {

// What an operator has to know of a database that goes on working.
struct StoreNotice {
  enum class Kind {
    Recovered,       // it was damaged: kept aside, and replaced by what could be saved
    Repaired,        // the disk failed while running: opened again and made equal to memory
    SnapshotFailed,  // the first of a row of failures
  };
  Kind kind = Kind::Recovered;
  std::string message;
};
// Called from open_sqlite_store() and from the store's threads, one call at a time per thread.
using StoreNoticeSink = std::function<void(const StoreNotice&)>;

struct SqliteStoreOptions {
  std::string path;              // the database file; made when absent
  Decorator decorate = nullptr;  // nullptr: values are published as written
  StoreNoticeSink notice = nullptr;
  // Snapshots go to snapshots/ beside the database: one at start and then at most one per interval,
  // and only when something durable changed since the last one. 0: none are taken.
  std::chrono::milliseconds snapshot_interval = std::chrono::minutes(15);
};
// Checks everything, reserves a block of revisions (one small write) and loads every entry. A
// damaged database is moved aside and the newest good snapshot takes its place, else an empty one;
// revisions never go back. Conflict when another process has it open; Internal when the disk does
// not let it be read or replaced: then nothing has been moved.
Result<std::unique_ptr<Store>> open_sqlite_store(SqliteStoreOptions options);

struct DatabaseSummary {
  std::size_t objects = 0;
  Revision newest = 0;     // the newest object's
  std::string aside = {};  // where restore_database() put the one before; "" = there was none
};
enum class Overwrite { No, Yes };
// Copies the database as of one moment to a single file, while a server may be writing, and checks
// the copy in full. NotFound: no database; AlreadyExists: there is such a file; Internal: damaged,
// or the disk failed; nothing is left behind then.
Result<DatabaseSummary> backup_database(const std::string& path, const std::string& file,
                                        Overwrite overwrite);
// Puts a checked copy of `file` into the place of the database, which is kept aside. Conflict when
// a server runs on it; Invalid when the file is no sound database: nothing has changed then.
Result<DatabaseSummary> restore_database(const std::string& path, const std::string& file);

// Keeps everything in memory: the reference for SqliteStore and the store of tests.
std::unique_ptr<Store> open_memory_store(Decorator decorate = nullptr);

}  // namespace coracle
