#include "node/pods/pod_actions.h"

#include "scene.h"

namespace coracle::pods {
namespace {

using Actions = std::vector<PodAction>;

Json two() {
  return Json::array({container_json("a"), container_json("b")});
}
Json one() {
  return Json::array({container_json("c")});
}
Json probe() {
  return {{"exec", {{"command", Json::array({"true"})}}}};
}

Actions next(const Scene& scene) {
  return pod_actions(scene.view()).actions;
}

TEST(PodActions, BringANewPodUpStepByStep) {
  Scene s(spec_of("Always", two()));
  EXPECT_EQ(next(s), Actions{CreateSandbox{}});
  s.sandbox = SandboxState{{"u1", "ns", "p", "p"}, true, {}, {}};
  EXPECT_EQ(next(s), Actions{ConnectNetwork{}});
  s.up();
  EXPECT_EQ(next(s), (Actions{StartContainer{"a"}, StartContainer{"b"}}));
  s.running("a");
  EXPECT_EQ(next(s), Actions{StartContainer{"b"}});
  s.running("b");
  EXPECT_EQ(next(s), Actions{});
  EXPECT_FALSE(pod_actions(s.view()).wake_at);
}

TEST(PodActions, AdoptWhatRunsWithoutTouchingIt) {
  Scene s;
  s.up().running("c", 3);
  s.memory.connected = false;
  EXPECT_EQ(next(s), Actions{ConnectNetwork{}});
}

TEST(PodActions, RestartByPolicyAndExitCode) {
  struct Case {
    const char *name, *policy;
    int code;
    bool restarts;
  };
  for (const Case& c :
       {Case{"always, failed", "Always", 1, true}, Case{"always, done", "Always", 0, true},
        Case{"on failure, failed", "OnFailure", 1, true},
        Case{"on failure, done", "OnFailure", 0, false}, Case{"never, failed", "Never", 1, false},
        Case{"never, done", "Never", 0, false}}) {
    SCOPED_TRACE(c.name);
    Scene s(spec_of(c.policy, two()));
    s.up().exited("a", c.code);
    s.running("b");
    EXPECT_EQ(next(s), c.restarts ? Actions{StartContainer{"a"}} : Actions{});
  }
}

TEST(PodActions, WaitForTheBackOff) {
  Scene s;
  s.up().exited("c", 1, 1);
  s.memory.containers["c"].backoff = {10s, s.now - 3s};
  const PodPlan plan = pod_actions(s.view());
  EXPECT_TRUE(plan.actions.empty());
  EXPECT_EQ(plan.wake_at, s.now + 10s);
  EXPECT_EQ(plan.backing_off, std::vector<std::string>{"c"});
  s.now += 10s;
  EXPECT_EQ(next(s), Actions{StartContainer{"c"}});
}

TEST(PodActions, AnImageThatIsMissingIsBackedOffFromAndTriedAgain) {
  Scene s(spec_of("Always", one()));
  s.up();
  const std::string image = s.pod.containers[0].spec.image;
  StartFailure failure{kErrImagePull, "no", image, s.now + 10s};
  failure.backoff_at = s.now + 3s;
  s.memory.containers["c"].failure = failure;
  EXPECT_EQ(next(s), Actions{});
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 3s);
  s.now += 3s;
  EXPECT_EQ(next(s), Actions{BackOffPull{"c"}});
  s.memory.containers["c"].failure->backoff_at.reset();
  EXPECT_EQ(next(s), Actions{});
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 7s);
  s.now += 7s;
  EXPECT_EQ(next(s), Actions{StartContainer{"c"}});
  // An agent that was late does not back off from what is due.
  s.memory.containers["c"].failure->backoff_at = s.now - 7s;
  EXPECT_EQ(next(s), Actions{StartContainer{"c"}});
}

TEST(PodActions, RunInitContainersInOrderBeforeTheOthers) {
  Scene s(spec_of("Always", one(), two()));
  s.up();
  EXPECT_EQ(next(s), Actions{StartContainer{"a"}});
  s.running("a");
  EXPECT_EQ(next(s), Actions{});
  s.sandbox->containers.clear();
  s.exited("a", 0);
  EXPECT_EQ(next(s), Actions{StartContainer{"b"}});
  s.exited("b", 1);
  EXPECT_EQ(next(s), Actions{StartContainer{"b"}});
  s.sandbox->containers.back().exit_code = 0;
  EXPECT_EQ(next(s), Actions{StartContainer{"c"}});
  s.running("c");
  EXPECT_EQ(next(s), Actions{});
}

TEST(PodActions, ASidecarRunsOnWhileTheNextStarts) {
  Json sidecar = container_json("side");
  sidecar["restartPolicy"] = "Always";
  Scene s(spec_of("Never", one(), Json::array({sidecar})));
  s.up();
  EXPECT_EQ(next(s), Actions{StartContainer{"side"}});
  s.running("side");
  EXPECT_EQ(next(s), Actions{StartContainer{"c"}});
  s.exited("c", 0);
  // The Pod is done: its sidecar is not needed any more.
  EXPECT_EQ(next(s), (Actions{StopContainer{"side", 30s, "Stopping container side"}}));
}

TEST(PodActions, AFailedInitContainerEndsAPodThatNeverRestarts) {
  Scene s(spec_of("Never", one(), Json::array({container_json("a")})));
  s.up().exited("a", 2);
  EXPECT_EQ(next(s), Actions{DisconnectNetwork{}});
  EXPECT_EQ(pod_phase(s.view()), "Failed");
}

TEST(PodActions, AFailedLivenessProbeRestarts) {
  Json container = container_json("c");
  container["livenessProbe"] = probe();
  Scene s(spec_of("Always", Json::array({container})));
  const std::string id = s.up().running("c").id;
  s.probed("c").liveness = Verdict::Failure;
  EXPECT_EQ(
      next(s),
      (Actions{StopContainer{"c", 30s, "Container c failed liveness probe, will be restarted"}}));
  s.memory.containers["c"].kill = Kill{id, s.now, 30s, {}};
  EXPECT_EQ(next(s), Actions{});
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 30s);
  s.now += 30s;
  EXPECT_EQ(next(s), Actions{KillContainer{"c"}});
  // The verdict on an earlier container of the name does not count.
  s.sandbox->containers.front().id = "another";
  EXPECT_EQ(next(s), Actions{});
}

TEST(PodActions, AProbeMayHaveItsOwnGracePeriod) {
  struct Case {
    const char *name, *kind, *policy;
    int own;  // 0: none
    std::chrono::seconds grace;
    const char* why;
  };
  for (const Case& c : {
           Case{"the Pod's", "livenessProbe", "Always", 0, 30s,
                "Container c failed liveness probe, will be restarted"},
           Case{"shorter", "livenessProbe", "Always", 3, 3s,
                "Container c failed liveness probe, will be restarted"},
           Case{"longer", "startupProbe", "OnFailure", 90, 90s,
                "Container c failed startup probe, will be restarted"},
           Case{"for ever", "startupProbe", "Never", 4, 4s, "Container c failed startup probe"},
       }) {
    SCOPED_TRACE(c.name);
    Json container = container_json("c");
    container[c.kind] = probe();
    if (c.own > 0) container[c.kind]["terminationGracePeriodSeconds"] = c.own;
    Scene s(spec_of(c.policy, Json::array({container})));
    const std::string id = s.up().running("c").id;
    const bool liveness = std::string(c.kind) == "livenessProbe";
    (liveness ? s.probed("c").liveness : s.probed("c").startup) = Verdict::Failure;
    EXPECT_EQ(next(s), (Actions{StopContainer{"c", c.grace, c.why}}));
    // Once asked to end it ends, whatever its probe says meanwhile.
    s.memory.containers["c"].kill = Kill{id, s.now, c.grace, {}};
    s.probes.clear();
    EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + c.grace);
    s.now += c.grace;
    EXPECT_EQ(next(s), Actions{KillContainer{"c"}});
  }
}

TEST(PodActions, AnotherImageRestarts) {
  Scene s;
  s.up().running("c").image = "coracle/host";
  EXPECT_EQ(
      next(s),
      (Actions{StopContainer{"c", 30s, "Container c definition changed, will be restarted"}}));
}

TEST(PodActions, AStartFailureIsTriedAgainWhenItsTimeHasCome) {
  Scene s;
  s.up();
  s.memory.containers["c"].failure =
      StartFailure{"CreateContainerConfigError", "no such secret", "coracle/echo", s.now + 10s};
  EXPECT_EQ(next(s), Actions{});
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 10s);
  s.now += 10s;
  EXPECT_EQ(next(s), Actions{StartContainer{"c"}});
  s.memory.containers["c"].failure->retry_at.reset();
  EXPECT_EQ(next(s), Actions{});
  s.memory.containers["c"].failure->image = "what it was before";
  EXPECT_EQ(next(s), Actions{StartContainer{"c"}});
}

TEST(PodActions, DeletionTermsThenKillsThenRemovesThenFinishes) {
  Scene s;
  const std::string id = s.up().running("c").id;
  s.deleting(20);
  EXPECT_EQ(next(s), (Actions{StopContainer{"c", 20s, "Stopping container c"}}));
  s.memory.containers["c"].kill = Kill{id, s.now, 20s, {}};
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 20s);
  s.deleting(5);  // somebody is in a hurry
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 5s);
  s.now += 5s;
  EXPECT_EQ(next(s), Actions{KillContainer{"c"}});
  s.memory.containers["c"].kill->forced_at = s.now;
  EXPECT_EQ(next(s), Actions{});
  s.now += 2s;  // it does not even die: the sandbox goes with it
  EXPECT_EQ(next(s), Actions{RemoveSandbox{}});
  s.sandbox.reset();
  EXPECT_EQ(next(s), Actions{Finish{}});
  s.memory.finished = true;
  EXPECT_EQ(next(s), Actions{});
}

TEST(PodActions, DeletionRestartsNothing) {
  Scene s(spec_of("Always", two()));
  s.up().exited("a", 1);
  s.deleting(30);
  EXPECT_EQ(next(s), Actions{RemoveSandbox{}});
}

TEST(PodActions, ALostSupervisorIsReplacedUnlessThePodIsOver) {
  struct Case {
    const char *name, *policy;
    int code;
    Actions expected;
  };
  for (const Case& c : {Case{"always", "Always", 0, {ReplaceSandbox{}}},
                        Case{"on failure, still ran", "OnFailure", -1, {ReplaceSandbox{}}},
                        Case{"on failure, done", "OnFailure", 0, {DisconnectNetwork{}}},
                        Case{"never", "Never", -1, {DisconnectNetwork{}}}}) {
    SCOPED_TRACE(c.name);
    Scene s(spec_of(c.policy, one()));
    s.up();
    if (c.code < 0) {
      s.running("c");
    } else {
      s.exited("c", c.code);
    }
    s.sandbox->alive = false;
    EXPECT_EQ(next(s), c.expected);
  }
}

TEST(PodActions, ANewSandboxRunsAgainOnlyWhatIsNotDone) {
  Scene s(spec_of("OnFailure", two()));
  s.up();
  s.memory.containers["a"].restarts = s.memory.containers["b"].restarts = 0;
  ContainerState done;
  done.status = ContainerState::Status::Exited;
  done.name = "a";
  ContainerState lost = done;
  lost.name = "b";
  lost.exit_code = kUnknownExitCode;
  s.memory.last_containers = {done, lost};
  EXPECT_EQ(next(s), Actions{StartContainer{"b"}});
}

TEST(PodActions, TroubleWithTheSandboxWaitsForItsRetry) {
  Scene s;
  s.memory.retry_at = s.now + 4s;
  EXPECT_EQ(next(s), Actions{});
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 4s);
}

TEST(PodActions, AFinishedPodStaysFinished) {
  Scene s(spec_of("Always", one()), {{"phase", "Failed"}});
  EXPECT_EQ(next(s), Actions{});
  s.up();
  EXPECT_EQ(next(s), Actions{DisconnectNetwork{}});
}

TEST(PodPhase, FollowsUpstreamsRules) {
  struct Case {
    const char *name, *policy;
    std::vector<int> codes;  // per container: -2 not there, -1 runs, else exited with it
    const char* phase;
  };
  for (const Case& c : {Case{"nothing yet", "Always", {-2, -2}, "Pending"},
                        Case{"one still waits", "Always", {-1, -2}, "Pending"},
                        Case{"all run", "Always", {-1, -1}, "Running"},
                        Case{"always goes on", "Always", {0, 1}, "Running"},
                        Case{"on failure goes on", "OnFailure", {0, 1}, "Running"},
                        Case{"on failure is done", "OnFailure", {0, 0}, "Succeeded"},
                        Case{"never, one runs", "Never", {1, -1}, "Running"},
                        Case{"never, one failed", "Never", {0, 1}, "Failed"},
                        Case{"never, done", "Never", {0, 0}, "Succeeded"}}) {
    SCOPED_TRACE(c.name);
    Scene s(spec_of(c.policy, two()));
    s.up();
    const char* names[] = {"a", "b"};
    for (std::size_t i = 0; i < 2; ++i) {
      if (c.codes[i] == -1) s.running(names[i]);
      if (c.codes[i] >= 0) s.exited(names[i], c.codes[i]);
    }
    EXPECT_EQ(pod_phase(s.view()), c.phase);
  }
}

}  // namespace
}  // namespace coracle::pods
