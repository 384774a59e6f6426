// A kubelet of every node, as far as controllers can tell.
#pragma once

#include <coracle/api/pod.h>
#include <coracle/client.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace coracle::test {

// Makes Pods ready and lets deleted ones go, in random order. Every deed of it is an event, so it
// waits only when there is nothing to do.
class FakeKubelet {
 public:
  FakeKubelet(Client& client, unsigned seed) : client_(client), random_(seed) {
    const auto list = client_.list(resources::kPods, {});
    watch_ = std::move(*client_.watch(resources::kPods, {}, list->revision));
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

 private:
  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto events = watch_->next(stop);
      if (!events) return;
      for (const WatchEvent& event : *events)
        if (event.type != WatchEvent::Type::Bookmark) waiting_.push_back(event.object.key());
      while (!waiting_.empty() && !act()) {
      }
    }
  }
  // Whether there was something to do for a Pod picked at random.
  bool act() {
    std::swap(waiting_[random_() % waiting_.size()], waiting_.back());
    const ObjectKey key = waiting_.back();
    waiting_.pop_back();
    const auto object = client_.get(resources::kPods, key);
    if (!object) return false;
    const Pod pod = *Pod::decode(*object);
    if (pod.meta.deleting())
      return client_.remove(resources::kPods, key, {.grace_period_seconds = 0}).has_value();
    if (pod.node_name.empty() || pod.ready()) return false;
    const Json status = {
        {"status",
         {{"phase", "Running"},
          {"conditions", Json::array({{{"type", "Ready"},
                                       {"status", "True"},
                                       {"lastTransitionTime", "2026-01-02T03:04:05Z"}}})}}}};
    return client_.patch(resources::kPods, key, PatchType::StrategicMerge, status, "status")
        .has_value();
  }

  Client& client_;
  std::minstd_rand random_;
  std::vector<ObjectKey> waiting_;
  std::unique_ptr<ClientWatch> watch_;
  std::jthread thread_;
};

}  // namespace coracle::test
