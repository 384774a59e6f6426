// The durable Store: entries in memory, their durable ones in one SQLite table, and one writer
// thread that commits every write that waits in one transaction (one fsync) before it publishes
// them in revision order. When the disk fails, the connection is dropped, and a new one is first
// made equal to memory.
#include <coracle/metrics.h>
#include <coracle/stores.h>

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "connection.h"
#include "recovery.h"
#include "snapshots.h"

namespace coracle {
namespace {

constexpr int kOpenAttempts = 3;  // a read that failed once may succeed

// The store's own codes mean nothing to callers of the contract.
Error for_callers(Error error) {
  error.code = Code::Internal;
  return error;
}

constexpr std::chrono::milliseconds kSlowCommit{4};
constexpr std::chrono::milliseconds kMostPatience{5};

// A commit is a batch and an fsync.
metrics::Histogram commit_times("store_commit_duration_seconds",
                                "Time of a durable commit, which is one batch and one fsync.",
                                0.0001);
metrics::Histogram batch_sizes("store_commit_writes", "Writes of a durable commit.", 1);

class SqliteStore final : public Store {
 public:
  SqliteStore(FileLock lock, Opened opened, SqliteStoreOptions options)
      : lock_(std::move(lock)),
        path_(options.path),
        notice_(options.notice),
        connection_(std::move(opened.connection)),
        reserved_(opened.reserved),
        next_revision_(opened.revision + 1),
        keys_(std::move(opened.entries), opened.revision, std::move(options.decorate)),
        taker_(taker_options(options, opened.contents)),
        writer_([this] { run(); }) {}

  ~SqliteStore() override {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_one();
    writer_.join();  // drains what waits; closing the database then checkpoints the WAL
  }
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;

  Result<EntryPtr> get(std::string_view key) const override { return keys_.get(key); }
  Result<ListResult> list(const ListQuery& query) const override { return keys_.list(query); }
  Result<EntryPtr> create(std::string key, std::string value, PutOptions options) override {
    return write(
        {WriteOperation::Type::Create, std::move(key), std::move(value), {}, options.durability});
  }
  Result<EntryPtr> update(std::string key, std::string value, Revision expected,
                          PutOptions options) override {
    return write({WriteOperation::Type::Update, std::move(key), std::move(value), expected,
                  options.durability});
  }
  Result<EntryPtr> remove(std::string key, std::optional<Revision> expected) override {
    return write({WriteOperation::Type::Remove, std::move(key), {}, expected});
  }
  Result<std::unique_ptr<StoreWatch>> watch(std::string prefix, Revision from) override {
    return keys_.watch(std::move(prefix), from);
  }
  Revision revision() const override { return keys_.revision(); }

 private:
  struct Pending {
    WriteOperation operation;
    std::promise<Result<EntryPtr>> promise;
  };

  Result<EntryPtr> write(WriteOperation operation) {
    std::future<Result<EntryPtr>> answer;
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back({std::move(operation), {}});
      answer = waiting_.back().promise.get_future();
    }
    wake_.notify_one();
    return answer.get();
  }

  void run() {
    std::size_t answered = 0;  // of the last batch, and how long that took
    std::chrono::steady_clock::duration took{};
    for (;;) {
      std::deque<Pending> batch;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        gather(lock, answered, took);
        batch.swap(waiting_);
      }
      const auto begin = std::chrono::steady_clock::now();
      commit(batch);
      took = std::chrono::steady_clock::now() - begin;
      answered = batch.size();
    }
  }

  SnapshotTaker::Options taker_options(const SqliteStoreOptions& options,
                                       const Contents& contents) {
    SnapshotTaker::Options out{
        .database = options.path, .interval = options.snapshot_interval, .delay = {}};
    const auto taken = snapshots_of(options.path);
    out.changed = taken.empty() ? contents.objects > 0 : taken.front().digest != contents.digest;
    if (!out.changed)
      out.delay = taken.empty() ? std::min(out.interval, kFirstSnapshot) : out.interval;
    out.revision = [this] { return keys_.revision(); };
    out.notice = options.notice;
    return out;
  }

  // On a disk with slow fsyncs, those whose writes were just answered are likely to write again at
  // once: to wait for them for a small part of an fsync saves them a whole one.
  void gather(std::unique_lock<std::mutex>& lock, std::size_t answered,
              std::chrono::steady_clock::duration took) {
    if (took < kSlowCommit || answered + waiting_.size() < 3) return;
    const std::size_t expected = answered + waiting_.size();
    const auto patience = std::min<std::chrono::steady_clock::duration>(took / 8, kMostPatience);
    (void)wake_.wait_for(lock, patience, [&] { return closing_ || waiting_.size() >= expected; });
  }

  void commit(std::deque<Pending>& batch) {
    KeySpace::Overlay overlay;
    std::vector<Result<EntryPtr>> answers;
    std::vector<StoreEvent> events;
    std::vector<const WriteOperation*> writes;
    for (const Pending& pending : batch) {
      auto event = keys_.plan(pending.operation, next_revision_, overlay);
      if (!event) {
        answers.emplace_back(event.error());
        continue;
      }
      ++next_revision_;  // a failed transaction leaves a gap, never a revision that was given twice
      answers.emplace_back(event->entry);
      writes.push_back(&pending.operation);
      events.push_back(std::move(*event));
    }
    if (const auto durable = make_durable(events, writes); !durable) {
      // Later checks of the batch saw state that now never was: nobody of the batch gets another
      // answer.
      for (auto& answer : answers) answer = Result<EntryPtr>(for_callers(durable.error()));
    } else {
      keys_.publish(events);
    }
    for (std::size_t i = 0; i < answers.size(); ++i)
      batch[i].promise.set_value(std::move(answers[i]));
  }

  static bool touches_disk(const StoreEvent& event) {
    return event.entry->durability == Durability::Durable ||
           (event.previous && event.previous->durability == Durability::Durable);
  }

  Result<void> make_durable(const std::vector<StoreEvent>& events,
                            const std::vector<const WriteOperation*>& writes) {
    bool any = next_revision_ >= reserved_;
    for (const StoreEvent& event : events) any = any || touches_disk(event);
    if (!any) return {};
    TRY(reconnect());
    const auto begin = std::chrono::steady_clock::now();
    auto written = transact(events, writes);
    if (written) {
      commit_times.observe_since(begin);
      batch_sizes.observe(static_cast<double>(events.size()));
      taker_.note_change();
    } else if (!is_disk_full(written.error())) {
      // After a failed fsync nobody knows what is on the disk, and the kernel reports it once. Now
      // rather than with the next write, so that the failed one is undone before it is answered.
      connection_->database.abandon();
      connection_.reset();
      (void)reconnect().has_value();
    }
    return written;
  }

  Result<void> reconnect() {
    if (connection_) return {};
    const auto truth = TRY(keys_.list({})).entries;
    std::string story = "the disk failed; the database has been opened again and checked";
    auto again = open_in_line(path_, truth, reserved_);
    if (!again && is_damage(again.error())) {
      auto rebuilt = rebuild(path_, truth, reserved_);
      if (!rebuilt) return rebuilt.error().context("making the database anew");
      story = "the disk failed and left the database damaged (" + again.error().message +
              "); it has been made anew from memory, the damaged one is kept as " + rebuilt->aside;
      again = std::move(rebuilt->connection);
    }
    if (!again) return again.error().context("opening the database again");
    connection_ = std::move(*again);
    if (notice_) notice_({StoreNotice::Kind::Repaired, story});
    return {};
  }

  Result<void> transact(const std::vector<StoreEvent>& events,
                        const std::vector<const WriteOperation*>& writes) {
    Database& database = connection_->database;
    TRY(database.execute("BEGIN IMMEDIATE"));
    const Revision reserved =
        next_revision_ < reserved_ ? reserved_ : next_revision_ + kRevisionBlock;
    auto written = write_rows(events, writes);
    if (written && reserved != reserved_) written = connection_->rows.reserve(reserved);
    if (written) written = database.execute("COMMIT");
    // After some failures SQLite has rolled back by itself: this one then fails, and that is fine.
    if (!written) {
      (void)database.execute("ROLLBACK").has_value();
      return written;
    }
    if (reserved != reserved_) lock_.remember(reserved);
    reserved_ = reserved;
    return {};
  }

  Result<void> write_rows(const std::vector<StoreEvent>& events,
                          const std::vector<const WriteOperation*>& writes) {
    for (std::size_t i = 0; i < events.size(); ++i)
      if (touches_disk(events[i])) TRY(write_row(events[i], writes[i]->value));
    return {};
  }

  Result<void> write_row(const StoreEvent& event, const std::string& value) {
    const Entry& entry = *event.entry;
    if (event.type == StoreEvent::Type::Delete || entry.durability == Durability::Ephemeral)
      return connection_->rows.erase(entry.key);
    // As the writer gave it, without the decoration.
    return connection_->rows.put({entry.key, entry.create_revision, entry.mod_revision, value});
  }

  const FileLock lock_;
  const std::string path_;
  const StoreNoticeSink notice_;
  // The writer thread's own.
  std::optional<Connection> connection_;  // none: the disk failed, see reconnect()
  Revision reserved_;
  Revision next_revision_;

  KeySpace keys_;
  SnapshotTaker taker_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::deque<Pending> waiting_;
  bool closing_ = false;
  std::thread writer_;  // last: it uses everything above
};

Result<Opened> open_patiently(const SqliteStoreOptions& options, const FileLock& lock,
                              bool used_before) {
  for (int attempt = 1;; ++attempt) {
    auto opened = open_connection(options.path, options.decorate, lock, used_before);
    const bool again = !opened && opened.error().code == Code::Unavailable;
    if (!again || attempt == kOpenAttempts) return opened;
  }
}

// The newest revision that may have been used, as far as files beside the database tell.
Revision known_revision(const std::string& path, const FileLock& lock) {
  const auto taken = snapshots_of(path);
  return std::max(lock.remembered(), taken.empty() ? 0 : taken.front().revision);
}

Result<Opened> open_or_recover(const SqliteStoreOptions& options, const FileLock& lock) {
  const std::string& path = options.path;
  std::string story;
  if (const std::string aside = TRY(finish_exchange(path)); !aside.empty())
    story = "a recovery that was interrupted has been completed; the damaged database is " + aside;
  const Revision known = known_revision(path, lock);
  auto opened = open_patiently(options, lock, known > 0);
  // What can not be read is as lost as what is wrong. Should it be the whole disk that fails, no
  // replacement can be made, and nothing is moved.
  if (!opened && (is_damage(opened.error()) || opened.error().code == Code::Unavailable)) {
    story = TRY(recover(path, opened.error().message, known));
    opened = open_patiently(options, lock, true);
  }
  if (opened && !story.empty() && options.notice)
    options.notice({StoreNotice::Kind::Recovered, story});
  return opened;
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(SqliteStoreOptions options) {
  FileLock lock = TRY(FileLock::take(options.path + ".lock"));
  auto opened = open_or_recover(options, lock);
  if (!opened) return for_callers(opened.error().context(options.path));
  return std::unique_ptr<Store>(
      std::make_unique<SqliteStore>(std::move(lock), std::move(*opened), std::move(options)));
}

}  // namespace coracle
