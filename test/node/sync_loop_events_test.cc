// SyncLoop's probe, woken by a descriptor.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>

#include "node/sync_loop.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;

class SyncLoopEvents : public testing::Test {
 protected:
  void TearDown() override {
    loop_.stop();
    ::close(fd_);
  }
  void happen(bool damage) {
    damaged_ = damage;
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(fd_, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  bool probe() {
    std::uint64_t count = 0;
    if (::read(fd_, &count, sizeof count) > 0) ++seen_;
    return damaged_;
  }
  static void await(const std::atomic<int>& counter, int wanted) {
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (counter < wanted && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    EXPECT_EQ(counter, wanted);
  }

  const int fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::atomic<bool> damaged_ = false;
  std::atomic<int> fulls_ = 0, seen_ = 0;
  SyncLoop loop_{"test",
                 system_clock(),
                 {},
                 [this](bool full) -> Result<void> {
                   damaged_ = false;
                   fulls_ += full ? 1 : 0;
                   return {};
                 },
                 [this] { return probe(); },
                 [this] { return fd_; }};
};

TEST_F(SyncLoopEvents, AnEventOfDamageMakesAFullRun) {
  loop_.start();
  loop_.mark_dirty();
  ASSERT_TRUE(loop_.wait_clean(std::chrono::steady_clock::now() + 30s));
  happen(true);
  await(fulls_, 1);
}

TEST_F(SyncLoopEvents, AnEventOfNothingMakesNoRun) {
  loop_.start();
  loop_.mark_dirty();
  ASSERT_TRUE(loop_.wait_clean(std::chrono::steady_clock::now() + 30s));
  happen(false);
  await(seen_, 1);
  happen(false);
  await(seen_, 2);
  EXPECT_EQ(fulls_, 0);
}

TEST_F(SyncLoopEvents, WhatComesBeforeTheFirstRunWaitsForIt) {
  happen(true);
  loop_.start();
  loop_.mark_dirty();
  ASSERT_TRUE(loop_.wait_clean(std::chrono::steady_clock::now() + 30s));
  await(seen_, 1);
}

}  // namespace
}  // namespace coracle
