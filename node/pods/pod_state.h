// What the agent remembers of a Pod between two looks at it, and the picture from which the next
// step is computed. Everything here is a value; what matters for long is found again in the runtime
// and in the API's status, so that an agent can be replaced at any moment.
#pragma once

#include <coracle/clock.h>
#include <coracle/net.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pods/node_pod.h"
#include "runtime/runtime.h"

namespace coracle::pods {

using Time = std::chrono::steady_clock::time_point;

// How long a container that ended waits for its next start: at once at first, then 10 s after its
// end, doubling to 5 min; forgotten after 10 minutes without a start.
struct Backoff {
  std::chrono::seconds delay{0};
  Time last_start{};
  bool operator==(const Backoff&) const = default;
};
// What is left of the wait; 0 when it may start.
std::chrono::nanoseconds backoff_left(const Backoff& backoff, Time exited_at, Time now);
// After a start at `now` of a container that ended at `exited_at`.
Backoff next_backoff(const Backoff& backoff, Time exited_at, Time now);

// After so many failed pulls of an image in a row: 10 s, doubling to 5 min.
std::chrono::seconds pull_delay(int failures);

enum class Verdict { Unknown, Success, Failure };
// What the probes of one running container say.
struct ProbeOutcome {
  std::string container_id;
  Verdict startup = Verdict::Unknown, readiness = Verdict::Unknown, liveness = Verdict::Unknown;
  bool operator==(const ProbeOutcome&) const = default;
};
using ProbeOutcomes = std::map<std::string, ProbeOutcome>;  // by container name

// Why a container is not there: its waiting state.
struct StartFailure {
  std::string reason, message;
  std::string image;             // another one is tried at once
  std::optional<Time> retry_at;  // absent: only another image helps
  int count = 1;                 // in a row
  // When ErrImagePull becomes ImagePullBackOff.
  std::optional<Time> backoff_at = {};
};
inline constexpr const char* kErrImagePull = "ErrImagePull";
inline constexpr const char* kImagePullBackOff = "ImagePullBackOff";
// A container that was asked to end.
struct Kill {
  std::string container_id;
  Time since;
  std::chrono::seconds grace{0};
  std::optional<Time> forced_at;       // SIGKILL
  bool held = false;                   // SIGTERM waits for its hook, or its turn
  std::optional<Time> termed_at = {};  // SIGTERM, after it was held
};
// A lifecycle hook of a container that has begun.
struct HookRun {
  std::string container_id;
  bool done = false, success = false;
  std::optional<Time> ends_at;  // a sleep, which needs nobody to run it
};
struct ContainerMemory {
  std::string exited_id;  // the container whose end was seen at exited_at
  Time exited_at{};
  Backoff backoff;
  Object last_terminated;  // lastState.terminated, empty when there was none
  int restarts = -1;       // of the last start; -1: never started
  std::optional<StartFailure> failure;
  std::optional<Kill> kill;
  std::optional<HookRun> post_start, pre_stop;
  std::string backoff_announced;  // the container whose wait had its Event
};

struct VolumeMemory {
  bool prepared = false;                        // a sandbox may be made
  bool written = false;                         // and containers may be started in it
  std::map<std::string, VolumeFiles> contents;  // by volume: fetched, and not yet written
  // As written; downward files show them.
  std::map<std::string, std::string> labels, annotations;
  std::optional<Time> refresh_at;  // when the objects behind it are looked at again
};
// As the kubelet's: how old a ConfigMap in a volume may be.
inline constexpr std::chrono::seconds kVolumeRefresh{60};

struct PodMemory {
  bool seeded = false;
  bool connected = false;
  bool finished = false;  // the final status is written and the API may forget the Pod
  std::optional<Ip> ip;
  // Of sandbox, network and API writes.
  std::optional<Time> retry_at;
  int failures = 0;
  VolumeMemory volumes;
  std::map<std::string, ContainerMemory> containers;
  std::vector<ContainerState> last_containers;  // of a sandbox that is no more, and not since
  bool announced = false;                       // what it asks for in vain
  bool terminating = false;                     // its deletion was seen
  std::optional<Time> active_since;             // status.startTime
  bool deadline_announced = false;

  const ContainerMemory* find(const std::string& container) const;
};

// One consistent picture of a Pod. References live as long as the caller keeps them.
struct PodView {
  const NodePod& pod;
  const SandboxState* sandbox;  // null: none
  const ProbeOutcomes& probes;
  const PodMemory& memory;
  Time now;

  bool alive() const { return sandbox != nullptr && sandbox->alive; }
  // The container's last known state. What ran in a sandbox that died counts as ended with 137.
  std::optional<ContainerState> state(const std::string& container) const;
  // The probes' word on exactly this container.
  ProbeOutcome probes_of(const ContainerState& state) const;
  // How a hook of exactly this container stands.
  enum class HookState { None, Due, Running, Failed, Done };
  HookState post_start(const PodContainer& container, const ContainerState& state) const;
  HookState pre_stop(const PodContainer& container, const ContainerState& state) const;
  // Runs, and past its postStart hook. Until then others are told it is being made.
  bool settled(const PodContainer& container, const ContainerState& state) const;
  // When spec.activeDeadlineSeconds are over, and whether they are.
  std::optional<Time> deadline() const;
  bool exceeded() const;
  // Settled, and past its startup probe.
  bool started(const PodContainer& container) const;
  bool ready(const PodContainer& container) const;
};

inline constexpr int kUnknownExitCode = 137;

// Takes over what the API's status knows of an earlier agent's time. Once per Pod.
void seed_memory(PodMemory& memory, const NodePod& pod, const SandboxState* sandbox);
// Notes restarts and ends that the sandbox shows.
void observe(PodMemory& memory, const SandboxState& sandbox, Time now);
// Since when the Pod counts as active: status.startTime by the clock that does not jump, or now.
Time active_since(const NodePod& pod, const Clock& clock);
// state.terminated of a container that ended.
Json terminated_state(const ContainerState& state);
// "process://ID"
std::string container_id(const ContainerState& state);

}  // namespace coracle::pods
