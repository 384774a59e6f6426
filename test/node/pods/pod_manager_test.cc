// The life of Pods under PodManager.
#include "pod_manager_fixture.h"

namespace coracle::pods {
namespace {

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
  EXPECT_EQ(network_.told(uid), "default " + network_.ips()[uid].to_string());
  const auto spec = runtime_.read(runtime_.specs)[uid + "/c"];
  const std::map<std::string, std::string> env(spec.env.begin(), spec.env.end());
  EXPECT_EQ(env.at("POD_IP"), network_.ips()[uid].to_string());
  const auto seen = events();
  EXPECT_TRUE(seen.contains("Normal Created Created container: c"));
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
  EXPECT_EQ(network_.told(uid), "");
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
  ASSERT_TRUE(test::eventually([&] { return !runtime_.read(runtime_.signals).empty(); }));
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
  ASSERT_TRUE(test::eventually([&] { return runtime_.list()->size() == 1; }));
  EXPECT_EQ(runtime_.list()->front().spec.pod_uid, uid);
  // Its address goes after its processes.
  EXPECT_TRUE(test::eventually([&] { return network_.ips().size() == 1; }));
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

TEST_F(PodManagerTest, AnImageThatIsMissingIsTriedAgainEverMoreRarely) {
  start();
  make("p", spec_of("Always", Json::array({container_json("c", "nginx")})));
  const auto waits = [&](const std::string& reason) {
    return await("p", [&](const Json& pod) {
      return json_find(pod, {"status", "containerStatuses"}) &&
             status_of(pod)["state"].value("/waiting/reason"_json_pointer, "") == reason;
    });
  };
  const std::string why = "the runtime \"process\" runs only coracle/echo and coracle/host";
  ASSERT_TRUE(waits("ErrImagePull"));
  EXPECT_EQ(status_of(get("p"))["state"]["waiting"]["message"], why);
  for (const auto delay : {10s, 20s, 40s}) {
    advance(3s);
    ASSERT_TRUE(waits("ImagePullBackOff"));
    EXPECT_EQ(status_of(get("p"))["state"]["waiting"]["message"],
              "Back-off pulling image \"nginx\": ErrImagePull: " + why);
    advance(delay - 3s);
    ASSERT_TRUE(waits("ErrImagePull"));
  }
  const auto seen = events();
  for (const char* event :
       {"Normal Pulling Pulling image \"nginx\"", "Warning Failed Error: ErrImagePull",
        "Normal BackOff Back-off pulling image \"nginx\"",
        "Warning Failed Error: ImagePullBackOff"})
    EXPECT_TRUE(seen.contains(event)) << event;
}

TEST_F(PodManagerTest, AnImageThatIsNeverToBePulledAndOneThatIsNone) {
  start();
  Json never = container_json("c", "nginx");
  never["imagePullPolicy"] = "Never";
  make("p", spec_of("Always", Json::array({never})));
  make("q", spec_of("Always", Json::array({container_json("c", "Nginx")})));
  const auto waits = [&](const std::string& name, const Json& state) {
    return await(name, [&](const Json& pod) {
      const Json* waiting = json_find(status_of(pod), {"state", "waiting"});
      return waiting != nullptr && *waiting == state;
    });
  };
  const std::string message = "Container image \"nginx\" is not present with pull policy of Never";
  EXPECT_TRUE(waits("p", {{"reason", "ErrImageNeverPull"}, {"message", message}}));
  const std::string wrong =
      "Failed to apply default image tag \"Nginx\": couldn't parse image name \"Nginx\": invalid "
      "reference format: repository name (library/Nginx) must be lowercase";
  EXPECT_TRUE(waits("q", {{"reason", "InvalidImageName"}, {"message", wrong}}));
  const auto seen = events();
  for (const std::string& event :
       {"Warning ErrImageNeverPull " + message,
        std::string("Warning Failed Error: ErrImageNeverPull"), "Warning InspectFailed " + wrong,
        std::string("Warning Failed Error: InvalidImageName")})
    EXPECT_TRUE(seen.contains(event)) << event;
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
  spec["hostIPC"] = true;
  make("p", spec);
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_TRUE(events().contains(
      "Warning Unsupported spec.hostIPC is not supported by the runtime \"process\" "
      "and has no effect"));
}

}  // namespace
}  // namespace coracle::pods
