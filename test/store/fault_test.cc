// The disk fails under the store: at every single I/O call of a workload, for a while, or for good
// by a power cut. No acknowledged write is lost, and none is acknowledged that is lost.
#include <coracle/stores.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "store/faulty_vfs.h"
#include "store/temp_dir.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;

// nullopt: the key does not exist.
using Value = std::optional<std::string>;

// What a correct store may hold, given the answers it gave.
class Model {
 public:
  void acknowledged(const std::string& key, const Value& value) {
    const std::lock_guard lock(mutex_);
    sure_[key] = value;
    maybe_[key].clear();
  }
  void failed(const std::string& key, const Value& value) {
    const std::lock_guard lock(mutex_);
    maybe_[key].insert(value);
  }
  // A later write succeeded: by then, failed ones have been undone.
  void settle() { maybe_.clear(); }
  // After a start: whatever is there now stays.
  void check_and_adopt(const Store& store) {
    std::map<std::string, Value> now;
    const auto listed = *store.list({});
    for (const auto& entry : listed.entries) {
      now[entry->key] = entry->value;
      EXPECT_TRUE(sure_.count(entry->key) || maybe_.count(entry->key)) << entry->key;
    }
    for (const auto& [key, value] : sure_) {
      if (now[key] == value) continue;
      EXPECT_TRUE(maybe_[key].count(now[key]))
          << key << ": acknowledged " << value.value_or("(removed)").substr(0, 20) << ", there is "
          << now[key].value_or("(nothing)").substr(0, 20);
    }
    for (const auto& [key, value] : now) sure_[key] = value;
    maybe_.clear();
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Value> sure_;
  std::map<std::string, std::set<Value>> maybe_;
};

bool put(Store& store, Model& model, const std::string& key, const std::string& value) {
  const auto now = store.get(key);
  const auto done =
      now ? store.update(key, value, (*now)->mod_revision, {}) : store.create(key, value, {});
  if (done) {
    model.acknowledged(key, value);
  } else {
    EXPECT_EQ(done.error().code, Code::Internal) << done.error().message;
    EXPECT_EQ(done.error().retry_after_seconds, 0);
    model.failed(key, value);
  }
  return done.has_value();
}

bool erase(Store& store, Model& model, const std::string& key) {
  const auto done = store.remove(key, {});
  if (done) {
    model.acknowledged(key, std::nullopt);
  } else if (!is_not_found(done.error())) {
    model.failed(key, std::nullopt);
  }
  return done.has_value();
}

struct Lab {
  Lab() : dir("/dev/shm"), path(dir.path() + "/db") {}
  Result<std::unique_ptr<Store>> open(std::chrono::milliseconds interval = 0ms) {
    const auto note = [this](const StoreNotice& notice) {
      if (notice.kind == StoreNotice::Kind::Recovered) recovered = notice.message;
      if (notice.kind == StoreNotice::Kind::Repaired) ++repaired;
    };
    return open_sqlite_store({path, nullptr, note, interval});
  }
  TempDir dir;
  std::string path;
  std::string recovered;
  std::atomic<int> repaired = 0;
};

void workload(Store& store, Model& model) {
  const std::string large(9000, 'l');  // several pages
  for (int i = 0; i < 3; ++i) (void)put(store, model, "/w/" + std::to_string(i), large);
  (void)put(store, model, "/w/1", "changed");
  (void)put(store, model, "/old/0", "changed, too");
  (void)erase(store, model, "/old/1");
  (void)erase(store, model, "/w/2");
  (void)put(store, model, "/w/2", "again");
}

// One run with the fault at the n-th call; false when the workload ended before.
bool run_with_fault(IoFault fault, std::int64_t n, bool persistent) {
  SCOPED_TRACE("call " + std::to_string(n) + (persistent ? " and all after it" : ""));
  Lab lab;
  FaultyVfs vfs;
  Model model;
  {
    const auto store = *lab.open();
    for (int i = 0; i < 3; ++i) (void)put(*store, model, "/old/" + std::to_string(i), "old");
  }
  vfs.fail_at(fault, n, persistent);
  Revision newest = 0;
  {
    auto store = lab.open();
    if (!store) {
      EXPECT_TRUE(persistent) << store.error().message << ": a single failure stops the start";
      vfs.heal();
      store = lab.open();
    }
    if (!store) {
      ADD_FAILURE() << store.error().message;
      return false;
    }
    workload(**store, model);
    EXPECT_TRUE((*store)->get("/old/2")) << "readers go on";
    if (persistent) {
      vfs.heal();
      EXPECT_TRUE(put(**store, model, "/healed", "1")) << "writing works again";
      model.settle();
    }
    newest = (*store)->revision();
  }
  const bool struck = vfs.failed();
  vfs.heal();
  const auto store = lab.open();
  EXPECT_TRUE(store) << store.error().message;
  if (!store) return false;
  model.check_and_adopt(**store);
  EXPECT_GT((*store)->revision(), newest);
  EXPECT_EQ(lab.recovered, "") << "nothing was damaged";
  return struck;
}

void every_call(IoFault fault, bool persistent) {
  std::int64_t n = 1;
  while (n < 3000 && !testing::Test::HasFailure() && run_with_fault(fault, n, persistent)) ++n;
  EXPECT_GT(n, 5) << "the faults hit nothing";
  EXPECT_LT(n, 3000);
}

TEST(Faults, AFailureOfAnyCall) {
  every_call(IoFault::Error, false);
}
TEST(Faults, FailuresFromAnyCallOn) {
  every_call(IoFault::Error, true);
}
TEST(Faults, AShortWriteAnywhere) {
  every_call(IoFault::ShortWrite, false);
  every_call(IoFault::ShortWrite, true);
}
TEST(Faults, AFullDiskAnywhere) {
  every_call(IoFault::Full, false);
  every_call(IoFault::Full, true);
}
TEST(Faults, AFailedFsyncAnywhere) {
  every_call(IoFault::SyncFails, false);
  every_call(IoFault::SyncFails, true);
}

TEST(Faults, AFullDiskNamesItselfAndStopsNoReader) {
  Lab lab;
  FaultyVfs vfs;
  Model model;
  const auto store = *lab.open();
  ASSERT_TRUE(put(*store, model, "/a", "1"));
  vfs.fail_at(IoFault::Full, 1, true);
  const auto refused = store->create("/b", "1", {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::Internal);
  EXPECT_NE(refused.error().message.find("disk is full"), std::string::npos)
      << refused.error().message;
  EXPECT_EQ(refused.error().retry_after_seconds, 0);
  EXPECT_TRUE(store->get("/a"));
  EXPECT_EQ(store->get("/b").error().code, Code::NotFound);
  EXPECT_TRUE(store->create("/lease", "1", {Durability::Ephemeral})) << "needs no disk";
  EXPECT_FALSE(put(*store, model, "/c", "1"));
  vfs.heal();
  EXPECT_TRUE(put(*store, model, "/d", "1"));
  EXPECT_EQ(lab.repaired, 0) << "a full disk is no reason to distrust the connection";
}

TEST(Faults, AStoreStartsOnAFullDiskForReaders) {
  Lab lab;
  FaultyVfs vfs;
  Model model;
  Revision newest = 0;
  {
    const auto store = *lab.open();
    ASSERT_TRUE(put(*store, model, "/a", "1"));
    newest = store->revision();
  }
  vfs.fail_at(IoFault::Full, 1, true);
  const auto store = lab.open();
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_TRUE((*store)->get("/a"));
  EXPECT_FALSE((*store)->create("/lease", "1", {Durability::Ephemeral}))
      << "its revision is not reserved";
  vfs.heal();
  const auto made = (*store)->create("/b", "1", {});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_GT((*made)->mod_revision, newest);
}

TEST(Faults, AFailedFsyncDropsTheConnection) {
  Lab lab;
  FaultyVfs vfs;
  Model model;
  const auto store = *lab.open();
  ASSERT_TRUE(put(*store, model, "/a", "1"));
  vfs.fail_at(IoFault::SyncFails, 1, false);
  EXPECT_FALSE(put(*store, model, "/a", "2"));
  EXPECT_EQ(lab.repaired, 1);
  EXPECT_EQ((*store->get("/a"))->value, "1");
}

// Three writers until the power goes, somewhere.
void live_until_dark(Store& store, Model& model, int round) {
  std::vector<std::thread> writers;
  for (int w = 0; w < 3; ++w) {
    writers.emplace_back([&, w] {
      std::mt19937 random(static_cast<unsigned>(round * 3 + w));
      for (int i = 0; i < 400; ++i) {
        const std::string key = "/" + std::to_string(w) + "/" + std::to_string(random() % 10);
        const std::string value =
            std::to_string(round) + ":" + std::to_string(i) + std::string(random() % 6000, 'v');
        if (random() % 5 == 0) {
          if (store.get(key) && !erase(store, model, key)) return;
        } else if (!put(store, model, key, value)) {
          return;
        }
      }
    });
  }
  for (auto& writer : writers) writer.join();
}

TEST(PowerCut, LosesNoAcknowledgedWrite) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const int rounds = std::getenv("CORACLE_LONG_TESTS") != nullptr ? 2000 : 100;
  Lab lab;
  FaultyVfs vfs;
  Model model;
  Revision newest = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    // With snapshots in every other round: they read while the power goes.
    const bool early = random() % 4 == 0;  // while starting
    if (early) vfs.cut_power_at(1 + random() % 12);
    if (auto store = lab.open(round % 2 == 0 ? 0ms : 1ms)) {
      if (!early) model.check_and_adopt(**store);
      EXPECT_GT((*store)->revision(), newest);
      if (!early) vfs.cut_power_at(1 + random() % 150);
      live_until_dark(**store, model, round);
      newest = (*store)->revision();
      if (random() % 8 != 0) vfs.cut_power_now();  // else it may close well
    } else {
      EXPECT_TRUE(early) << store.error().message;
    }
    vfs.restore_power(random);
  }
  const auto store = lab.open();
  ASSERT_TRUE(store) << store.error().message;
  model.check_and_adopt(**store);
  EXPECT_EQ(lab.recovered, "");
}

}  // namespace
}  // namespace coracle
