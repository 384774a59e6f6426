// What include/coracle/store.h promises, for every store; then both stores compared step by step.
#include <coracle/stores.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "store/temp_dir.h"

namespace coracle {
namespace {

using std::chrono::steady_clock;

std::string stamp(std::string_view value, Revision revision) {
  return std::string(value.substr(0, value.find('@'))) + "@" + std::to_string(revision);
}
std::string bare(const EntryPtr& entry) {
  return entry->value.substr(0, entry->value.find('@'));
}
steady_clock::time_point soon() {
  return steady_clock::now() + std::chrono::seconds(20);
}

std::vector<EntryPtr> entries_of(const Store& store) {
  return store.list({})->entries;
}

enum class Kind { Memory, Sqlite };

class StoreContract : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override { open(); }
  void open() {
    store.reset();
    if (GetParam() == Kind::Memory) {
      store = open_memory_store(stamp);
      return;
    }
    auto opened = open_sqlite_store({dir.path() + "/db", stamp});
    ASSERT_TRUE(opened) << opened.error().message;
    store = std::move(*opened);
  }
  TempDir dir;
  std::unique_ptr<Store> store;
};

TEST_P(StoreContract, CreateThenGetYieldsTheStampedValue) {
  const auto made = store->create("/a", "x", {});
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->value, "x@" + std::to_string((*made)->mod_revision));
  EXPECT_EQ((*made)->create_revision, (*made)->mod_revision);
  EXPECT_EQ(*store->get("/a"), *made);
  EXPECT_EQ(store->revision(), (*made)->mod_revision);
}

TEST_P(StoreContract, ErrorsNameWhatIsWrong) {
  EXPECT_EQ(store->get("/a").error().code, Code::NotFound);
  EXPECT_EQ(store->update("/a", "x", 1, {}).error().code, Code::NotFound);
  EXPECT_EQ(store->remove("/a", {}).error().code, Code::NotFound);
  const Revision first = (*store->create("/a", "x", {}))->mod_revision;
  EXPECT_EQ(store->create("/a", "y", {}).error().code, Code::AlreadyExists);
  EXPECT_EQ(store->update("/a", "y", first + 1, {}).error().code, Code::Conflict);
  EXPECT_EQ(store->remove("/a", first + 1).error().code, Code::Conflict);
  EXPECT_EQ(bare(*store->get("/a")), "x");
  EXPECT_EQ(store->revision(), first) << "a refused write must not use a revision";
}

TEST_P(StoreContract, UpdateAndRemoveKeepTheCreateRevision) {
  const Revision first = (*store->create("/a", "x", {}))->mod_revision;
  const auto second = store->update("/a", "y", first, {});
  ASSERT_TRUE(second);
  EXPECT_GT((*second)->mod_revision, first);
  EXPECT_EQ((*second)->create_revision, first);
  const auto gone = store->remove("/a", (*second)->mod_revision);
  ASSERT_TRUE(gone);
  EXPECT_EQ((*gone)->value, "y@" + std::to_string((*gone)->mod_revision));
  EXPECT_EQ(store->get("/a").error().code, Code::NotFound);
}

TEST_P(StoreContract, ListIsOrderedPrefixedAndPaged) {
  for (const char* key : {"/b/2", "/a/1", "/b/1", "/b/3", "/c"})
    ASSERT_TRUE(store->create(key, key, {}));
  const auto all = store->list({.prefix = "/b/"});
  ASSERT_EQ(all->entries.size(), 3U);
  EXPECT_EQ(all->entries[0]->key, "/b/1");
  EXPECT_EQ(all->revision, store->revision());
  EXPECT_FALSE(all->more);
  const auto page = store->list({.prefix = "/b/", .limit = 2});
  EXPECT_TRUE(page->more);
  EXPECT_EQ(page->remaining, 1U);
  const auto rest = store->list({.prefix = "/b/", .start_after = "/b/2", .limit = 2});
  ASSERT_EQ(rest->entries.size(), 1U);
  EXPECT_EQ(rest->entries[0]->key, "/b/3");
  EXPECT_EQ(store->list({.prefix = "/b/", .start_after = "/a"})->entries.size(), 3U);
}

TEST_P(StoreContract, ListsAsOfARevision) {
  std::mt19937 random(7);
  const auto pick = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  const Revision start = store->revision();
  std::map<Revision, std::vector<EntryPtr>> states{{start, entries_of(*store)}};
  while (states.size() < 150) {
    const std::string key = (pick(2) == 0 ? "/a/" : "/b/") + std::to_string(pick(8));
    const auto there = store->get(key);
    if (!there) {
      ASSERT_TRUE(store->create(key, "new", {}));
    } else if (pick(2) == 0) {
      ASSERT_TRUE(store->update(key, "changed", (*there)->mod_revision, {}));
    } else {
      ASSERT_TRUE(store->remove(key, {}));
    }
    states[store->revision()] = entries_of(*store);
  }
  for (const auto& [revision, entries] : states) {
    const auto then = store->list({.at = revision});
    ASSERT_TRUE(then);
    EXPECT_EQ(then->entries, entries) << revision;
    EXPECT_EQ(then->revision, revision);
    std::vector<EntryPtr> late;
    for (const EntryPtr& entry : entries)
      if (entry->key > "/a/3" && entry->key.starts_with("/a/")) late.push_back(entry);
    const auto page =
        store->list({.prefix = "/a/", .start_after = "/a/3", .limit = 1, .at = revision});
    ASSERT_TRUE(page);
    EXPECT_EQ(page->entries.size() + page->remaining, late.size()) << revision;
    if (!late.empty()) {
      EXPECT_EQ(page->entries.at(0), late[0]) << revision;
    }
  }
  EXPECT_EQ(store->list({.at = -1}).error().code, Code::Expired);
  EXPECT_EQ(store->list({.at = store->revision() + 1}).error().code, Code::BadRequest);
}

TEST_P(StoreContract, WatchReplaysThePastAndFollows) {
  const Revision start = store->revision();
  const Revision first = (*store->create("/a/1", "x", {}))->mod_revision;
  ASSERT_TRUE(store->create("/b/1", "other", {}));
  auto watch = store->watch("/a/", start);
  ASSERT_TRUE(watch);
  ASSERT_TRUE(store->update("/a/1", "y", first, {}));
  ASSERT_TRUE(store->remove("/a/1", {}));
  std::vector<StoreEvent> events;
  while (events.size() < 3) {
    auto more = (*watch)->next(soon(), {});
    ASSERT_TRUE(more);
    ASSERT_FALSE(more->empty());
    for (auto& event : *more) events.push_back(event);
  }
  EXPECT_EQ(events[0].previous, nullptr);
  EXPECT_EQ(bare(events[1].entry), "y");
  EXPECT_EQ(bare(events[1].previous), "x");
  EXPECT_EQ(events[2].type, StoreEvent::Type::Delete);
  EXPECT_EQ(events[2].entry->value, "y@" + std::to_string(events[2].revision));
  EXPECT_EQ((*watch)->progress(), store->revision());
  EXPECT_TRUE((*watch)->next(steady_clock::now(), {})->empty());
}

TEST_P(StoreContract, WatchOutsideTheKnownRange) {
  EXPECT_EQ(store->watch("/", store->revision() - 1).error().code, Code::Expired);
  EXPECT_EQ(store->watch("/", store->revision() + 1).error().code, Code::BadRequest);
}

TEST_P(StoreContract, StopWakesAWatcher) {
  auto watch = store->watch("/", store->revision());
  std::stop_source stop;
  std::jthread waiter([&] { EXPECT_TRUE((*watch)->next(soon(), stop.get_token())->empty()); });
  stop.request_stop();
}

TEST_P(StoreContract, ClosingTheStoreEndsItsWatches) {
  auto watch = store->watch("/", store->revision());
  store.reset();
  EXPECT_EQ((*watch)->next(soon(), {}).error().code, Code::Expired);
}

TEST_P(StoreContract, ConcurrentWritersLoseNothingAndWatchersSeeAllInOrder) {
  constexpr int kWriters = 8;
  constexpr int kEach = 40;
  auto watch = store->watch("/", store->revision());
  std::atomic<int> conflicts = 0;
  std::vector<std::thread> writers;
  ASSERT_TRUE(store->create("/shared", "0", {}));
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < kEach; ++i) {
        EXPECT_TRUE(store->create("/k/" + std::to_string(w) + "/" + std::to_string(i), "v",
                                  {i % 2 == 0 ? Durability::Durable : Durability::Ephemeral}));
        // A counter by compare-and-swap: every increment must count once.
        for (;;) {
          const auto now = store->get("/shared");
          const auto next = std::to_string(std::stoi(bare(*now)) + 1);
          if (store->update("/shared", next, (*now)->mod_revision, {})) break;
          ++conflicts;
        }
      }
    });
  }
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(bare(*store->get("/shared")), std::to_string(kWriters * kEach));
  Revision last = 0;
  int seen = 0;
  while (seen < 2 * kWriters * kEach + 1) {
    auto events = (*watch)->next(soon(), {});
    ASSERT_TRUE(events);
    ASSERT_FALSE(events->empty());
    for (const auto& event : *events) {
      EXPECT_GT(event.revision, last);
      last = event.revision;
      ++seen;
    }
  }
  EXPECT_EQ(last, store->revision());
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreContract, testing::Values(Kind::Memory, Kind::Sqlite),
                         [](const auto& instance) {
                           return instance.param == Kind::Memory ? "Memory" : "Sqlite";
                         });

TEST(StoreComparison, RandomOperationsGiveTheSameAnswers) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  TempDir dir;
  const auto memory = open_memory_store();
  auto sqlite = *open_sqlite_store({dir.path() + "/db", nullptr});
  std::map<std::string, Revision>
      offsets;  // mod revisions differ by a start, so compare through the latest of each
  const auto key = [&] { return "/" + std::to_string(random() % 12); };
  for (int step = 0; step < 1500; ++step) {
    const std::string k = key();
    const std::string value = std::to_string(step);
    const auto expected = [&](const Store& store) {
      const auto entry = store.get(k);
      return entry ? (*entry)->mod_revision : Revision{1};
    };
    const bool stale = random() % 4 == 0;
    const PutOptions options{random() % 3 == 0 ? Durability::Ephemeral : Durability::Durable};
    const auto operation = random() % 4;
    const auto apply = [&](Store& store) -> Result<EntryPtr> {
      const Revision revision = expected(store) - (stale ? 1 : 0);
      if (operation == 0) return store.create(k, value, options);
      if (operation == 1 || operation == 2) return store.update(k, value, revision, options);
      return store.remove(k, stale ? std::optional<Revision>(revision) : std::nullopt);
    };
    const auto a = apply(*memory);
    const auto b = apply(*sqlite);
    ASSERT_EQ(a.has_value(), b.has_value()) << "step " << step;
    if (a) {
      ASSERT_EQ((*a)->value, (*b)->value);
    } else {
      ASSERT_EQ(a.error().code, b.error().code) << "step " << step;
    }
    if (step % 100 == 99) {  // what was durable comes back, and only that
      std::map<std::string, std::string> durable;
      for (const auto& entry : entries_of(*memory))
        if (entry->durability == Durability::Durable) durable[entry->key] = entry->value;
      const Revision before = sqlite->revision();
      sqlite.reset();
      sqlite = *open_sqlite_store({dir.path() + "/db", nullptr});
      ASSERT_GE(sqlite->revision(), before);
      std::map<std::string, std::string> loaded;
      for (const auto& entry : entries_of(*sqlite)) loaded[entry->key] = entry->value;
      ASSERT_EQ(loaded, durable);
      for (const auto& entry : entries_of(*memory))
        if (entry->durability == Durability::Ephemeral) {
          ASSERT_TRUE(memory->remove(entry->key, {}));
        }
    }
  }
}

}  // namespace
}  // namespace coracle
