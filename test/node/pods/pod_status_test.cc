#include "node/pods/pod_status.h"

#include "scene.h"

namespace coracle::pods {
namespace {

const StatusFacts kFacts{*Ip::parse("192.0.2.6"), "2026-01-02T04:00:00Z"};

Json status_of(const Scene& scene) {
  return compute_pod_status(scene.view(), kFacts);
}

Json condition(const Json& status, const std::string& type) {
  for (const Json& c : status["conditions"])
    if (c["type"] == type) return c;
  return Json();
}

Json with_probe(const char* kind) {
  Json container = container_json("c");
  container[kind] = {{"tcpSocket", {{"port", 80}}}};
  return spec_of("Always", Json::array({container}));
}

TEST(PodStatus, OfAPodThatIsBeingMade) {
  const Scene s(spec_of("Always", Json::array({container_json("c")})),
                {{"phase", "Pending"}, {"qosClass", "BestEffort"}});
  const Json status = status_of(s);
  EXPECT_EQ(status["phase"], "Pending");
  EXPECT_EQ(status["qosClass"], "BestEffort");
  EXPECT_EQ(status["startTime"], kFacts.now);
  EXPECT_EQ(status["hostIP"], "192.0.2.6");
  EXPECT_FALSE(status.contains("podIP"));
  EXPECT_EQ(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
  EXPECT_EQ(condition(status, "PodScheduled")["status"], "True");
  EXPECT_EQ(condition(status, "Initialized")["status"], "True");
  EXPECT_EQ(condition(status, "Ready")["reason"], "ContainersNotReady");
  EXPECT_EQ(condition(status, "Ready")["message"], "containers with unready status: [c]");
}

TEST(PodStatus, AddressesFollowTheNode) {
  const StatusFacts moved{*Ip::parse("192.0.2.7"), kFacts.now};
  Scene pod;
  pod.up().running("c", 0);
  const Json own = compute_pod_status(pod.view(), moved);
  EXPECT_EQ(own["hostIP"], "192.0.2.7");
  EXPECT_EQ(own["podIP"], "10.42.0.5");
  Json spec = spec_of("Always", Json::array({container_json("c")}));
  spec["hostNetwork"] = true;
  // An adopted one, whose address only its status tells.
  Scene host(spec, {{"podIP", "192.0.2.6"}, {"podIPs", {{{"ip", "192.0.2.6"}}}}});
  const Json shared = compute_pod_status(host.view(), moved);
  EXPECT_EQ(shared["podIP"], "192.0.2.7");
  EXPECT_EQ(shared["podIPs"], Json::array({{{"ip", "192.0.2.7"}}}));
  EXPECT_FALSE(compute_pod_status(Scene(spec).view(), moved).contains("podIP")) << "not made yet";
}

TEST(PodStatus, OfARunningPod) {
  Scene s;
  s.up().running("c", 2);
  const Json status = status_of(s);
  EXPECT_EQ(status["phase"], "Running");
  EXPECT_EQ(status["podIP"], "10.42.0.5");
  EXPECT_EQ(status["podIPs"], Json::array({{{"ip", "10.42.0.5"}}}));
  const Json& c = status["containerStatuses"][0];
  EXPECT_EQ(c["ready"], true);
  EXPECT_EQ(c["started"], true);
  EXPECT_EQ(c["restartCount"], 2);
  EXPECT_EQ(c["containerID"], "process://id-c-2");
  EXPECT_EQ(c["imageID"], "process://coracle/echo");
  EXPECT_EQ(c["state"]["running"]["startedAt"], "2026-01-02T03:00:00Z");
  EXPECT_EQ(condition(status, "Ready")["status"], "True");
  EXPECT_EQ(condition(status, "ContainersReady")["status"], "True");
}

TEST(PodStatus, IsStableAndKeepsWhatOthersWrote) {
  Scene s(with_probe("readinessProbe"),
          {{"phase", "Pending"},
           {"conditions", Json::array({{{"type", "example.com/gate"}, {"status", "True"}}})}});
  s.up().running("c");
  s.probed("c").readiness = Verdict::Success;
  s.document["status"] = status_of(s);
  s.decode();
  EXPECT_EQ(condition(s.pod.status(), "example.com/gate")["status"], "True");
  const StatusFacts later{kFacts.node_ip, "2026-01-02T05:00:00Z"};
  EXPECT_EQ(compute_pod_status(s.view(), later), s.pod.status());
  s.probed("c").readiness = Verdict::Failure;
  const Json unready = compute_pod_status(s.view(), later);
  EXPECT_EQ(condition(unready, "Ready")["lastTransitionTime"], later.now);
  EXPECT_EQ(condition(unready, "Initialized")["lastTransitionTime"], kFacts.now);
  EXPECT_EQ(unready["phase"], "Running");
}

TEST(PodStatus, ReadyFollowsTheProbesOfThisVeryContainer) {
  struct Case {
    const char *name, *kind;
    Verdict verdict;
    bool started, ready;
  };
  for (const Case& c : {Case{"not probed yet", "readinessProbe", Verdict::Unknown, true, false},
                        Case{"unready", "readinessProbe", Verdict::Failure, true, false},
                        Case{"ready", "readinessProbe", Verdict::Success, true, true},
                        Case{"starting", "startupProbe", Verdict::Unknown, false, false},
                        Case{"started", "startupProbe", Verdict::Success, true, true},
                        Case{"alive", "livenessProbe", Verdict::Unknown, true, true}}) {
    SCOPED_TRACE(c.name);
    Scene s(with_probe(c.kind));
    s.up().running("c");
    (std::string(c.kind) == "startupProbe" ? s.probed("c").startup : s.probed("c").readiness) =
        c.verdict;
    const Json status = status_of(s)["containerStatuses"][0];
    EXPECT_EQ(status["started"], c.started);
    EXPECT_EQ(status["ready"], c.ready);
  }
}

TEST(PodStatus, SaysWhyAContainerWaits) {
  Scene s;
  s.up();
  s.memory.containers["c"].failure =
      StartFailure{"ErrImagePull", "only coracle/echo", "coracle/echo", {}};
  const Json status = status_of(s);
  EXPECT_EQ(status["phase"], "Pending");
  EXPECT_EQ(status["containerStatuses"][0]["state"]["waiting"],
            (Json{{"reason", "ErrImagePull"}, {"message", "only coracle/echo"}}));
}

TEST(PodStatus, OfACrashLoop) {
  Scene s;
  s.up().exited("c", 3, 4);
  s.memory.containers["c"].backoff = {160s, s.now - 1s};
  const Json status = status_of(s);
  EXPECT_EQ(status["phase"], "Running");
  const Json& c = status["containerStatuses"][0];
  EXPECT_EQ(c["state"]["waiting"]["reason"], "CrashLoopBackOff");
  EXPECT_EQ(c["state"]["waiting"]["message"],
            "back-off 2m40s restarting failed container=c pod=p_ns(u1)");
  EXPECT_EQ(c["lastState"]["terminated"]["exitCode"], 3);
  EXPECT_EQ(c["lastState"]["terminated"]["reason"], "Error");
  EXPECT_EQ(c["lastState"]["terminated"]["finishedAt"], "2026-01-02T03:01:00Z");
  EXPECT_EQ(c["restartCount"], 4);
  EXPECT_EQ(c["ready"], false);
}

TEST(PodStatus, OfAPodThatIsDone) {
  for (const int code : {0, 7}) {
    SCOPED_TRACE(code);
    Scene s(spec_of("Never", Json::array({container_json("c")})));
    s.up().exited("c", code);
    const Json status = status_of(s);
    EXPECT_EQ(status["phase"], code == 0 ? "Succeeded" : "Failed");
    EXPECT_EQ(condition(status, "Ready")["reason"], code == 0 ? "PodCompleted" : "PodFailed");
    const Json& ended = status["containerStatuses"][0]["state"]["terminated"];
    EXPECT_EQ(ended["reason"], code == 0 ? "Completed" : "Error");
    EXPECT_EQ(ended["exitCode"], code);
    EXPECT_EQ(ended["startedAt"], "2026-01-02T03:00:00Z");
  }
}

TEST(PodStatus, KeepsTheLastEndBesideTheRunningContainer) {
  Scene s;
  s.up().running("c", 1);
  ContainerState before;
  before.exit_code = 143;
  before.signal = 15;
  s.memory.containers["c"].last_terminated = Object(terminated_state(before));
  const Json c = status_of(s)["containerStatuses"][0];
  EXPECT_EQ(c["lastState"]["terminated"]["exitCode"], 143);
  EXPECT_EQ(c["lastState"]["terminated"]["signal"], 15);
  EXPECT_TRUE(c["state"].contains("running"));
}

TEST(PodStatus, TellsWhatAContainerLeft) {
  Scene s(spec_of("Never", Json::array({container_json("c")})));
  s.up().exited("c", 3).termination_message = "the disk is full\n";
  const Json c = status_of(s)["containerStatuses"][0];
  EXPECT_EQ(c["state"]["terminated"]["message"], "the disk is full\n");
  EXPECT_EQ(c["state"]["terminated"]["reason"], "Error");
  ContainerState both;
  both.message = "why it did not start";
  both.termination_message = "what it said";
  EXPECT_EQ(terminated_state(both)["message"], "why it did not start: what it said");
}

// 12 KiB for a Pod, in equal parts, cut between characters.
TEST(PodStatus, SeveralContainersShareTheRoomForMessages) {
  Json init = Json::array(), main = Json::array();
  for (const char* name : {"i", "a", "b", "d", "e"})
    (name[0] == 'i' ? init : main).push_back(container_json(name));
  Scene s(spec_of("Always", main, init));
  s.up();
  std::string message = "x";
  while (message.size() < 4096) message += "\u20ac";
  s.exited("i", 0).termination_message = message;
  for (const char* name : {"a", "b", "d", "e"}) s.exited(name, 1).termination_message = message;
  ContainerState before;
  before.termination_message = message;
  s.memory.containers["a"].last_terminated = Object(terminated_state(before));
  const Json status = status_of(s);
  const std::string expected = message.substr(0, 2455);  // 12,288 / 5, without half a character
  EXPECT_EQ(status["initContainerStatuses"][0]["state"]["terminated"]["message"], expected);
  for (const Json& c : status["containerStatuses"])
    EXPECT_EQ(c["state"]["terminated"]["message"], expected);
  EXPECT_EQ(status["containerStatuses"][0]["lastState"]["terminated"]["message"], expected);
}

TEST(PodStatus, OfInitContainers) {
  Scene s(spec_of("Always", Json::array({container_json("c")}),
                  Json::array({container_json("a"), container_json("b")})));
  s.up().exited("a", 0);
  s.running("b");
  Json status = status_of(s);
  EXPECT_EQ(status["phase"], "Pending");
  EXPECT_EQ(status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
  EXPECT_EQ(status["initContainerStatuses"][0]["ready"], true);
  EXPECT_TRUE(status["initContainerStatuses"][1]["state"].contains("running"));
  EXPECT_EQ(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
  EXPECT_EQ(condition(status, "Initialized")["message"], "containers with incomplete status: [b]");
  s.sandbox->containers.back().status = ContainerState::Status::Exited;
  s.running("c");
  status = status_of(s);
  EXPECT_EQ(status["phase"], "Running");
  EXPECT_EQ(condition(status, "Initialized")["status"], "True");
  EXPECT_EQ(condition(status, "Ready")["status"], "True");
}

TEST(PodStatus, WaitsForReadinessGates) {
  Json spec = spec_of("Always", Json::array({container_json("c")}));
  spec["readinessGates"] = Json::array({{{"conditionType", "example.com/gate"}}});
  Scene s(spec);
  s.up().running("c");
  EXPECT_EQ(condition(status_of(s), "Ready")["reason"], "ReadinessGatesNotReady");
  EXPECT_EQ(condition(status_of(s), "ContainersReady")["status"], "True");
  s.document["status"]["conditions"] =
      Json::array({{{"type", "example.com/gate"}, {"status", "True"}}});
  s.decode();
  EXPECT_EQ(condition(status_of(s), "Ready")["status"], "True");
}

TEST(PodStatus, OfALostSupervisorTellsTheUnknownEnd) {
  Scene s(spec_of("Never", Json::array({container_json("c")})));
  s.up().running("c");
  s.sandbox->alive = false;
  const Json status = status_of(s);
  EXPECT_EQ(status["phase"], "Failed");
  EXPECT_EQ(status["containerStatuses"][0]["state"]["terminated"]["reason"],
            "ContainerStatusUnknown");
  EXPECT_EQ(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 137);
}

}  // namespace
}  // namespace coracle::pods
