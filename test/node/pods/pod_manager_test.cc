// PodManager against the real registry, with a runtime and a network in memory.
#include "node/pods/pod_manager.h"

#include <csignal>
#include <mutex>
#include <thread>

#include "scene.h"
#include "support/fake_runtime.h"
#include "support/registry_client.h"

namespace coracle::pods {
namespace {

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
  void hold(const std::string& uid) {
    const std::lock_guard lock(mutex_);
    ips_[uid] = *Ip::parse("10.42.0.200");
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Ip> ips_;
  std::uint64_t last_ = 1;
};

class PodManagerTest : public testing::Test {
 protected:
  void TearDown() override { manager_.reset(); }
  // An agent, or the next one after it.
  void start() {
    manager_.reset();
    manager_ = std::make_unique<PodManager>(
        *client_, clock_, runtime_, network_.connector(), events_,
        PodWorkerOptions{"n1", *Ip::parse("192.0.2.6"), "cluster.local"});
    manager_->start();
    ASSERT_TRUE(manager_->wait_adopted(std::chrono::steady_clock::now() + 10s));
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

Json one(const std::string& policy = "Always") {
  return spec_of(policy, Json::array({container_json("c")}));
}
const Json& status_of(const Json& pod) {
  return pod["status"]["containerStatuses"][0];
}
int restarts_of(const Json& pod) {
  const Json* count = json_find(pod, {"status", "containerStatuses"});
  return count && !count->empty() ? (*count)[0]["restartCount"].get<int>() : -1;
}

TEST_F(PodManagerTest, RunsAPod) {
  start();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  const Json pod = get("p");
  EXPECT_EQ(pod["status"]["podIP"], network_.ips()[uid].to_string());
  EXPECT_EQ(pod["status"]["hostIP"], "192.0.2.6");
  EXPECT_EQ(pod["status"]["qosClass"], "BestEffort");
  EXPECT_EQ(status_of(pod)["ready"], true);
  const auto etc = runtime_.read(runtime_.etc)[uid];
  EXPECT_NE(etc.first.find(network_.ips()[uid].to_string() + "\tp\n"), std::string::npos);
  EXPECT_NE(etc.second.find("search default.svc.cluster.local svc.cluster.local cluster.local"),
            std::string::npos);
  const auto spec = runtime_.read(runtime_.specs)[uid + "/c"];
  const std::map<std::string, std::string> env(spec.env.begin(), spec.env.end());
  EXPECT_EQ(env.at("POD_IP"), network_.ips()[uid].to_string());
  const auto seen = events();
  EXPECT_TRUE(seen.contains("Normal Created Created container c"));
  EXPECT_TRUE(seen.contains("Normal Started Started container c"));
}

TEST_F(PodManagerTest, LeavesOtherNodesPodsAlone) {
  start();
  ASSERT_TRUE(client_->create(
      kPods,
      Object(Json{
          {"metadata", {{"name", "other"}, {"namespace", "default"}}},
          {"spec", {{"nodeName", "n2"}, {"containers", Json::array({container_json("c")})}}}})));
  make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_EQ(runtime_.list()->size(), 1U);
  EXPECT_EQ(get("other")["status"]["phase"], "Pending");
}

TEST_F(PodManagerTest, RestartsAtOnceThenBacksOff) {
  start();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  runtime_.end(uid, "c", 3);
  ASSERT_TRUE(await("p", [](const Json& pod) { return restarts_of(pod) == 1; }));
  EXPECT_EQ(status_of(get("p"))["lastState"]["terminated"]["exitCode"], 3);
  runtime_.end(uid, "c", 4);
  ASSERT_TRUE(await("p", [](const Json& pod) {
    return status_of(pod)["state"].value("/waiting/reason"_json_pointer, "") == "CrashLoopBackOff";
  }));
  EXPECT_EQ(status_of(get("p"))["lastState"]["terminated"]["exitCode"], 4);
  EXPECT_EQ(status_of(get("p"))["ready"], false);
  EXPECT_EQ(restarts_of(get("p")), 1);
  EXPECT_TRUE(
      events().contains("Warning BackOff Back-off restarting failed container c in pod "
                        "p_default(" +
                        uid + ")"));
  advance(10s);
  ASSERT_TRUE(await("p", [](const Json& pod) {
    return restarts_of(pod) == 2 && status_of(pod)["state"].contains("running");
  }));
}

TEST_F(PodManagerTest, CompletesAPodAndFreesItsAddress) {
  start();
  const std::string uid = make("p", one("Never"));
  ASSERT_TRUE(await_phase("p", "Running"));
  runtime_.end(uid, "c", 0);
  ASSERT_TRUE(await_phase("p", "Succeeded"));
  EXPECT_FALSE(network_.ips().contains(uid));
  EXPECT_EQ(runtime_.list()->size(), 1U);  // with its logs
  ASSERT_TRUE(client_->remove(kPods, {"default", "p"}, {}));
  make("q", one());
  ASSERT_TRUE(await_phase("q", "Running"));
  ASSERT_TRUE(await_gone("p"));
}

TEST_F(PodManagerTest, EndsAPodGracefully) {
  start();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  ASSERT_TRUE(client_->remove(kPods, {"default", "p"}, {}));
  ASSERT_TRUE(await_gone("p"));
  const std::vector<std::pair<std::string, int>> expected = {{"c", SIGTERM}};
  EXPECT_EQ(runtime_.read(runtime_.signals), expected);
  EXPECT_TRUE(runtime_.list()->empty());
  EXPECT_TRUE(network_.ips().empty());
  EXPECT_TRUE(events().contains("Normal Killing Stopping container c"));
}

TEST_F(PodManagerTest, KillsWhatDoesNotEndInTime) {
  runtime_.change([](auto& r) { r.ignores_term.insert("c"); });
  start();
  make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  ASSERT_TRUE(client_->remove(kPods, {"default", "p"}, {.grace_period_seconds = 20}));
  // Its last readiness is written after the signal went out.
  for (int i = 0; i < 1000 && runtime_.read(runtime_.signals).empty(); ++i)
    std::this_thread::sleep_for(5ms);
  advance(19s);
  EXPECT_FALSE(get("p").is_null());
  advance(1s);
  ASSERT_TRUE(await_gone("p"));
  EXPECT_EQ(runtime_.read(runtime_.signals).back(), std::make_pair(std::string("c"), SIGKILL));
  EXPECT_TRUE(runtime_.list()->empty());
}

TEST_F(PodManagerTest, AForcedDeletionTakesEverythingAtOnce) {
  runtime_.change([](auto& r) { r.ignores_term.insert("c"); });
  start();
  make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  ASSERT_TRUE(client_->remove(kPods, {"default", "p"}, {.grace_period_seconds = 0}));
  // A successor of the same name is another Pod.
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  for (int i = 0; i < 1000 && runtime_.list()->size() > 1; ++i) std::this_thread::sleep_for(5ms);
  ASSERT_EQ(runtime_.list()->size(), 1U);
  EXPECT_EQ(runtime_.list()->front().spec.pod_uid, uid);
  EXPECT_EQ(network_.ips().size(), 1U);
}

TEST_F(PodManagerTest, AdoptsRunningPodsAndRemovesStrangers) {
  start();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  const Json before = get("p");
  manager_.reset();  // Pods outlive it
  ASSERT_TRUE(runtime_.state(uid));
  ASSERT_TRUE(runtime_.create_sandbox({"stranger", "default", "s", "s"}));
  network_.hold("stranger");
  network_.hold("only an address");
  start();
  EXPECT_EQ(get("p"), before);  // not even written
  EXPECT_EQ(runtime_.list()->size(), 1U);
  EXPECT_EQ(network_.ips().size(), 1U);
  EXPECT_EQ(runtime_.read(runtime_.order).size(), 1U);
  runtime_.end(uid, "c", 1);
  ASSERT_TRUE(await("p", [](const Json& pod) { return restarts_of(pod) == 1; }));
}

TEST_F(PodManagerTest, ALostSupervisorCostsARestartButNotTheAddress) {
  start();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  const std::string ip = get("p")["status"]["podIP"];
  runtime_.lose(uid);
  ASSERT_TRUE(await("p", [](const Json& pod) {
    return restarts_of(pod) == 1 && status_of(pod)["ready"] == true;
  }));
  EXPECT_EQ(get("p")["status"]["podIP"], ip);
  EXPECT_EQ(status_of(get("p"))["lastState"]["terminated"]["exitCode"], 137);
  EXPECT_TRUE(events().contains(
      "Normal SandboxChanged Pod sandbox changed, it will be killed and re-created."));
}

TEST_F(PodManagerTest, AnImageItCannotRunWaitsBesideTheOthers) {
  start();
  const std::string uid = make(
      "p", spec_of("Always", Json::array({container_json("c", "nginx"), container_json("d")})));
  ASSERT_TRUE(await("p", [](const Json& pod) {
    const Json* statuses = json_find(pod, {"status", "containerStatuses"});
    return statuses && statuses->size() == 2 && (*statuses)[1]["ready"] == true;
  }));
  EXPECT_EQ(status_of(get("p"))["state"]["waiting"]["reason"], "ErrImagePull");
  EXPECT_EQ(get("p")["status"]["phase"], "Pending");
  EXPECT_TRUE(events().contains(
      "Warning Failed Failed to pull image \"nginx\": the runtime \"process\" runs only "
      "coracle/echo and coracle/host"));
  // Another image helps at once.
  Json image = {
      {"spec", {{"containers", Json::array({{{"name", "c"}, {"image", "coracle/echo"}}})}}}};
  ASSERT_TRUE(client_->patch(kPods, {"default", "p"}, PatchType::StrategicMerge, image, ""));
  ASSERT_TRUE(await_phase("p", "Running"));
}

TEST_F(PodManagerTest, AHostContainerNeedsACommand) {
  start();
  make("p", spec_of("Always", Json::array({container_json("c", "coracle/host")})));
  ASSERT_TRUE(await("p", [](const Json& pod) {
    return json_find(pod, {"status", "containerStatuses"}) &&
           status_of(pod)["state"].value("/waiting/reason"_json_pointer, "") ==
               "CreateContainerError";
  }));
}

TEST_F(PodManagerTest, AMissingConfigMapIsAskedForAgain) {
  start();
  Json c = container_json("c");
  c["envFrom"] = Json::array({{{"configMapRef", {{"name", "settings"}}}}});
  const std::string uid = make("p", spec_of("Always", Json::array({c})));
  ASSERT_TRUE(await("p", [](const Json& pod) {
    return json_find(pod, {"status", "containerStatuses"}) &&
           status_of(pod)["state"].value("/waiting/reason"_json_pointer, "") ==
               "CreateContainerConfigError";
  }));
  EXPECT_EQ(status_of(get("p"))["state"]["waiting"]["message"], "configmap \"settings\" not found");
  ASSERT_TRUE(
      client_->create(resources::kConfigMaps,
                      Object(Json{{"metadata", {{"name", "settings"}, {"namespace", "default"}}},
                                  {"data", {{"COLOUR", "red"}}}})));
  advance(10s);
  ASSERT_TRUE(await_phase("p", "Running"));
  const auto spec = runtime_.read(runtime_.specs)[uid + "/c"];
  EXPECT_NE(std::find(spec.env.begin(), spec.env.end(),
                      std::make_pair(std::string("COLOUR"), std::string("red"))),
            spec.env.end());
}

TEST_F(PodManagerTest, ReadinessFollowsTheProbe) {
  runtime_.change([](auto& r) { r.exec_exit["c"] = 1; });
  start();
  Json c = container_json("c");
  c["readinessProbe"] = {{"exec", {{"command", Json::array({"check"})}}},
                         {"periodSeconds", 1},
                         {"failureThreshold", 1}};
  const std::string uid = make("p", spec_of("Always", Json::array({c})));
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_EQ(status_of(get("p"))["ready"], false);
  const auto ready = [&](bool wanted) {
    return await("p", [&](const Json& pod) {
      manager_->poke();
      return status_of(pod)["ready"] == wanted;
    });
  };
  runtime_.change([](auto& r) { r.exec_exit["c"] = 0; });
  advance(1s);
  ASSERT_TRUE(ready(true));
  // A new agent believes what the last one knew, until a probe says otherwise.
  manager_.reset();
  const Json before = get("p");
  runtime_.change([](auto& r) { r.exec_exit["c"] = 1; });
  start();
  advance(1s);
  ASSERT_TRUE(ready(false));
  EXPECT_EQ(before["status"]["containerStatuses"][0]["containerID"],
            status_of(get("p"))["containerID"]);
  EXPECT_TRUE(events().contains("Warning Unhealthy Readiness probe failed: said so"));
}

TEST_F(PodManagerTest, TroubleIsToldAndTriedAgain) {
  runtime_.fail_once("create_sandbox");
  start();
  make("p", one());
  ASSERT_TRUE(await("p", [&](const Json& pod) {
    return json_find(pod, {"status", "startTime"}) != nullptr;
  }));
  EXPECT_TRUE(
      events().contains("Warning FailedCreatePodSandBox Failed to create pod sandbox: "
                        "create_sandbox was made to fail"));
  advance(1s);
  ASSERT_TRUE(await_phase("p", "Running"));
}

TEST_F(PodManagerTest, SaysWhatItCannotDoOnce) {
  start();
  Json spec = one();
  spec["shareProcessNamespace"] = true;
  make("p", spec);
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_TRUE(events().contains(
      "Warning Unsupported spec.shareProcessNamespace is not supported by the runtime \"process\" "
      "and has no effect"));
}

}  // namespace
}  // namespace coracle::pods
