// Lifecycle hooks, the order in which a Pod ends, and its deadline.
#include "node/pods/pod_actions.h"
#include "node/pods/pod_status.h"
#include "scene.h"
#include "support/registry_client.h"

namespace coracle::pods {
namespace {

using Actions = std::vector<PodAction>;

Actions next(const Scene& scene) {
  return pod_actions(scene.view()).actions;
}

Json hooked(const std::string& name, const char* when, const Json& hook) {
  Json out = container_json(name);
  out["lifecycle"] = {{when, hook}};
  return out;
}
const Json kExec = {{"exec", {{"command", {"true"}}}}};

Json sidecar(const std::string& name) {
  Json out = container_json(name);
  out["restartPolicy"] = "Always";
  return out;
}

const StatusFacts kFacts{*Ip::parse("192.0.2.6"), "2026-01-02T03:04:05Z"};

TEST(PodHooks, AreRead) {
  EXPECT_EQ(decode_hook({{"name", "c"}}, "preStop").kind, Hook::Kind::None);
  Hook hook = decode_hook(hooked("c", "preStop", kExec), "preStop");
  EXPECT_EQ(hook.kind, Hook::Kind::Exec);
  EXPECT_EQ(hook.action.command, std::vector<std::string>{"true"});
  hook = decode_hook(hooked("c", "preStop", {{"sleep", {{"seconds", 7}}}}), "preStop");
  EXPECT_EQ(hook.kind, Hook::Kind::Sleep);
  EXPECT_EQ(hook.seconds, 7);
  hook = decode_hook(hooked("c", "preStop", {{"httpGet", {{"path", "/x"}, {"port", "web"}}}}),
                     "preStop");
  EXPECT_EQ(hook.kind, Hook::Kind::HttpGet);
  EXPECT_EQ(hook.action.port_name, "web");
  EXPECT_EQ(decode_hook(hooked("c", "preStop", {{"tcpSocket", {{"port", 1}}}}), "preStop").kind,
            Hook::Kind::Unsupported);
}

TEST(PodHooks, NothingGoesOnBeforePostStartIsDone) {
  Scene s(spec_of("Always", Json::array({hooked("a", "postStart", kExec), container_json("b")})));
  s.up();
  EXPECT_EQ(next(s), Actions{StartContainer{"a"}});
  const std::string id = s.running("a").id;
  EXPECT_EQ(next(s), Actions{RunPostStart{"a"}});
  s.memory.containers["a"].post_start = HookRun{id, false, false, {}};
  EXPECT_EQ(next(s), Actions{});
  Json status = compute_pod_status(s.view(), kFacts);
  EXPECT_EQ(status["phase"], "Pending");
  EXPECT_EQ(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
  EXPECT_FALSE(status["containerStatuses"][0]["started"].get<bool>());
  s.memory.containers["a"].post_start = HookRun{id, true, true, {}};
  EXPECT_EQ(next(s), Actions{StartContainer{"b"}});
  status = compute_pod_status(s.view(), kFacts);
  EXPECT_TRUE(status["containerStatuses"][0]["state"].contains("running"));
}

TEST(PodHooks, AFailedPostStartEndsTheContainer) {
  Scene s(spec_of("Always", Json::array({hooked("a", "postStart", kExec)})));
  s.up();
  s.memory.containers["a"].post_start = HookRun{s.running("a").id, true, false, {}};
  EXPECT_EQ(next(s), (Actions{StopContainer{"a", 30s, "FailedPostStartHook"}}));
}

TEST(PodHooks, AnAdoptedContainerThatWasToldToRunHasItsHookBehindIt) {
  Scene s(spec_of("Always", Json::array({hooked("a", "postStart", kExec)})));
  s.up().running("a");
  const std::string id = "process://" + s.sandbox->containers[0].id;
  for (const bool told : {true, false}) {
    s.memory = {};
    s.memory.connected = true;
    s.document["status"]["containerStatuses"] =
        Json::array({{{"name", "a"},
                      {"containerID", id},
                      {"state", {{told ? "running" : "waiting", Json::object()}}}}});
    s.decode();
    seed_memory(s.memory, s.pod, &*s.sandbox);
    EXPECT_EQ(next(s), told ? Actions{} : Actions{RunPostStart{"a"}});
  }
}

TEST(PodHooks, SigtermComesOnlyAfterPreStop) {
  Scene s(spec_of("Always", Json::array({hooked("a", "preStop", kExec)})));
  s.up();
  const std::string id = s.running("a").id;
  s.deleting(30);
  EXPECT_EQ(next(s), (Actions{StopContainer{"a", 30s, "Stopping container a", true}}));
  ContainerMemory& memory = s.memory.containers["a"];
  memory.kill = Kill{id, s.now, 30s, {}, true};
  memory.pre_stop = HookRun{id, false, false, {}};
  EXPECT_EQ(next(s), Actions{});
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 30s);
  memory.pre_stop->done = true;  // also when it failed
  EXPECT_EQ(next(s), Actions{TerminateContainer{"a"}});
  memory.pre_stop->done = false;
  s.now += 30s;
  EXPECT_EQ(next(s), Actions{TerminateContainer{"a"}}) << "its time is over";
  memory.kill->held = false;
  memory.kill->termed_at = s.now;
  EXPECT_EQ(next(s), Actions{}) << "two seconds are always left";
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 2s);
  s.now += 2s;
  EXPECT_EQ(next(s), Actions{KillContainer{"a"}});
}

TEST(PodHooks, ASleepNeedsNobodyToRunIt) {
  Scene s(spec_of("Always", Json::array({hooked("a", "preStop", {{"sleep", {{"seconds", 5}}}})})));
  s.up();
  const std::string id = s.running("a").id;
  s.deleting(30);
  s.memory.containers["a"].kill = Kill{id, s.now, 30s, {}, true};
  s.memory.containers["a"].pre_stop = HookRun{id, false, false, s.now + 5s};
  EXPECT_EQ(next(s), Actions{});
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 5s);
  s.now += 5s;
  EXPECT_EQ(next(s), Actions{TerminateContainer{"a"}});
}

TEST(PodHooks, NoTimeNoHook) {
  Scene s(spec_of("Always", Json::array({hooked("a", "preStop", kExec)})));
  s.up().running("a");
  s.deleting(0);
  EXPECT_EQ(next(s), (Actions{StopContainer{"a", 0s, "Stopping container a"}}));
}

TEST(PodHooks, SidecarsEndAfterTheOthersInReverse) {
  Scene s(spec_of("Always", Json::array({container_json("c")}),
                  Json::array({sidecar("one"), sidecar("two")})));
  s.up();
  for (const char* name : {"one", "two", "c"}) s.running(name);
  s.deleting(30);
  EXPECT_EQ(next(s), (Actions{StopContainer{"one", 30s, "Stopping container one", true},
                              StopContainer{"two", 30s, "Stopping container two", true},
                              StopContainer{"c", 30s, "Stopping container c"}}));
  for (const ContainerState& state : s.sandbox->containers)
    s.memory.containers[state.name].kill = Kill{state.id, s.now, 30s, {}, state.name != "c"};
  const auto end = [&](std::size_t i) {
    s.sandbox->containers[i].status = ContainerState::Status::Exited;
    observe(s.memory, *s.sandbox, s.now);
  };
  EXPECT_EQ(next(s), Actions{});
  end(2);
  EXPECT_EQ(next(s), Actions{TerminateContainer{"two"}});
  s.memory.containers["two"].kill->held = false;
  end(1);
  EXPECT_EQ(next(s), Actions{TerminateContainer{"one"}});
  s.memory.containers["one"].kill->held = false;
  end(0);
  EXPECT_EQ(next(s), Actions{RemoveSandbox{}});
}

TEST(PodDeadline, EndsThePodAsFailed) {
  Json spec = spec_of("Always", Json::array({container_json("c")}));
  spec["activeDeadlineSeconds"] = 10;
  Scene s(spec);
  s.up().running("c");
  s.memory.active_since = s.now;
  EXPECT_EQ(next(s), Actions{});
  EXPECT_EQ(pod_actions(s.view()).wake_at, s.now + 10s);
  s.now += 10s;
  EXPECT_EQ(next(s), (Actions{StopContainer{"c", 30s, "Stopping container c"}}));
  EXPECT_EQ(compute_pod_status(s.view(), kFacts)["phase"], "Running") << "until all has ended";
  s.sandbox->containers[0].status = ContainerState::Status::Exited;
  observe(s.memory, *s.sandbox, s.now);
  const Json status = compute_pod_status(s.view(), kFacts);
  EXPECT_EQ(status["phase"], "Failed");
  EXPECT_EQ(status["reason"], "DeadlineExceeded");
  EXPECT_EQ(status["message"], "Pod was active on the node longer than the specified deadline");
  EXPECT_EQ(next(s), Actions{DisconnectNetwork{}}) << "nothing is started again";
}

TEST(PodDeadline, CountsFromTheStartTimeAlsoForTheNextAgent) {
  test::ManualClock clock;
  Scene s;
  s.document["status"]["startTime"] = format_time(clock.now() - 40s);
  s.decode();
  const auto age = clock.steady_now() - active_since(s.pod, clock);
  EXPECT_GE(age, 40s);
  EXPECT_LE(age, 41s) << "the status has whole seconds";
}

TEST(PodState, WhatTheKernelEndedForItsMemoryIsOOMKilled) {
  ContainerState state;
  state.out_of_memory = true;
  state.finished_at = std::chrono::system_clock::time_point(1h);
  state.exit_code = 137;
  EXPECT_EQ(terminated_state(state)["reason"], "OOMKilled");
  state.exit_code = 0;
  EXPECT_EQ(terminated_state(state)["reason"], "Completed");
}

}  // namespace
}  // namespace coracle::pods
