#include "workqueue.h"

#include <gtest/gtest.h>

#include <thread>

#include "support/registry_client.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;

const ObjectKey kA{"ns", "a"}, kB{"ns", "b"};

class WorkQueueTest : public ::testing::Test {
 protected:
  // The next key, if one is due.
  std::optional<ObjectKey> next() {
    return queue_.idle() ? std::nullopt : queue_.take(std::stop_token());
  }
  test::ManualClock clock_;
  WorkQueue queue_{clock_};
};

TEST_F(WorkQueueTest, AKeyWaitsOnceAndInOrder) {
  queue_.add(kA);
  queue_.add(kB);
  queue_.add(kA);
  EXPECT_EQ(next(), kA);
  EXPECT_EQ(next(), kB);
  queue_.done(kA);
  queue_.done(kB);
  EXPECT_TRUE(queue_.idle());
}

TEST_F(WorkQueueTest, AKeyIsNeverWorkedOnTwiceAtATime) {
  queue_.add(kA);
  EXPECT_EQ(next(), kA);
  queue_.add(kA);  // while it is processed
  queue_.add(kB);
  EXPECT_EQ(next(), kB);
  queue_.done(kA);
  EXPECT_EQ(next(), kA);
  queue_.done(kA);
  queue_.done(kB);
  EXPECT_TRUE(queue_.idle());
}

TEST_F(WorkQueueTest, DelaysEndByTheClock) {
  queue_.add_after(kA, 10s);
  queue_.add_after(kA, 60s);  // the earlier one counts
  std::optional<ObjectKey> taken;
  std::thread taker([&] { taken = queue_.take(std::stop_token()); });
  clock_.advance(9s);
  queue_.poke();
  queue_.add(kB);  // only this is due
  taker.join();
  EXPECT_EQ(taken, kB);
  queue_.done(kB);
  clock_.advance(1s);
  EXPECT_EQ(queue_.take(std::stop_token()), kA);
}

TEST_F(WorkQueueTest, FailuresDoubleTheDelayUntilForgotten) {
  WorkQueue queue(clock_, {.backoff_min = 1s, .backoff_max = 4s});
  const auto waits = [&](std::chrono::seconds delay) {
    queue.add_rate_limited(kA);
    queue.add_after(kB, delay);  // comes no earlier than kA
    clock_.advance(delay - 1s);
    EXPECT_FALSE(queue.idle());
    clock_.advance(1s);
    std::set<ObjectKey> both;
    for (int i = 0; i < 2; ++i) {
      const auto key = queue.take(std::stop_token());
      both.insert(*key);
      queue.done(*key);
    }
    return both == std::set<ObjectKey>{kA, kB} && queue.idle();
  };
  EXPECT_TRUE(waits(1s));
  EXPECT_TRUE(waits(2s));
  EXPECT_TRUE(waits(4s));
  EXPECT_TRUE(waits(4s));
  queue.forget(kA);
  EXPECT_TRUE(waits(1s));
}

TEST_F(WorkQueueTest, StopsWhoWaits) {
  std::stop_source stop;
  std::thread first([&] { EXPECT_EQ(queue_.take(stop.get_token()), std::nullopt); });
  stop.request_stop();
  first.join();
  queue_.add_after(kA, 3600s);
  std::thread second([&] { EXPECT_EQ(queue_.take(std::stop_token()), std::nullopt); });
  queue_.shut_down();
  second.join();
  queue_.add(kB);
  EXPECT_EQ(queue_.take(std::stop_token()), std::nullopt);
}

}  // namespace
}  // namespace coracle
