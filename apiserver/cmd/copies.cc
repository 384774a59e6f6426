// `coracle backup` and `coracle restore`.
#include <coracle/stores.h>

#include <iostream>

#include "commands.h"

namespace coracle {
namespace {

void print(const char* what, const DatabaseSummary& summary, const std::string& where) {
  std::cout << what << summary.objects << " objects, the newest of revision " << summary.newest
            << where << "\n";
}

}  // namespace

std::string database_path(const std::string& data_dir) {
  return data_dir + "/coracle.db";
}

int backup(const std::string& data_dir, const std::string& file, bool force) {
  const auto done =
      backup_database(database_path(data_dir), file, force ? Overwrite::Yes : Overwrite::No);
  if (!done && is_already_exists(done.error()))
    return fail({Code::AlreadyExists, done.error().message + " (--force replaces it)"});
  if (!done) return fail(done.error());
  print("saved ", *done, " in " + file);
  return 0;
}

int restore(const std::string& data_dir, const std::string& file) {
  const auto done = restore_database(database_path(data_dir), file);
  if (!done && is_conflict(done.error()))
    return fail({Code::Conflict, done.error().message + "; stop the server first"});
  if (!done) return fail(done.error());
  print("restored ", *done, "");
  if (!done->aside.empty()) std::cout << "the database before is kept as " << done->aside << "\n";
  return 0;
}

}  // namespace coracle
