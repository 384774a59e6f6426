#include "slow_start.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>

namespace coracle {
namespace {

TEST(SlowStart, EveryCallOnce) {
  for (const std::size_t count : {0U, 1U, 2U, 3U, 7U, 8U, 200U}) {
    std::mutex mutex;
    std::multiset<std::size_t> called;
    EXPECT_TRUE(slow_start(count, [&](std::size_t i) -> Result<void> {
      const std::lock_guard lock(mutex);
      called.insert(i);
      return {};
    }));
    EXPECT_EQ(called.size(), count);
    EXPECT_EQ(std::set<std::size_t>(called.begin(), called.end()).size(), count);
  }
}

TEST(SlowStart, ARefusalIsTheEnd) {
  std::atomic<int> calls{0};
  const auto refusing = [&](std::size_t) -> Result<void> {
    ++calls;
    return Error{Code::Forbidden, "exceeded quota"};
  };
  const auto done = slow_start(200, refusing);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "exceeded quota");
  EXPECT_EQ(calls, 1);
}

// Of 200 the API takes 5: of the batch that meets the refusal (4 to 7) all may be under way, and
// none follows.
TEST(SlowStart, NoBatchFollowsARefusal) {
  std::atomic<int> calls{0};
  const auto done = slow_start(200, [&](std::size_t) -> Result<void> {
    if (++calls > 5) return Error{Code::Forbidden, "exceeded quota"};
    return {};
  });
  EXPECT_FALSE(done);
  EXPECT_GE(calls, 6);
  EXPECT_LE(calls, 7);
}

}  // namespace
}  // namespace coracle
