// What is kept for a while only: Events, for an hour after their last write, the newest 1,000.
#include "registry_fixture.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;
using Time = RetentionQueue::Time;

std::vector<std::string> keys(const std::vector<RetentionQueue::Kept>& kept) {
  std::vector<std::string> out;
  for (const auto& one : kept) out.push_back(one.key + "@" + std::to_string(one.revision));
  return out;
}
using Keys = std::vector<std::string>;

TEST(RetentionQueueTest, TheOldestGoWhenTheyAreTooOldOrTooMany) {
  RetentionQueue queue({.age = 10s, .most = 3});
  const Time start{1h};
  queue.note("a", 1, start);
  queue.note("b", 2, start + 1s);
  EXPECT_EQ(keys(queue.take_due(start + 9s)), Keys());
  EXPECT_EQ(keys(queue.take_due(start + 10s)), Keys{"a@1"});
  EXPECT_EQ(keys(queue.take_due(start + 10s)), Keys()) << "taken once";
  for (int i = 3; i <= 6; ++i) queue.note(std::to_string(i), static_cast<Revision>(i), start + 10s);
  EXPECT_EQ(keys(queue.take_due(start + 10s)), (Keys{"b@2", "3@3"}));
}

TEST(RetentionQueueTest, WrittenAgainItBeginsAnew) {
  RetentionQueue queue({.age = 10s, .most = 3});
  const Time start{1h};
  queue.note("a", 1, start);
  queue.note("b", 2, start + 1s);
  queue.note("a", 3, start + 2s);
  EXPECT_EQ(keys(queue.take_due(start + 11s)), Keys{"b@2"});
  EXPECT_EQ(keys(queue.take_due(start + 12s)), Keys{"a@3"});
}

class EventRetentionTest : public RegistryFixture {
 protected:
  void make_event(const std::string& name) {
    make(resources::kEvents, {{"metadata", {{"name", name}}},
                              {"involvedObject", {{"kind", "Pod"}, {"namespace", "default"}}},
                              {"reason", "Started"}});
  }
  std::size_t count() { return registry_->list(kind(resources::kEvents), {})->entries.size(); }
};

TEST_F(EventRetentionTest, AnEventGoesAnHourAfterItsLastWrite) {
  make_event("once");
  make_event("again");
  make_event("removed");
  clock_.advance(30min);
  ASSERT_TRUE(patch(resources::kEvents, "again", {{"count", 2}}));
  ASSERT_TRUE(remove(resources::kEvents, "removed"));
  clock_.advance(30min - 1s);
  make(resources::kConfigMaps, config_map("any-write-looks"));
  EXPECT_NE(stored(resources::kEvents, "once"), Json());
  clock_.advance(1s);
  ASSERT_TRUE(patch(resources::kConfigMaps, "any-write-looks", {{"data", {{"a", "2"}}}}));
  EXPECT_EQ(stored(resources::kEvents, "once"), Json());
  EXPECT_NE(stored(resources::kEvents, "again"), Json());
  clock_.advance(30min);
  make(resources::kConfigMaps, config_map("another"));
  EXPECT_EQ(count(), 0U);
  EXPECT_NE(stored(resources::kConfigMaps, "another"), Json());
}

TEST_F(EventRetentionTest, OfTooManyEventsTheOldestGo) {
  for (int i = 0; i < 1010; ++i) make_event("e" + std::to_string(i));
  EXPECT_EQ(count(), 1000U);
  EXPECT_EQ(stored(resources::kEvents, "e9"), Json());
  EXPECT_NE(stored(resources::kEvents, "e10"), Json());
}

}  // namespace
}  // namespace coracle
