#include "snapshots.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>
#include <tuple>
#include <utility>

#include "files.h"

namespace coracle {
namespace {

bool newer(const SnapshotName& a, const SnapshotName& b) {
  return std::tie(a.revision, a.stamp) > std::tie(b.revision, b.stamp);
}

Result<void> copy_to_new_file(const std::string& from, const std::string& to) {
  Database source = TRY(Database::open(from, OpenMode::ReadOnly));
  TRY(source.execute("PRAGMA cache_size=-256"));
  Database target = TRY(Database::open(to));
  TRY(target.execute("PRAGMA synchronous=FULL; PRAGMA cache_size=-256"));
  return source.copy_to(target);
}

// Out of the mode of its source, which would need a log beside it.
Result<Contents> make_single_file(const std::string& path) {
  Database database = TRY(Database::open(path, OpenMode::Existing));
  TRY(database.execute("PRAGMA synchronous=FULL; PRAGMA cache_size=-256"));
  const std::string mode = TRY(database.query_text("PRAGMA journal_mode=DELETE"));
  if (mode != "delete") return Error{Code::Internal, path + " stays in journal mode " + mode};
  return read_contents(database, Thoroughness::Full, nullptr);
}

}  // namespace

std::string SnapshotName::to_string() const {
  char text[96];
  const int size =
      std::snprintf(text, sizeof(text), "%020lld-%016llx-%s.db", static_cast<long long>(revision),
                    static_cast<unsigned long long>(digest), stamp.c_str());
  return {text, static_cast<std::size_t>(size)};
}

std::optional<SnapshotName> SnapshotName::parse(const std::string& name) {
  long long revision = 0;
  unsigned long long digest = 0;
  char stamp[24] = {};
  if (std::sscanf(name.c_str(), "%20lld-%16llx-%23[0-9TZ]", &revision, &digest, stamp) != 3)
    return std::nullopt;
  SnapshotName parsed{revision, digest, stamp};
  if (revision < 0 || revision >= kRevisionLimit || parsed.to_string() != name) return std::nullopt;
  return parsed;
}

std::vector<SnapshotName> snapshots_to_drop(std::vector<SnapshotName> all) {
  std::sort(all.begin(), all.end(), newer);
  std::vector<SnapshotName> dropped;
  std::set<std::string> days;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string day = all[i].stamp.substr(0, 8);
    const bool newest_of_day = days.size() < kDailySnapshots && days.insert(day).second;
    if (i >= kNewestSnapshots && !newest_of_day) dropped.push_back(all[i]);
  }
  return dropped;
}

std::string snapshot_directory(const std::string& database) {
  return directory_of(database) + "/snapshots";
}

std::vector<SnapshotName> snapshots_of(const std::string& database) {
  std::vector<SnapshotName> found;
  for (const std::string& name : names_in(snapshot_directory(database)))
    if (auto parsed = SnapshotName::parse(name)) found.push_back(*parsed);
  std::sort(found.begin(), found.end(), newer);
  return found;
}

Result<Contents> copy_database(const std::string& from, const std::string& to) {
  remove_database(to);
  auto copied = copy_to_new_file(from, to);
  auto contents =
      copied ? make_single_file(to) : Result<Contents>(std::move(copied).error().context(from));
  if (contents) {
    if (auto synced = sync_file(to); !synced) contents = synced.error();
  }
  if (!contents) remove_database(to);
  return contents;
}

Result<void> take_snapshot(const std::string& database, Revision revision) {
  const std::string directory = snapshot_directory(database);
  std::error_code error;
  if (std::filesystem::create_directory(directory, error)) {
    (void)chmod(directory.c_str(), 0700);  // inside a directory that is nobody else's anyway
    TRY(sync_directory_of(directory));
  }
  const std::string unfinished = directory + "/unfinished";
  const Contents contents = TRY(copy_database(database, unfinished));
  const SnapshotName name{revision, contents.digest, utc_stamp()};
  TRY(move_file(unfinished, directory + "/" + name.to_string()));
  for (const SnapshotName& old : snapshots_to_drop(snapshots_of(database)))
    remove_file(directory + "/" + old.to_string());
  return {};
}

SnapshotTaker::SnapshotTaker(Options options)
    : options_(std::move(options)), changed_(options_.changed) {
  if (options_.interval.count() > 0) thread_ = std::thread([this] { run(); });
}

SnapshotTaker::~SnapshotTaker() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void SnapshotTaker::note_change() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(changed_, true)) return;
  }
  wake_.notify_one();
}

void SnapshotTaker::run() {
  using Clock = std::chrono::steady_clock;
  Clock::time_point next = Clock::now() + options_.delay;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || changed_; });
      if (wake_.wait_until(lock, next, [this] { return closing_; })) return;
      changed_ = false;
    }
    take();
    next = Clock::now() + options_.interval;
  }
}

void SnapshotTaker::take() {
  const auto taken = take_snapshot(options_.database, options_.revision());
  if (!taken) {
    note_change();  // still to be saved
    if (!failing_ && options_.notice)
      options_.notice({StoreNotice::Kind::SnapshotFailed,
                       "taking a snapshot failed: " + taken.error().message + ", retrying in " +
                           std::to_string(options_.interval / std::chrono::seconds(1)) + " s"});
  }
  failing_ = !taken;
}

}  // namespace coracle
