// Rolling snapshots of a database: which to keep (pure), and the thread that takes them when
// something changed. An idle store wakes nobody and writes nothing.
#pragma once

#include <coracle/stores.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "object_table.h"

namespace coracle {

constexpr std::size_t kNewestSnapshots = 4;                // kept whatever their age
constexpr std::size_t kDailySnapshots = 7;                 // days of which the newest one is kept
constexpr std::chrono::milliseconds kFirstSnapshot{5000};  // a new database does not wait longer

// A snapshot's file name says what is in it: revisions order snapshots, because the clock of a
// machine without a battery jumps.
struct SnapshotName {
  Revision revision = 0;     // the store's, when it was taken
  std::uint64_t digest = 0;  // of the rows: equal digests, equal content
  std::string stamp;         // UTC

  std::string to_string() const;
  static std::optional<SnapshotName> parse(const std::string& name);
};

// Those of the names that need not be kept. Pure.
std::vector<SnapshotName> snapshots_to_drop(std::vector<SnapshotName> all);

std::string snapshot_directory(const std::string& database);
std::vector<SnapshotName> snapshots_of(const std::string& database);  // newest first

// Copies a database, as of one moment, into a single new file; syncs it and checks it in full.
// Invalid: the source is damaged.
Result<Contents> copy_database(const std::string& from, const std::string& to);
// Takes a snapshot and drops what need not be kept.
Result<void> take_snapshot(const std::string& database, Revision revision);

class SnapshotTaker {
 public:
  struct Options {
    std::string database;
    std::chrono::milliseconds interval{};  // 0: none are taken
    std::chrono::milliseconds delay{};     // before the first one
    bool changed = false;                  // since the newest snapshot
    std::function<Revision()> revision = nullptr;
    StoreNoticeSink notice = nullptr;
  };
  explicit SnapshotTaker(Options options);
  ~SnapshotTaker();  // waits for the snapshot that is being taken
  SnapshotTaker(const SnapshotTaker&) = delete;
  SnapshotTaker& operator=(const SnapshotTaker&) = delete;

  // Something durable changed. Cheap, thread-safe.
  void note_change();

 private:
  void run();
  void take();

  const Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  bool changed_;
  bool closing_ = false;
  bool failing_ = false;  // the thread's own
  std::thread thread_;    // last: it uses everything above
};

}  // namespace coracle
