#include "pods/pod_state.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kFirstDelay = 10s;
constexpr std::chrono::seconds kLongestDelay = 300s;
constexpr const char* kIdPrefix = "process://";
constexpr const char* kStartError = "StartError";

bool expired(const Backoff& backoff, Time exited_at) {
  return backoff.delay == 0s || exited_at - backoff.last_start > 2 * kLongestDelay;
}

// The container of a status of ours, as far as it tells.
ContainerState state_of_status(const Json& status) {
  ContainerState out;
  out.name = json_string(status, {"name"});
  out.image = json_string(status, {"image"});
  out.id = json_string(status, {"containerID"});
  if (out.id.starts_with(kIdPrefix)) out.id.erase(0, std::string(kIdPrefix).size());
  out.status = ContainerState::Status::Exited;
  out.restart_count = static_cast<int>(json_int(status, {"restartCount"}));
  const Json* ended = json_find(status, {"state", "terminated"});
  if (ended == nullptr) ended = json_find(status, {"lastState", "terminated"});
  if (json_find(status, {"state", "running"}) != nullptr || ended == nullptr) {
    out.exit_code = kUnknownExitCode;
    return out;
  }
  out.exit_code = static_cast<int>(json_int(*ended, {"exitCode"}));
  out.signal = static_cast<int>(json_int(*ended, {"signal"}));
  out.started_at = parse_time(json_string(*ended, {"startedAt"}));
  out.finished_at = parse_time(json_string(*ended, {"finishedAt"}));
  const bool failed_to_start = json_string(*ended, {"reason"}) == kStartError;
  (failed_to_start ? out.message : out.termination_message) = json_string(*ended, {"message"});
  return out;
}

const ContainerState* find_state(const std::vector<ContainerState>& states,
                                 const std::string& container) {
  for (const ContainerState& s : states)
    if (s.name == container) return &s;
  return nullptr;
}

PodView::HookState hook_state(const Hook& hook, const std::optional<HookRun>* run,
                              const ContainerState& state, Time now) {
  using HookState = PodView::HookState;
  if (hook.kind == Hook::Kind::None) return HookState::None;
  if (run == nullptr || !*run || (*run)->container_id != state.id) return HookState::Due;
  if ((*run)->ends_at) return now >= *(*run)->ends_at ? HookState::Done : HookState::Running;
  if (!(*run)->done) return HookState::Running;
  return (*run)->success ? HookState::Done : HookState::Failed;
}

void seed_container(PodMemory& memory, const Json& status, const SandboxState* sandbox) {
  const std::string name = json_string(status, {"name"});
  if (json_string(status, {"containerID"}).empty() &&
      json_find(status, {"lastState", "terminated"}) == nullptr)
    return;  // never started
  const ContainerState known = state_of_status(status);
  ContainerMemory& container = memory.containers[name];
  container.restarts = std::max(container.restarts, known.restart_count);
  if (sandbox == nullptr) memory.last_containers.push_back(known);
  const ContainerState* now = sandbox ? find_state(sandbox->containers, name) : nullptr;
  const bool same = now != nullptr && now->id == known.id;
  // It was told to run only after its hook.
  if (same && json_find(status, {"state", "running"}) != nullptr)
    container.post_start = HookRun{known.id, true, true, std::nullopt};
  const Json* last = json_find(status, {"lastState", "terminated"});
  // A container that was started after the last status was written: what that one calls the present
  // is the past.
  if (!same && json_find(status, {"state", "waiting"}) == nullptr)
    container.last_terminated = Object(terminated_state(known));
  else if (last != nullptr)
    container.last_terminated = Object(*last);
}

}  // namespace

std::chrono::nanoseconds backoff_left(const Backoff& backoff, Time exited_at, Time now) {
  if (expired(backoff, exited_at)) return 0ns;
  return std::max<std::chrono::nanoseconds>(0ns, exited_at + backoff.delay - now);
}

Backoff next_backoff(const Backoff& backoff, Time exited_at, Time now) {
  if (expired(backoff, exited_at)) return {kFirstDelay, now};
  return {std::min(backoff.delay * 2, kLongestDelay), now};
}

std::chrono::seconds pull_delay(int failures) {
  return std::min(kFirstDelay * (1 << std::clamp(failures - 1, 0, 16)), kLongestDelay);
}

const ContainerMemory* PodMemory::find(const std::string& container) const {
  const auto it = containers.find(container);
  return it == containers.end() ? nullptr : &it->second;
}

std::optional<ContainerState> PodView::state(const std::string& container) const {
  const ContainerState* found = sandbox ? find_state(sandbox->containers, container) : nullptr;
  if (found == nullptr) {
    // Of an earlier sandbox only what needs no second run still counts once there is a new one.
    found = find_state(memory.last_containers, container);
    const bool done = found && found->exit_code == 0 && pod.pod.restart_policy != "Always";
    const PodContainer* spec = pod.find(container);
    const bool main = spec == nullptr || spec->role == PodContainer::Role::Main;
    if (sandbox != nullptr && !(done && main)) found = nullptr;
  }
  if (found == nullptr) return std::nullopt;
  ContainerState out = *found;
  if (!alive() && out.status == ContainerState::Status::Running) {
    out.status = ContainerState::Status::Exited;
    out.exit_code = kUnknownExitCode;
    out.finished_at = {};
  }
  return out;
}

ProbeOutcome PodView::probes_of(const ContainerState& s) const {
  const auto it = probes.find(s.name);
  if (it == probes.end() || it->second.container_id != s.id) return {};
  return it->second;
}

PodView::HookState PodView::post_start(const PodContainer& container,
                                       const ContainerState& s) const {
  const ContainerMemory* known = memory.find(s.name);
  return hook_state(container.post_start, known ? &known->post_start : nullptr, s, now);
}

PodView::HookState PodView::pre_stop(const PodContainer& container, const ContainerState& s) const {
  const ContainerMemory* known = memory.find(s.name);
  return hook_state(container.pre_stop, known ? &known->pre_stop : nullptr, s, now);
}

bool PodView::settled(const PodContainer& container, const ContainerState& s) const {
  const HookState hook = post_start(container, s);
  return s.status == ContainerState::Status::Running &&
         (hook == HookState::None || hook == HookState::Done);
}

std::optional<Time> PodView::deadline() const {
  const std::int64_t seconds = json_int(pod.spec(), {"activeDeadlineSeconds"});
  if (seconds <= 0 || !memory.active_since) return std::nullopt;
  return *memory.active_since + std::chrono::seconds(seconds);
}

bool PodView::exceeded() const {
  const auto at = deadline();
  return at && now >= *at && !pod.pod.finished();
}

bool PodView::started(const PodContainer& container) const {
  const auto s = state(container.spec.name);
  if (!s || !settled(container, *s)) return false;
  return container.spec.startup.kind == Probe::Kind::None ||
         probes_of(*s).startup == Verdict::Success;
}

bool PodView::ready(const PodContainer& container) const {
  const auto s = state(container.spec.name);
  if (container.role == PodContainer::Role::Init)
    return s && s->status == ContainerState::Status::Exited && s->exit_code == 0;
  if (!started(container)) return false;
  return container.spec.readiness.kind == Probe::Kind::None ||
         probes_of(*s).readiness == Verdict::Success;
}

void seed_memory(PodMemory& memory, const NodePod& pod, const SandboxState* sandbox) {
  if (memory.seeded) return;
  memory.seeded = true;
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    const Json* statuses = json_find(pod.status(), {list});
    if (statuses == nullptr || !statuses->is_array()) continue;
    for (const Json& status : *statuses) seed_container(memory, status, sandbox);
  }
}

void observe(PodMemory& memory, const SandboxState& sandbox, Time now) {
  for (const ContainerState& state : sandbox.containers) {
    std::erase_if(memory.last_containers,
                  [&](const ContainerState& old) { return old.name == state.name; });
    ContainerMemory& container = memory.containers[state.name];
    container.restarts = std::max(container.restarts, state.restart_count);
    const bool runs = sandbox.alive && state.status == ContainerState::Status::Running;
    if (runs || container.exited_id == state.id) continue;
    container.exited_id = state.id;
    container.exited_at = now;
  }
}

Time active_since(const NodePod& pod, const Clock& clock) {
  const std::string start = json_string(pod.status(), {"startTime"});
  if (start.empty()) return clock.steady_now();
  const auto age = clock.now() - parse_time(start);
  return clock.steady_now() - std::max<std::chrono::nanoseconds>(0ns, age);
}

std::string container_id(const ContainerState& state) {
  return state.id.empty() ? "" : kIdPrefix + state.id;
}

Json terminated_state(const ContainerState& state) {
  const bool lost =
      state.exit_code == kUnknownExitCode && state.finished_at.time_since_epoch() == 0s;
  Json out = {{"exitCode", state.exit_code}};
  out["reason"] = state.exit_code == 0 ? "Completed" : "Error";
  if (state.out_of_memory && state.exit_code != 0) out["reason"] = "OOMKilled";
  if (lost) {
    out["reason"] = "ContainerStatusUnknown";
    out["message"] =
        "The container could not be located when its Pod was looked at; it was running before";
  } else if (!state.message.empty()) {
    out["reason"] = kStartError;
    out["message"] = state.message;
  }
  if (!state.termination_message.empty()) {
    const std::string before = json_string(out, {"message"});
    out["message"] = before + (before.empty() ? "" : ": ") + state.termination_message;
  }
  if (state.signal != 0) out["signal"] = state.signal;
  if (state.started_at.time_since_epoch() != 0s) out["startedAt"] = format_time(state.started_at);
  if (state.finished_at.time_since_epoch() != 0s)
    out["finishedAt"] = format_time(state.finished_at);
  if (!state.id.empty()) out["containerID"] = container_id(state);
  return out;
}

}  // namespace coracle::pods
