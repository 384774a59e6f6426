// Copies of a database that an operator asks for: see coracle/stores.h.
#include <coracle/stores.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "files.h"
#include "recovery.h"
#include "snapshots.h"

namespace coracle {
namespace {

Result<void> make_private_directory(const std::string& path) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(path, error);
  if (error) return Error{Code::Internal, "creating " + path + ": " + error.message()};
  if (made && chmod(path.c_str(), 0700) != 0) return Error::from_errno(errno, "chmod " + path);
  return {};
}

}  // namespace

Result<DatabaseSummary> backup_database(const std::string& path, const std::string& file,
                                        Overwrite overwrite) {
  if (!file_exists(path)) return Error{Code::NotFound, "there is no database " + path};
  if (overwrite == Overwrite::No && file_exists(file))
    return Error{Code::AlreadyExists, file + " exists"};
  const std::string unfinished = file + ".unfinished";
  const auto contents = copy_database(path, unfinished);
  if (!contents) {
    Error error = contents.error();
    error.code = Code::Internal;
    return error;
  }
  (void)chmod(unfinished.c_str(), 0600);  // it holds Secrets
  TRY(move_file(unfinished, file));
  return DatabaseSummary{contents->objects, contents->newest};
}

Result<DatabaseSummary> restore_database(const std::string& path, const std::string& file) {
  if (!file_exists(file)) return Error{Code::NotFound, "there is no file " + file};
  TRY(make_private_directory(directory_of(path)));
  const FileLock lock = TRY(FileLock::take(path + ".lock"));
  TRY(finish_exchange(path));
  const std::string replacement = replacement_for(path);
  const Contents contents = TRY(copy_database(file, replacement));
  // Clients and snapshots know revisions of what is replaced: all that follow are newer.
  Revision reserved = std::max(contents.reserved, lock.remembered());
  const auto taken = snapshots_of(path);
  if (!taken.empty()) reserved = std::max(reserved, taken.front().revision);
  reserved = TRY(start_revisions_after(replacement, reserved));
  const bool replaces = file_exists(path);
  const std::string aside = TRY(exchange_database(path, "replaced"));
  lock.remember(reserved);
  return DatabaseSummary{contents.objects, contents.newest, replaces ? aside : ""};
}

}  // namespace coracle
