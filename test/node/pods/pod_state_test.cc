#include "node/pods/pod_state.h"

#include "node/pods/probe_targets.h"
#include "node/pods/unsupported.h"
#include "scene.h"

namespace coracle::pods {
namespace {

TEST(Backoff, DoublesFromTenSecondsToFiveMinutes) {
  Backoff backoff;
  Time now{1h};
  std::vector<std::int64_t> waits;
  for (int i = 0; i < 8; ++i) {
    const auto left = backoff_left(backoff, now, now);
    waits.push_back(std::chrono::duration_cast<std::chrono::seconds>(left).count());
    const Time exited = now;
    now += left;
    backoff = next_backoff(backoff, exited, now);
    now += 1s;  // it runs, and ends
  }
  EXPECT_EQ(waits, (std::vector<std::int64_t>{0, 10, 20, 40, 80, 160, 300, 300}));
}

TEST(Backoff, IsForgottenAfterTenGoodMinutes) {
  const Backoff backoff{160s, Time{1h}};
  EXPECT_EQ(backoff_left(backoff, Time{1h + 10min}, Time{1h + 10min}), 160s);
  EXPECT_EQ(backoff_left(backoff, Time{1h + 10min + 1s}, Time{1h + 10min + 1s}), 0s);
  EXPECT_EQ(next_backoff(backoff, Time{1h + 11min}, Time{1h + 11min}).delay, 10s);
}

Json running_status(const std::string& id, int restarts) {
  return {{"phase", "Running"},
          {"podIP", "10.42.0.5"},
          {"containerStatuses",
           Json::array({{{"name", "c"},
                         {"containerID", "process://" + id},
                         {"restartCount", restarts},
                         {"ready", true},
                         {"started", true},
                         {"state", {{"running", {{"startedAt", "2026-01-02T03:00:00Z"}}}}},
                         {"lastState", {{"terminated", {{"exitCode", 9}}}}}}})}};
}

TEST(SeedMemory, TakesOverWhatTheApiKnows) {
  Scene s({{"containers", Json::array({container_json("c")})}}, running_status("id-c-4", 4));
  s.up().running("c", 4);
  seed_memory(s.memory, s.pod, &*s.sandbox);
  EXPECT_EQ(s.memory.containers["c"].restarts, 4);
  EXPECT_EQ(s.memory.containers["c"].last_terminated.json()["exitCode"], 9);
}

TEST(SeedMemory, ACrashOfTheAgentBetweenStartAndStatusLosesNoEnd) {
  Scene s({{"containers", Json::array({container_json("c")})}}, running_status("id-c-4", 4));
  s.up().running("c", 5);
  seed_memory(s.memory, s.pod, &*s.sandbox);
  EXPECT_EQ(s.memory.containers["c"].restarts, 5);
  EXPECT_EQ(s.memory.containers["c"].last_terminated.json()["reason"], "ContainerStatusUnknown");
}

TEST(SeedMemory, AVanishedSandboxCountsAsEnded) {
  Scene s({{"containers", Json::array({container_json("c")})}}, running_status("id-c-4", 4));
  seed_memory(s.memory, s.pod, nullptr);
  ASSERT_TRUE(s.view().state("c"));
  EXPECT_EQ(s.view().state("c")->exit_code, kUnknownExitCode);
  EXPECT_EQ(s.view().state("c")->id, "id-c-4");
}

// What a container left to be told is no reason of its own, also for the next agent.
TEST(SeedMemory, KeepsTerminationMessagesWhatTheyAre) {
  for (const auto& [reason, message] :
       {std::pair{"Error", "the disk is full"}, {"StartError", "exec: \"x\": no such file"}}) {
    Json status = running_status("id-c-4", 4);
    status["containerStatuses"][0]["state"] = {{"terminated",
                                                {{"exitCode", 2},
                                                 {"reason", reason},
                                                 {"message", message},
                                                 {"containerID", "process://id-c-4"},
                                                 {"startedAt", "2026-01-02T03:00:00Z"},
                                                 {"finishedAt", "2026-01-02T03:00:01Z"}}}};
    Scene s({{"containers", Json::array({container_json("c")})}}, status);
    seed_memory(s.memory, s.pod, nullptr);
    EXPECT_EQ(terminated_state(*s.view().state("c")),
              status["containerStatuses"][0]["state"]["terminated"]);
  }
}

TEST(SeedMemory, APodThatNeverRanHasNothing) {
  Scene s({{"containers", Json::array({container_json("c")})}},
          {{"containerStatuses", Json::array({{{"name", "c"}, {"restartCount", 0}}})}});
  seed_memory(s.memory, s.pod, nullptr);
  EXPECT_FALSE(s.view().state("c"));
  EXPECT_EQ(s.memory.find("c"), nullptr);
}

const auto kWall = parse_time("2026-01-02T03:00:04Z");

TEST(ProbeTargets, WaitForTheStartupProbe) {
  Json c = container_json("c");
  const Json tcp = {{"tcpSocket", {{"port", "web"}}}, {"initialDelaySeconds", 10}};
  c["ports"] = Json::array({{{"name", "web"}, {"containerPort", 8080}}});
  for (const char* kind : {"startupProbe", "readinessProbe", "livenessProbe"}) c[kind] = tcp;
  Scene s(Json{{"containers", Json::array({c})}});
  s.up().running("c");
  auto targets = probe_targets(s.view(), kWall);
  ASSERT_EQ(targets.size(), 1U);
  EXPECT_EQ(targets[0].kind, ProbeKind::Startup);
  EXPECT_EQ(targets[0].port, 8080);
  EXPECT_EQ(targets[0].ip, *Ip::parse("10.42.0.5"));
  EXPECT_EQ(targets[0].first, s.now + 6s);  // it has run for 4 s
  s.probed("c").startup = Verdict::Success;
  EXPECT_EQ(probe_targets(s.view(), kWall).size(), 3U);
  s.deleting(30);
  targets = probe_targets(s.view(), kWall);
  EXPECT_EQ(targets.size(), 2U);  // nobody restarts it any more
  s.probed("c").startup = Verdict::Unknown;
  EXPECT_TRUE(probe_targets(s.view(), kWall).empty());
}

TEST(ProbeTargets, AdoptedContainersKeepTheirReadiness) {
  Json c = container_json("c");
  c["readinessProbe"] = {{"tcpSocket", {{"port", 80}}}};
  Scene s({{"containers", Json::array({c})}}, running_status("id-c-4", 4));
  s.up().running("c", 4);
  s.memory.ip.reset();  // not looked up yet: the status knows it
  auto targets = probe_targets(s.view(), kWall);
  ASSERT_EQ(targets.size(), 1U);
  EXPECT_TRUE(targets[0].assumed);
  EXPECT_EQ(targets[0].ip, *Ip::parse("10.42.0.5"));
  s.sandbox->containers[0].id = "a new one";
  EXPECT_FALSE(probe_targets(s.view(), kWall)[0].assumed);
}

TEST(Unsupported, NamesEveryFieldOnce) {
  Json c = container_json("c");
  c["securityContext"] = {{"privileged", true}};
  c["ports"] = Json::array({{{"containerPort", 80}}, {{"containerPort", 81}, {"hostPort", 81}}});
  c["resources"] = {{"requests", {{"cpu", "1"}}}};
  c["volumeMounts"] = {
      {{"name", "data"}, {"mountPath", "/a"}, {"mountPropagation", "None"}},
      {{"name", "data"}, {"mountPath", "/b"}, {"mountPropagation", "HostToContainer"}}};
  const Scene s(
      {{"containers", Json::array({c})},
       {"securityContext", Json::object()},
       {"hostPID", false},
       {"volumes",
        Json::array({{{"name", "kube-api-access-x"}, {"projected", {}}},
                     {{"name", "data"}, {"emptyDir", Json::object()}},
                     {{"name", "small"}, {"emptyDir", {{"sizeLimit", "1Mi"}}}},
                     {{"name", "shm"}, {"emptyDir", {{"medium", "Memory"}, {"sizeLimit", "1Mi"}}}},
                     {{"name", "all"},
                      {"projected",
                       {{"sources",
                         {{{"secret", {{"name", "s"}}}},
                          {{"serviceAccountToken", {{"path", "t"}}}}}}}}}})}});
  EXPECT_EQ(unsupported_fields(s.pod),
            (std::vector<std::string>{"spec.volumes[2].emptyDir.sizeLimit",
                                      "spec.volumes[4].projected.sources[1].serviceAccountToken",
                                      "spec.containers[0].ports[1].hostPort",
                                      "spec.containers[0].volumeMounts[1].mountPropagation",
                                      "spec.containers[0].securityContext.privileged"}));
  EXPECT_TRUE(unsupported_fields(Scene().pod).empty());
}

}  // namespace
}  // namespace coracle::pods
