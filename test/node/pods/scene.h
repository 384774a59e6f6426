// A Pod, what the node has of it, and the time: what the pure functions look at.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "node/pods/pod_state.h"

namespace coracle::pods {

using namespace std::chrono_literals;

inline Json container_json(const std::string& name, const std::string& image = "coracle/echo") {
  return {{"name", name}, {"image", image}};
}

struct Scene {
  explicit Scene(Json spec = {{"containers", Json::array({container_json("c")})}},
                 const Json& status = {{"phase", "Pending"}}) {
    document = {{"apiVersion", "v1"},
                {"kind", "Pod"},
                {"metadata", {{"name", "p"}, {"namespace", "ns"}, {"uid", "u1"}}},
                {"spec", std::move(spec)},
                {"status", status}};
    document["spec"]["nodeName"] = "n1";
    decode();
  }
  void decode() {
    auto decoded = NodePod::decode(Object(document));
    ASSERT_TRUE(decoded) << decoded.error().message;
    pod = std::move(*decoded);
  }
  void deleting(int grace) {
    document["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z";
    document["metadata"]["deletionGracePeriodSeconds"] = grace;
    decode();
  }
  // A living, connected sandbox.
  Scene& up() {
    sandbox = SandboxState{{"u1", "ns", "p", "p"}, true, {}, {}};
    memory.connected = true;
    memory.ip = *Ip::parse("10.42.0.5");
    return *this;
  }
  ContainerState& running(const std::string& name, int restart_count = 0) {
    ContainerState state;
    state.name = name;
    state.id = "id-" + name + "-" + std::to_string(restart_count);
    state.image = "coracle/echo";
    state.restart_count = restart_count;
    state.started_at = parse_time("2026-01-02T03:00:00Z");
    sandbox->containers.push_back(state);
    observe(memory, *sandbox, now);
    return sandbox->containers.back();
  }
  ContainerState& exited(const std::string& name, int code, int restart_count = 0) {
    ContainerState& state = running(name, restart_count);
    state.status = ContainerState::Status::Exited;
    state.exit_code = code;
    state.finished_at = parse_time("2026-01-02T03:01:00Z");
    observe(memory, *sandbox, now);
    return state;
  }
  ProbeOutcome& probed(const std::string& name) {
    ProbeOutcome& outcome = probes[name];
    for (const ContainerState& state : sandbox->containers)
      if (state.name == name) outcome.container_id = state.id;
    return outcome;
  }
  PodView view() const { return {pod, sandbox ? &*sandbox : nullptr, probes, memory, now}; }

  Json document;
  NodePod pod;
  std::optional<SandboxState> sandbox;
  ProbeOutcomes probes;
  PodMemory memory;
  Time now{1h};
};

inline Json spec_of(const std::string& policy, const Json& containers,
                    const Json& init = Json::array()) {
  Json spec = {{"restartPolicy", policy}, {"containers", containers}};
  if (!init.empty()) spec["initContainers"] = init;
  return spec;
}

}  // namespace coracle::pods
