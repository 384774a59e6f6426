// What only a durable store can get wrong: kill -9, restarts, second openers, damage.
#include <coracle/stores.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <thread>

#include "store/temp_dir.h"
#include "store/watch_hub.h"

namespace coracle {
namespace {

// Writes as fast as it can from several threads and tells each acknowledged write through the pipe,
// until killed.
[[noreturn]] void child(const std::string& path, int round, int fd) {
  auto store = open_sqlite_store({path, nullptr});
  if (!store) _exit(1);
  std::vector<std::thread> writers;
  for (int w = 0; w < 3; ++w) {
    writers.emplace_back([&, w] {
      for (int n = 0;; ++n) {
        const std::string key = "/k/" + std::to_string(w) + "/" + std::to_string(n % 20);
        const std::string value = std::to_string(round) + ":" + std::to_string(n);
        const auto now = (*store)->get(key);
        auto done = now ? (*store)->update(key, value, (*now)->mod_revision, {})
                        : (*store)->create(key, value, {});
        if (!done) _exit(2);
        const std::string line =
            key + " " + std::to_string((*done)->mod_revision) + " " + value + "\n";
        if (write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
          _exit(3);  // atomic: < PIPE_BUF
      }
    });
  }
  for (auto& writer : writers) writer.join();
  _exit(0);
}

struct Acknowledged {
  Revision revision = 0;
  std::string value;
};

// Reads acknowledgements for the given time (at least one), kills the child, and takes what was
// still in the pipe.
void run_and_kill(const std::string& path, int round, std::chrono::microseconds life,
                  std::map<std::string, Acknowledged>& acknowledged) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    close(fds[0]);
    child(path, round, fds[1]);
  }
  close(fds[1]);
  std::string text;
  char buffer[4096];
  std::optional<std::chrono::steady_clock::time_point>
      deadline;  // runs from the first acknowledgement
  bool killed = false;
  for (;;) {
    pollfd polled{fds[0], POLLIN, 0};
    const auto now = std::chrono::steady_clock::now();
    if (!killed && deadline && now >= *deadline) {
      kill(pid, SIGKILL);
      killed = true;
    }
    const int ready = poll(&polled, 1, killed ? 10000 : 1);
    if (ready == 0) continue;
    const ssize_t size = read(fds[0], buffer, sizeof(buffer));
    if (size <= 0) break;
    text.append(buffer, static_cast<std::size_t>(size));
    if (!deadline) deadline = std::chrono::steady_clock::now() + life;
  }
  close(fds[0]);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << status;
  std::istringstream lines(text);
  std::string key;
  Acknowledged one;
  while (lines >> key >> one.revision >> one.value)
    if (one.revision > acknowledged[key].revision) acknowledged[key] = one;
}

TEST(SqliteStore, SurvivesKillNineAtRandomPoints) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  TempDir dir;
  const std::string path = dir.path() + "/db";
  std::map<std::string, Acknowledged> acknowledged;
  Revision newest = 0;
  for (int round = 0; round < 110; ++round) {
    run_and_kill(path, round, std::chrono::microseconds(random() % 40000), acknowledged);
    if (testing::Test::HasFatalFailure()) return;
    auto store = open_sqlite_store({path, nullptr});
    ASSERT_TRUE(store) << store.error().message;
    for (const auto& [key, wanted] : acknowledged) {
      newest = std::max(newest, wanted.revision);
      const auto entry = (*store)->get(key);
      ASSERT_TRUE(entry) << key << " was acknowledged and is gone, round " << round;
      ASSERT_GE((*entry)->mod_revision, wanted.revision) << key;
      if ((*entry)->mod_revision == wanted.revision) {
        ASSERT_EQ((*entry)->value, wanted.value);
      }
    }
    ASSERT_GE((*store)->revision(), newest) << "revisions went back";
    newest = (*store)->revision();
  }
  EXPECT_FALSE(acknowledged.empty());
}

TEST(SqliteStore, ReservesRevisionsAcrossRestarts) {
  TempDir dir;
  Revision last = 0;
  for (int i = 0; i < 3; ++i) {
    auto store = *open_sqlite_store({dir.path() + "/db", nullptr});
    EXPECT_GT(store->revision(), last);
    last = (*store->create("/" + std::to_string(i), "", {}))->mod_revision;
  }
}

TEST(SqliteStore, EphemeralEntriesAreGoneAfterARestart) {
  TempDir dir;
  {
    auto store = *open_sqlite_store({dir.path() + "/db", nullptr});
    ASSERT_TRUE(store->create("/keep", "1", {}));
    ASSERT_TRUE(store->create("/lease", "1", {Durability::Ephemeral}));
    const auto demoted = store->create("/demoted", "1", {});
    ASSERT_TRUE(store->update("/demoted", "2", (*demoted)->mod_revision, {Durability::Ephemeral}));
  }
  auto store = *open_sqlite_store({dir.path() + "/db", nullptr});
  EXPECT_EQ(store->list({})->entries.size(), 1U);
}

TEST(SqliteStore, AnEphemeralWriteDoesNotTouchTheDisk) {
  TempDir dir;
  auto store = *open_sqlite_store({dir.path() + "/db", nullptr});
  const auto size = [&] { return std::filesystem::file_size(dir.path() + "/db-wal"); };
  ASSERT_TRUE(store->create("/durable", "1", {}));
  const auto before = size();
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(store->create("/e/" + std::to_string(i), "1", {Durability::Ephemeral}));
  EXPECT_EQ(size(), before);
  ASSERT_TRUE(store->create("/durable2", "1", {}));
  EXPECT_GT(size(), before);
}

TEST(SqliteStore, RefusesASecondOpener) {
  TempDir dir;
  const auto first = *open_sqlite_store({dir.path() + "/db", nullptr});
  const auto second = open_sqlite_store({dir.path() + "/db", nullptr});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::Conflict);
}

TEST(SqliteStore, AFullDiskFailsTheWriteAndKeepsTheRest) {
  TempDir dir;
  auto store = *open_sqlite_store({dir.path() + "/db", nullptr});
  const auto kept = store->create("/kept", "1", {});
  ASSERT_TRUE(kept);
  // No file of this process may grow past the present size of the log: the next commit meets EFBIG,
  // as a full disk.
  const auto wal = std::filesystem::file_size(dir.path() + "/db-wal");
  struct rlimit old {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = old;
  small.rlim_cur = wal;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto failed = store->create("/lost", std::string(100000, 'x'), {});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, previous);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::Internal);
  EXPECT_EQ(store->get("/lost").error().code, Code::NotFound);
  EXPECT_TRUE(store->get("/kept"));
  const auto after = store->create("/after", "1", {});
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_GT((*after)->mod_revision, (*kept)->mod_revision);
  store.reset();
  store = *open_sqlite_store({dir.path() + "/db", nullptr});
  EXPECT_EQ(store->list({})->entries.size(), 2U);
}

StoreEvent event_at(Revision revision) {
  auto entry = std::make_shared<Entry>();
  entry->key = "/k";
  entry->mod_revision = revision;
  return {StoreEvent::Type::Put, revision, entry, nullptr};
}

TEST(WatchHub, ClosesWatchersThatFallBehind) {
  WatchHub hub(0, {.ring = 4, .queue = 4});
  auto slow = hub.watch("/", 0);
  auto quick = hub.watch("/", 0);
  std::size_t seen = 0;
  for (Revision r = 1; r <= 6; ++r) {
    hub.publish({event_at(r)});
    seen += (*quick)->next(std::chrono::steady_clock::now(), {})->size();
  }
  EXPECT_EQ(seen, 6U);
  EXPECT_EQ((*slow)->next(std::chrono::steady_clock::now(), {}).error().code, Code::Expired);
  EXPECT_EQ(hub.watch("/", 1).error().code, Code::Expired);
  EXPECT_EQ((*hub.watch("/", 2))->next(std::chrono::steady_clock::now(), {})->size(), 4U);
}

TEST(WatchHub, ForgetsWhatIsTooLarge) {
  WatchHub hub(0, {.bytes = 10'000});
  for (Revision r = 1; r <= 3; ++r) {
    StoreEvent large = event_at(r);
    auto entry = std::make_shared<Entry>(*large.entry);
    entry->value.assign(4'000, 'v');
    large.entry = std::move(entry);
    hub.publish({std::move(large)});
  }
  EXPECT_EQ(hub.watch("/", 0).error().code, Code::Expired);
  EXPECT_EQ((*hub.watch("/", 1))->next(std::chrono::steady_clock::now(), {})->size(), 2U);
}

TEST(WatchHub, ForgetsWhatIsOld) {
  WatchHub hub(0, {.age = std::chrono::seconds(10)});
  const auto begin = std::chrono::steady_clock::now();
  StoreEvent old = event_at(1);
  const std::weak_ptr<const Entry> kept = old.entry;
  hub.publish({std::move(old)}, begin);
  hub.publish({event_at(2)}, begin + std::chrono::seconds(10));
  EXPECT_FALSE(kept.expired());
  EXPECT_EQ((*hub.watch("/", 0))->next(begin, {})->size(), 2U);
  hub.publish({event_at(3)}, begin + std::chrono::seconds(11));
  EXPECT_TRUE(kept.expired());
  EXPECT_EQ(hub.watch("/", 0).error().code, Code::Expired);
  EXPECT_EQ((*hub.watch("/", 1))->next(begin, {})->size(), 2U);
}

}  // namespace
}  // namespace coracle
