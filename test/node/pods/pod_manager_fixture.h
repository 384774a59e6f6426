// PodManager against the real registry, with a runtime and a network in memory.
#pragma once

#include <csignal>
#include <mutex>

#include "node/pods/pod_manager.h"
#include "scene.h"
#include "support/eventually.h"
#include "support/fake_runtime.h"
#include "support/registry_client.h"

namespace coracle::pods {

using resources::kPods;

// Addresses by uid, as the Pod network hands them out.
class FakeNetwork {
 public:
  PodConnector connector() {
    PodConnector out;
    out.add = [this](const std::string& uid, const NetNs&) -> Result<Ip> {
      const std::lock_guard lock(mutex_);
      const auto it = ips_.find(uid);
      if (it != ips_.end()) return it->second;
      return ips_[uid] = Ip::parse("10.42.0.1")->plus(++last_);
    };
    out.del = [this](const std::string& uid) -> Result<void> {
      const std::lock_guard lock(mutex_);
      ips_.erase(uid);
      return {};
    };
    out.gc = [this](const std::set<std::string>& live) -> Result<void> {
      const std::lock_guard lock(mutex_);
      std::erase_if(ips_, [&](const auto& entry) { return !live.contains(entry.first); });
      return {};
    };
    return out;
  }
  std::map<std::string, Ip> ips() {
    const std::lock_guard lock(mutex_);
    return ips_;
  }
  // As the manager tells them, "" for none.
  void told(const std::string& uid, const std::string& ns, const std::optional<Ip>& ip) {
    const std::lock_guard lock(mutex_);
    told_[uid] = ip ? ns + " " + ip->to_string() : "";
  }
  std::string told(const std::string& uid) {
    const std::lock_guard lock(mutex_);
    return told_[uid];
  }
  void hold(const std::string& uid) {
    const std::lock_guard lock(mutex_);
    ips_[uid] = *Ip::parse("10.42.0.200");
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Ip> ips_;
  std::map<std::string, std::string> told_;
  std::uint64_t last_ = 1;
};

class PodManagerTest : public testing::Test {
 protected:
  void TearDown() override { manager_.reset(); }
  // An agent, or the next one after it.
  void start() {
    manager_.reset();
    PodWorkerOptions options{"n1", *Ip::parse("192.0.2.6"), "cluster.local"};
    options.cluster_dns = *Ip::parse("10.96.0.10");
    options.on_pod_ip = [this](const auto& uid, const auto& ns, const auto& ip) {
      network_.told(uid, ns, ip);
    };
    manager_ = std::make_unique<PodManager>(*client_, clock_, runtime_, network_.connector(),
                                            events_, options);
    manager_->start();
    ASSERT_TRUE(manager_->wait_adopted(std::chrono::steady_clock::now() + 60s));
  }
  // The uid.
  std::string make(const std::string& name, Json spec) {
    spec["nodeName"] = "n1";
    const auto made =
        client_->create(kPods, Object(Json{{"metadata", {{"name", name}, {"namespace", "default"}}},
                                           {"spec", std::move(spec)}}));
    EXPECT_TRUE(made) << made.error().message;
    return made ? made->uid() : "";
  }
  Json get(const std::string& name) { return client_.get(kPods, {"default", name}); }
  bool await(const std::string& name, const std::function<bool(const Json&)>& wanted) {
    return client_.await(kPods, {"default", name}, wanted);
  }
  bool await_phase(const std::string& name, const std::string& phase) {
    return await(name, [&](const Json& pod) {
      return json_string(pod, {"status", "phase"}) == phase;
    });
  }
  bool await_gone(const std::string& name) {
    return await(name, [](const Json& pod) { return pod.is_null(); });
  }
  // "TYPE REASON MESSAGE" of every Event.
  std::set<std::string> events() {
    events_.flush();
    std::set<std::string> out;
    const auto list = client_->list(resources::kEvents, {});
    for (const Object& e : list->items)
      out.insert(json_string(e.json(), {"type"}) + " " + json_string(e.json(), {"reason"}) + " " +
                 json_string(e.json(), {"message"}));
    return out;
  }
  void advance(std::chrono::seconds by) {
    clock_.advance(by);
    manager_->poke();
  }

  test::ManualClock clock_;
  test::RegistryClient client_{clock_};
  EventRecorder events_{*client_, clock_, "kubelet", "n1"};
  test::FakeRuntime runtime_{clock_};
  FakeNetwork network_;
  std::unique_ptr<PodManager> manager_;
};

inline Json one(const std::string& policy = "Always") {
  return spec_of(policy, Json::array({container_json("c")}));
}
// Of its first container; one that says nothing as long as there is none.
inline const Json& status_of(const Json& pod) {
  static const Json kNone = {{"state", Json::object()}, {"ready", nullptr}, {"started", nullptr}};
  const Json* list = json_find(pod, {"status", "containerStatuses"});
  return list != nullptr && !list->empty() ? list->front() : kNone;
}
inline int restarts_of(const Json& pod) {
  const Json* count = json_find(pod, {"status", "containerStatuses"});
  return count && !count->empty() ? (*count)[0]["restartCount"].get<int>() : -1;
}

}  // namespace coracle::pods
