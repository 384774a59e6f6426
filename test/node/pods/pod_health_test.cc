// What containers are given, how they are probed, and what is told of them.
#include "pod_manager_fixture.h"

namespace coracle::pods {
namespace {

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

TEST_F(PodManagerTest, AFailedLivenessProbeCostsARestart) {
  start();
  Json c = container_json("c");
  c["livenessProbe"] = {{"exec", {{"command", Json::array({"check"})}}},
                        {"periodSeconds", 5},
                        {"initialDelaySeconds", 20},
                        {"failureThreshold", 2},
                        {"terminationGracePeriodSeconds", 7}};
  const std::string uid = make("p", spec_of("Always", Json::array({c})));
  ASSERT_TRUE(await_phase("p", "Running"));
  runtime_.change([](auto& r) {
    r.exec_exit["c"] = 1;
    r.ignores_term.insert("c");
  });
  const auto restarted = [&](std::chrono::seconds by, int count) {
    advance(by);
    return await("p", [&](const Json& pod) {
      manager_->poke();
      return restarts_of(pod) == count;
    });
  };
  const auto asked = [&] { return runtime_.read(runtime_.asked)["c"]; };
  advance(19s);
  EXPECT_EQ(asked(), 0) << "too early";
  advance(1s);
  ASSERT_TRUE(test::eventually([&] { return asked() == 1; }));
  EXPECT_TRUE(runtime_.read(runtime_.signals).empty()) << "one failure is none";
  advance(5s);
  ASSERT_TRUE(test::eventually([&] { return !runtime_.read(runtime_.signals).empty(); }));
  EXPECT_EQ(runtime_.read(runtime_.signals).size(), 1U) << "it has its probe's time";
  ASSERT_TRUE(restarted(7s, 1));
  EXPECT_EQ(runtime_.read(runtime_.signals).back(), std::make_pair(std::string("c"), SIGKILL));
  EXPECT_EQ(asked(), 2);
  const auto seen = events();
  EXPECT_TRUE(seen.contains("Warning Unhealthy Liveness probe failed: said so"));
  EXPECT_TRUE(seen.contains("Normal Killing Container c failed liveness probe, will be restarted"));
}

TEST_F(PodManagerTest, TheStartupProbeHoldsTheOthersBack) {
  runtime_.change([](auto& r) { r.exec_exit["c"] = 1; });
  start();
  Json c = container_json("c");
  for (const char* kind : {"startupProbe", "readinessProbe", "livenessProbe"})
    c[kind] = {{"exec", {{"command", Json::array({kind})}}},
               {"periodSeconds", 1},
               {"failureThreshold", 100}};
  make("p", spec_of("Always", Json::array({c})));
  ASSERT_TRUE(await_phase("p", "Running"));
  for (int i = 1; i <= 3; ++i) {
    advance(1s);
    ASSERT_TRUE(test::eventually([&] { return runtime_.read(runtime_.asked)["c"] == i; }));
  }
  EXPECT_EQ(status_of(get("p"))["started"], false);
  EXPECT_EQ(runtime_.read(runtime_.commands), std::set<std::string>{"startupProbe"});
  runtime_.change([](auto& r) { r.exec_exit["c"] = 0; });
  advance(1s);
  ASSERT_TRUE(await("p", [&](const Json& pod) { return status_of(pod)["started"] == true; }));
  advance(1s);
  ASSERT_TRUE(await("p", [&](const Json& pod) {
    manager_->poke();
    return status_of(pod)["ready"] == true;
  }));
  EXPECT_TRUE(test::eventually([&] { return runtime_.read(runtime_.commands).size() == 3; }));
}

TEST_F(PodManagerTest, ServicesAreToldUnlessThePodWantsNone) {
  const auto service = [&](const std::string& name, const std::string& ip) {
    ASSERT_TRUE(client_->create(
        resources::kServices,
        Object(Json{{"metadata", {{"name", name}, {"namespace", "default"}}},
                    {"spec", {{"clusterIP", ip}, {"ports", Json::array({{{"port", 80}}})}}}})));
  };
  service("kubernetes", "10.96.0.1");
  service("web", "10.96.0.50");
  service("quiet", "None");
  start();
  Json quiet = one();
  quiet["enableServiceLinks"] = false;
  const std::string with = make("with", one()), without = make("without", quiet);
  ASSERT_TRUE(await_phase("with", "Running"));
  ASSERT_TRUE(await_phase("without", "Running"));
  const auto specs = runtime_.read(runtime_.specs);
  const auto env = [&](const std::string& uid) {
    const auto& pairs = specs.at(uid + "/c").env;
    return std::map<std::string, std::string>(pairs.begin(), pairs.end());
  };
  EXPECT_EQ(env(with)["WEB_SERVICE_HOST"], "10.96.0.50");
  EXPECT_EQ(env(with)["WEB_PORT_80_TCP"], "tcp://10.96.0.50:80");
  EXPECT_FALSE(env(with).contains("QUIET_SERVICE_HOST"));
  EXPECT_FALSE(env(without).contains("WEB_SERVICE_HOST"));
  for (const std::string& uid : {with, without})
    EXPECT_EQ(env(uid)["KUBERNETES_SERVICE_HOST"], "10.96.0.1");
}

TEST_F(PodManagerTest, AContainersLastWordsAreInItsStatus) {
  start();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  runtime_.end(uid, "c", 1, 0, "no more memory");
  ASSERT_TRUE(await("p", [](const Json& pod) { return restarts_of(pod) == 1; }));
  EXPECT_EQ(status_of(get("p"))["lastState"]["terminated"]["message"], "no more memory");
}

}  // namespace
}  // namespace coracle::pods
