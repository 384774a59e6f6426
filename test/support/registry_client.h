// The API without a server: the real registry in memory behind a LocalClient, with a clock that the
// test moves. Thread-safe.
#pragma once

#include <apiserver/local_client.h>
#include <apiserver/registry.h>
#include <apiserver/resources/resources.h>
#include <coracle/stores.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>
#include <thread>

namespace coracle::test {

class ManualClock final : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override {
    // Never the same twice, as on a machine: Events are named after it.
    return parse_time("2026-01-02T03:04:05Z") + std::chrono::milliseconds(passed_.load()) +
           std::chrono::nanoseconds(++asked_);
  }
  std::chrono::steady_clock::time_point steady_now() const override {
    return std::chrono::steady_clock::time_point(std::chrono::hours(1)) +
           std::chrono::milliseconds(passed_.load());
  }
  void advance(std::chrono::milliseconds by) { passed_ += by.count(); }

 private:
  std::atomic<std::int64_t> passed_{0};
  mutable std::atomic<std::int64_t> asked_{0};
};

class RegistryClient {
 public:
  explicit RegistryClient(const Clock& clock) : store_(open_memory_store(stamp_resource_version)) {
    ResourceOptions kinds{};
    kinds.service_cidr = *Cidr::parse("10.96.0.0/16");
    kinds.cluster_dns = *Ip::parse("10.96.0.10");
    auto registry = Registry::create({*store_, clock, all_kinds(kinds)});
    EXPECT_TRUE(registry) << registry.error().message;
    registry_ = std::move(*registry);
    client_ = std::make_unique<LocalClient>(*registry_, clock);
    for (const char* ns : {"default", "kube-node-lease"})
      EXPECT_TRUE(
          client_->create(resources::kNamespaces, Object(Json{{"metadata", {{"name", ns}}}})));
  }
  explicit RegistryClient(ManualClock& clock) : RegistryClient(static_cast<const Clock&>(clock)) {
    manual_ = &clock;
  }
  Client& operator*() { return *client_; }
  Client* operator->() { return client_.get(); }

  // Null when it is not there.
  Json get(const Resource& resource, const ObjectKey& key) {
    const auto object = client_->get(resource, key);
    return object ? object->json() : Json();
  }
  // Waits until the object is as wanted, looking at it after each change of its kind; false after
  // a minute.
  bool await(const Resource& resource, const ObjectKey& key,
             const std::function<bool(const Json&)>& wanted) {
    std::stop_source late;
    const std::jthread timer([&](const std::stop_token& done) {
      pass_time(done);
      late.request_stop();
    });
    const auto list = client_->list(resource, {});
    auto watch = client_->watch(resource, {}, list->revision);
    while (!late.stop_requested()) {
      if (wanted(get(resource, key))) return true;
      if (!watch || !(*watch)->next(late.get_token())) break;
    }
    ADD_FAILURE() << key.to_string() << " stayed " << get(resource, key).dump(1);
    return false;
  }

 private:
  // Up to a minute. What was refused because something changed meanwhile is tried again after a
  // pause by the clock, which nobody moves while the test waits: when that takes long, so does
  // this, at a fifth of real time and by five seconds in all, so that nothing else falls due.
  void pass_time(const std::stop_token& done) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    for (int i = 0; i < 120 && !done.stop_requested(); ++i) {
      (void)never.wait_for(lock, done, std::chrono::milliseconds(500), [] { return false; });
      if (manual_ == nullptr || i == 0 || nudges_ == 0 || done.stop_requested()) continue;
      --nudges_;
      manual_->advance(std::chrono::milliseconds(100));
    }
  }

  ManualClock* manual_ = nullptr;
  std::atomic<int> nudges_ = 50;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<LocalClient> client_;
};

}  // namespace coracle::test
