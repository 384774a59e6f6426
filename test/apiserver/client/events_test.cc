// The event recorder over the real registry, and over an API that fails or is slow.
#include <coracle/events.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "support/registry_client.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;

// Time stands still until the test moves it: two events can be of one moment.
class StillClock final : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override {
    return parse_time("2026-01-02T03:04:05Z") + std::chrono::seconds(passed_.load());
  }
  std::chrono::steady_clock::time_point steady_now() const override { return {}; }
  void advance(std::chrono::seconds by) { passed_ += by.count(); }

 private:
  std::atomic<std::int64_t> passed_{0};
};

// Hands everything on, but for what the test makes fail or slow.
class TroubledClient : public Client {
 public:
  explicit TroubledClient(Client& inner) : inner_(inner) {}
  void fail_patches(std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    patch_error_ = std::move(error);
  }
  void slow_down(std::chrono::milliseconds delay) { delay_ = delay; }
  int creates() const { return creates_; }

  Result<Object> create(const Resource& resource, const Object& object) override {
    ++creates_;
    std::unique_lock lock(mutex_);
    never_.wait_for(lock, delay_.load(), [] { return false; });
    return inner_.create(resource, object);
  }
  Result<Object> patch(const Resource& resource, const ObjectKey& key, PatchType type,
                       const Json& patch, const std::string& subresource) override {
    const std::lock_guard lock(mutex_);
    if (patch_error_) return *patch_error_;
    return inner_.patch(resource, key, type, patch, subresource);
  }
  Result<Object> get(const Resource& resource, const ObjectKey& key) override {
    return inner_.get(resource, key);
  }
  Result<ObjectList> list(const Resource& resource, const ListOptions& options) override {
    return inner_.list(resource, options);
  }
  Result<std::unique_ptr<ClientWatch>> watch(const Resource& resource, const ListOptions& options,
                                             Revision from) override {
    return inner_.watch(resource, options, from);
  }
  Result<Object> update(const Resource& resource, const Object& object,
                        const std::string& subresource) override {
    return inner_.update(resource, object, subresource);
  }
  Result<void> remove(const Resource& resource, const ObjectKey& key,
                      const DeleteOptions& options) override {
    return inner_.remove(resource, key, options);
  }

 private:
  Client& inner_;
  std::mutex mutex_;
  std::condition_variable never_;
  std::optional<Error> patch_error_;
  std::atomic<std::chrono::milliseconds> delay_{0ms};
  std::atomic<int> creates_{0};
};

class EventsTest : public ::testing::Test {
 protected:
  // In the order of their names, which is that of time for one object.
  std::vector<Json> events() {
    std::vector<Json> out;
    const auto list = registry_->list(resources::kEvents, {});
    EXPECT_TRUE(list) << list.error().message;
    for (const Object& event : list->items) out.push_back(event.json());
    return out;
  }
  StillClock clock_;
  test::RegistryClient registry_{clock_};
  TroubledClient client_{*registry_};
  EventRecorder recorder_{client_, clock_, "kubelet", "node-1"};
  const ObjectReference pod_{"v1", "Pod", "default", "web", "uid-1", "spec.containers{app}"};
};

TEST_F(EventsTest, WritesWhatKubectlDescribeShows) {
  recorder_.normal(pod_, "Started", "Started container app");
  recorder_.flush();
  const auto all = events();
  ASSERT_EQ(all.size(), 1U);
  const Json& event = all[0];
  EXPECT_EQ(event["metadata"]["namespace"], "default");
  EXPECT_EQ(event["metadata"]["name"], "web.1886caf21c963200");  // 1767323045 s in nanoseconds
  EXPECT_EQ(event["type"], "Normal");
  EXPECT_EQ(event["reason"], "Started");
  EXPECT_EQ(event["message"], "Started container app");
  EXPECT_EQ(event["count"], 1);
  EXPECT_EQ(event["firstTimestamp"], "2026-01-02T03:04:05Z");
  EXPECT_EQ(event["source"], (Json{{"component", "kubelet"}, {"host", "node-1"}}));
  EXPECT_EQ(event["involvedObject"], (Json{{"apiVersion", "v1"},
                                           {"kind", "Pod"},
                                           {"namespace", "default"},
                                           {"name", "web"},
                                           {"uid", "uid-1"},
                                           {"fieldPath", "spec.containers{app}"}}));
}

TEST_F(EventsTest, WhatHasNoNamespaceIsToldInDefault) {
  recorder_.warning({"v1", "Node", "", "node-1", "node-1", ""}, "NotReady", "no lease");
  recorder_.flush();
  const auto all = events();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0]["metadata"]["namespace"], "default");
  EXPECT_EQ(all[0]["type"], "Warning");
  EXPECT_FALSE(all[0]["involvedObject"].contains("namespace"));
}

TEST_F(EventsTest, RepeatsCountUpOneObject) {
  for (int i = 0; i < 3; ++i) {
    recorder_.warning(pod_, "BackOff", "restarting");
    clock_.advance(10s);
  }
  recorder_.flush();
  const auto all = events();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0]["count"], 3);
  EXPECT_EQ(all[0]["firstTimestamp"], "2026-01-02T03:04:05Z");
  EXPECT_EQ(all[0]["lastTimestamp"], "2026-01-02T03:04:25Z");
}

TEST_F(EventsTest, AnyDifferenceIsAnotherEventEvenAtOneMoment) {
  ObjectReference other_container = pod_;
  other_container.field_path = "spec.containers{sidecar}";
  ObjectReference other_pod = pod_;
  other_pod.uid = "uid-2";
  recorder_.normal(pod_, "Started", "one");
  recorder_.normal(pod_, "Started", "two");
  recorder_.normal(pod_, "Pulled", "one");
  recorder_.warning(pod_, "Started", "one");
  recorder_.normal(other_container, "Started", "one");
  recorder_.normal(other_pod, "Started", "one");
  recorder_.flush();
  const auto all = events();
  EXPECT_EQ(all.size(), 6U);
  for (const Json& event : all) EXPECT_EQ(event["count"], 1);
}

TEST_F(EventsTest, ARepeatOfADeletedEventIsWrittenAnew) {
  recorder_.normal(pod_, "Started", "one");
  recorder_.flush();
  const auto first = events();
  ASSERT_EQ(first.size(), 1U);
  const std::string name = first[0]["metadata"]["name"];
  ASSERT_TRUE(client_.remove(resources::kEvents, {"default", name}, {}));
  clock_.advance(1s);
  recorder_.normal(pod_, "Started", "one");
  recorder_.flush();
  const auto all = events();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_NE(all[0]["metadata"]["name"], name);
  EXPECT_EQ(all[0]["count"], 1);
}

TEST_F(EventsTest, ARepeatThatCannotBeWrittenStillCounts) {
  recorder_.normal(pod_, "Started", "one");
  recorder_.flush();
  client_.fail_patches(Error{Code::Unavailable, "no route"});
  recorder_.normal(pod_, "Started", "one");
  recorder_.flush();
  EXPECT_EQ(client_.creates(), 1) << "a second object for one event";
  client_.fail_patches(std::nullopt);
  recorder_.normal(pod_, "Started", "one");
  recorder_.flush();
  const auto all = events();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0]["count"], 3);
}

TEST_F(EventsTest, GivesUpWhatWaitsWhenItEnds) {
  client_.slow_down(20ms);
  {
    EventRecorder ending(client_, clock_, "kubelet", "node-1");
    for (int i = 0; i < 500; ++i) ending.normal(pod_, "Started", std::to_string(i));
  }
  EXPECT_LT(client_.creates(), 250);
}

TEST_F(EventsTest, KeepsOnlySoManyWaiting) {
  client_.slow_down(2ms);
  for (int i = 0; i < 3000; ++i) recorder_.normal(pod_, "Started", std::to_string(i));
  client_.slow_down(0ms);
  recorder_.flush();
  EXPECT_GE(client_.creates(), 1000);
  EXPECT_LT(client_.creates(), 3000);
}

}  // namespace
}  // namespace coracle
