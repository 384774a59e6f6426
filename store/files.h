// Files beside SQLite's own: durable renames and copies, and the lock of a database. No fsync is
// forgotten here, and no error.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <string>
#include <vector>

namespace coracle {

bool file_exists(const std::string& path);
bool is_empty_file(const std::string& path);  // or an absent one
// Makes renames and new names of its directory durable.
Result<void> sync_directory_of(const std::string& path);
Result<void> sync_file(const std::string& path);
// A durable rename; replaces the target.
Result<void> move_file(const std::string& from, const std::string& to);
Result<std::string> read_file(const std::string& path);
Result<void> copy_file(const std::string& from, const std::string& to);  // replaces; not durable
void remove_file(const std::string& path);                               // absent is fine
// A database with all that belongs to it: its log, its index of the log, its journal.
const std::vector<std::string>& database_suffixes();
void remove_database(const std::string& path);
// The names in a directory, sorted; none when it does not exist.
std::vector<std::string> names_in(const std::string& directory);
std::string directory_of(const std::string& path);
std::string name_of(const std::string& path);
std::string utc_stamp();  // "20261124T124501Z"

// Held by whoever may write a database: the server while it runs, `coracle restore` while it
// replaces. It also remembers up to where revisions may have been used, should the database forget.
class FileLock {
 public:
  // Conflict when another process holds it.
  static Result<FileLock> take(const std::string& path);
  FileLock(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

  Revision remembered() const;  // 0: nothing, or nothing that makes sense
  // As good as the disk's cache: a recovery leaves room for what is lost here.
  void remember(Revision revision) const;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace coracle
