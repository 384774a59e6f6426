// SyncLoop against a clock that the test moves.
#include "node/sync_loop.h"

#include <gtest/gtest.h>

#include <atomic>

namespace coracle {
namespace {

using namespace std::chrono_literals;

class MovedClock : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override { return {}; }
  std::chrono::steady_clock::time_point steady_now() const override {
    return std::chrono::steady_clock::time_point(std::chrono::milliseconds(ms_.load()));
  }
  void advance(std::chrono::milliseconds by) { ms_ += by.count(); }

 private:
  std::atomic<std::int64_t> ms_{1'000'000};
};

class Counter {
 public:
  void add() {
    MutexLock lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  bool wait_for(int wanted) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    MutexLock lock(mutex_);
    while (count_ < wanted) {
      if (!changed_.wait_until(mutex_, deadline)) return false;
    }
    return true;
  }
  int count() const {
    MutexLock lock(mutex_);
    return count_;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  int count_ = 0;
};

std::chrono::steady_clock::time_point soon() {
  return std::chrono::steady_clock::now() + 60s;
}

TEST(SyncLoop, ManyMarksDuringARunMakeOneMore) {
  Counter runs;
  Counter release;
  SyncLoop loop("test", system_clock(), {.min_interval = 0ms}, [&](bool) -> Result<void> {
    runs.add();
    if (runs.count() == 1) release.wait_for(1);
    return {};
  });
  loop.start();
  loop.mark_dirty();
  ASSERT_TRUE(runs.wait_for(1));
  for (int i = 0; i < 100; ++i) loop.mark_dirty();
  EXPECT_FALSE(loop.clean());
  release.add();
  EXPECT_TRUE(loop.wait_clean(soon()));
  EXPECT_EQ(runs.count(), 2);
  EXPECT_TRUE(loop.clean());
}

TEST(SyncLoop, RunsKeepTheMinimumIntervalApart) {
  MovedClock clock;
  Counter runs;
  SyncLoop loop("test", clock, {.min_interval = 10s}, [&](bool) -> Result<void> {
    runs.add();
    return {};
  });
  loop.start();
  loop.mark_dirty();
  ASSERT_TRUE(loop.wait_clean(soon()));
  loop.mark_dirty();
  EXPECT_FALSE(loop.wait_clean(std::chrono::steady_clock::now() + 50ms));
  clock.advance(10s);
  loop.poke();
  EXPECT_TRUE(loop.wait_clean(soon()));
  EXPECT_EQ(runs.count(), 2);
}

TEST(SyncLoop, AFailureIsTriedAgainWithBackOffAndInFull) {
  MovedClock clock;
  Counter runs;
  std::atomic<bool> full = false;
  SyncLoop loop("test", clock, {.min_interval = 0ms, .retry_min = 1s}, [&](bool f) -> Result<void> {
    full = f;
    runs.add();
    if (runs.count() < 3) return Error{Code::Unavailable, "not yet"};
    return {};
  });
  loop.start();
  loop.mark_dirty();
  ASSERT_TRUE(runs.wait_for(1));
  EXPECT_FALSE(full);
  for (int expected = 2; expected <= 3; ++expected) {
    // The failure is recorded after the run has counted: move on until the retry is due.
    for (int i = 0; i < 1000 && runs.count() < expected; ++i) {
      clock.advance(1s);
      loop.poke();
      if (loop.wait_clean(std::chrono::steady_clock::now() + 5ms)) break;
    }
    ASSERT_TRUE(runs.wait_for(expected));
  }
  EXPECT_TRUE(loop.wait_clean(soon()));
  EXPECT_TRUE(full);
}

TEST(SyncLoop, APeriodicPassIsFull) {
  MovedClock clock;
  Counter fulls;
  SyncLoop loop("test", clock, {.min_interval = 0ms, .full_interval = 60s},
                [&](bool full) -> Result<void> {
                  if (full) fulls.add();
                  return {};
                });
  loop.start();
  loop.mark_dirty();
  ASSERT_TRUE(loop.wait_clean(soon()));
  EXPECT_EQ(fulls.count(), 0);
  clock.advance(60s);
  loop.poke();
  EXPECT_TRUE(fulls.wait_for(1));
}

TEST(SyncLoop, DamageSeenByTheProbeMakesAFullRun) {
  MovedClock clock;
  Counter fulls;
  std::atomic<bool> damaged = false;
  SyncLoop loop(
      "test", clock, {.min_interval = 0ms, .probe_interval = 1s},
      [&](bool full) -> Result<void> {
        damaged = false;
        if (full) fulls.add();
        return {};
      },
      [&] { return damaged.load(); });
  loop.start();
  loop.mark_dirty();
  ASSERT_TRUE(loop.wait_clean(soon()));
  damaged = true;
  clock.advance(1s);
  loop.poke();
  EXPECT_TRUE(fulls.wait_for(1));
}

TEST(SyncLoop, StopEndsWaitersAndIsIdempotent) {
  SyncLoop loop("test", system_clock(), {}, [](bool) -> Result<void> { return {}; });
  loop.start();
  std::jthread stopper([&] { loop.stop(); });
  EXPECT_FALSE(loop.wait_clean(soon()));
  stopper.join();
  loop.stop();
}

}  // namespace
}  // namespace coracle
