// The durable Store: entries in memory, their durable ones in one SQLite table, and one writer
// thread that commits every write that waits in one transaction (one fsync) before it publishes
// them in revision order.
#include <coracle/stores.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "key_space.h"
#include "sqlite.h"

namespace coracle {
namespace {

constexpr std::int64_t kSchemaVersion = 1;
// Revisions are reserved in blocks, so that none is given twice although the counter is not written
// while running.
constexpr Revision kRevisionBlock = Revision{1} << 32;

constexpr const char* kSchema =
    // The present only: history lives in the watch hub's ring.
    "CREATE TABLE IF NOT EXISTS objects("
    "  key TEXT PRIMARY KEY NOT NULL,"
    "  create_revision INTEGER NOT NULL,"
    "  mod_revision INTEGER NOT NULL,"
    "  value BLOB NOT NULL) WITHOUT ROWID;"
    // reserved: every revision below it may have been used.
    "CREATE TABLE IF NOT EXISTS revisions(id INTEGER PRIMARY KEY CHECK(id = 1), reserved INTEGER "
    "NOT NULL);"
    "INSERT OR IGNORE INTO revisions VALUES(1, 1);";

class FileLock {
 public:
  static Result<FileLock> take(const std::string& path) {
    FileLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (lock.fd_ < 0) return Error::from_errno(errno, path);
    if (flock(lock.fd_, LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno == EWOULDBLOCK)
      return Error{Code::Conflict, path + ": another process has this database open"};
    return Error::from_errno(errno, path);
  }
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock() {
    if (fd_ >= 0) close(fd_);
  }

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

struct Statements {
  Statement put, erase, reserve;
};

struct Loaded {
  KeySpace::Entries entries;
  Revision revision = 0;
  Revision reserved = 0;
};

Result<void> prepare_database(Database& database) {
  TRY(database.execute("PRAGMA journal_mode=WAL"));
  TRY(database.execute("PRAGMA synchronous=FULL"));
  TRY(database.execute("PRAGMA foreign_keys=OFF; PRAGMA temp_store=MEMORY"));
  const std::string check = TRY(database.query_text("PRAGMA quick_check(1)"));
  if (check != "ok") return Error{Code::Internal, "the database is damaged: " + check};
  const std::int64_t version = TRY(database.query_int("PRAGMA user_version"));
  if (version != 0 && version != kSchemaVersion) {
    return Error{Code::Internal, "the database has format " + std::to_string(version) +
                                     ", this program knows " + std::to_string(kSchemaVersion)};
  }
  if (version == 0) {
    TRY(database.execute(std::string("BEGIN IMMEDIATE;") + kSchema +
                         "PRAGMA user_version=" + std::to_string(kSchemaVersion) + ";COMMIT"));
  }
  return {};
}

Result<Loaded> load(Database& database, const Decorator& decorate) {
  Loaded loaded;
  Statement rows =
      TRY(database.prepare("SELECT key, create_revision, mod_revision, value FROM objects"));
  while (TRY(rows.step())) {
    auto entry = std::make_shared<Entry>();
    entry->key = rows.column_bytes(0);
    entry->create_revision = rows.column_int(1);
    entry->mod_revision = rows.column_int(2);
    const std::string_view value = rows.column_bytes(3);
    entry->value = decorate ? decorate(value, entry->mod_revision) : std::string(value);
    loaded.entries.emplace_hint(loaded.entries.end(), entry->key, entry);
  }
  loaded.revision = TRY(database.query_int("SELECT reserved FROM revisions"));
  loaded.reserved = loaded.revision + kRevisionBlock;
  TRY(database.execute("UPDATE revisions SET reserved = " + std::to_string(loaded.reserved)));
  return loaded;
}

class SqliteStore final : public Store {
 public:
  SqliteStore(FileLock lock, Database database, Statements statements, Loaded loaded,
              Decorator decorate)
      : lock_(std::move(lock)),
        database_(std::move(database)),
        statements_(std::move(statements)),
        reserved_(loaded.reserved),
        next_revision_(loaded.revision + 1),
        keys_(std::move(loaded.entries), loaded.revision, std::move(decorate)),
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
    for (;;) {
      std::deque<Pending> batch;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        batch.swap(waiting_);
      }
      commit(batch);
    }
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
    if (auto durable = make_durable(events, writes); !durable) {
      // Later checks of the batch saw state that now never was: nobody of the batch gets another
      // answer.
      for (auto& answer : answers) answer = Result<EntryPtr>(durable.error());
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
    TRY(database_.execute("BEGIN IMMEDIATE"));
    auto written = write_rows(events, writes);
    if (written) written = database_.execute("COMMIT");
    // After some failures SQLite has rolled back by itself: this one then fails, and that is fine.
    if (!written) (void)database_.execute("ROLLBACK").has_value();
    return written;
  }

  Result<void> write_rows(const std::vector<StoreEvent>& events,
                          const std::vector<const WriteOperation*>& writes) {
    for (std::size_t i = 0; i < events.size(); ++i)
      if (touches_disk(events[i])) TRY(write_row(events[i], writes[i]->value));
    if (next_revision_ < reserved_) return {};
    reserved_ = next_revision_ + kRevisionBlock;
    statements_.reserve.bind(1, reserved_);
    return finish(statements_.reserve);
  }

  Result<void> write_row(const StoreEvent& event, const std::string& value) {
    const Entry& entry = *event.entry;
    if (event.type == StoreEvent::Type::Delete || entry.durability == Durability::Ephemeral) {
      statements_.erase.bind_text(1, entry.key);
      return finish(statements_.erase);
    }
    statements_.put.bind_text(1, entry.key);
    statements_.put.bind(2, entry.create_revision);
    statements_.put.bind(3, entry.mod_revision);
    statements_.put.bind_blob(4, value);  // as the writer gave it, without the decoration
    return finish(statements_.put);
  }

  static Result<void> finish(Statement& statement) {
    auto done = statement.step();
    statement.reset();
    if (!done) return done.error();
    return {};
  }

  const FileLock lock_;
  // The writer thread's own.
  Database database_;
  Statements statements_;
  Revision reserved_;
  Revision next_revision_;

  KeySpace keys_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::deque<Pending> waiting_;
  bool closing_ = false;
  std::thread writer_;  // last: it uses everything above
};

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(SqliteStoreOptions options) {
  FileLock lock = TRY(FileLock::take(options.path + ".lock"));
  Database database = TRY(Database::open(options.path));
  auto prepared = prepare_database(database);
  if (!prepared) return prepared.error().context(options.path);
  auto loaded = load(database, options.decorate);
  if (!loaded) return loaded.error().context(options.path);
  Statements statements{
      TRY(database.prepare("INSERT OR REPLACE INTO objects VALUES(?1, ?2, ?3, ?4)")),
      TRY(database.prepare("DELETE FROM objects WHERE key = ?1")),
      TRY(database.prepare("UPDATE revisions SET reserved = ?1"))};
  return std::unique_ptr<Store>(
      std::make_unique<SqliteStore>(std::move(lock), std::move(database), std::move(statements),
                                    std::move(*loaded), std::move(options.decorate)));
}

}  // namespace coracle
