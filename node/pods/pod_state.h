// What the agent remembers of a Pod between two looks at it, and the picture from which the next
// step is computed. Everything here is a value; what matters for long is found again in the runtime
// and in the API's status, so that an agent can be replaced at any moment.
#pragma once

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
};
// A container that was asked to end.
struct Kill {
  std::string container_id;
  Time since;
  std::chrono::seconds grace{0};
  std::optional<Time> forced_at;  // SIGKILL
};
struct ContainerMemory {
  std::string exited_id;  // the container whose end was seen at exited_at
  Time exited_at{};
  Backoff backoff;
  Object last_terminated;  // lastState.terminated, empty when there was none
  int restarts = -1;       // of the last start; -1: never started
  std::optional<StartFailure> failure;
  std::optional<Kill> kill;
  std::string backoff_announced;  // the container whose wait had its Event
};

struct PodMemory {
  bool seeded = false;
  bool connected = false;
  bool finished = false;  // the final status is written and the API may forget the Pod
  std::optional<Ip> ip;
  // Of sandbox, network and API writes.
  std::optional<Time> retry_at;
  int failures = 0;
  std::map<std::string, ContainerMemory> containers;
  std::vector<ContainerState> last_containers;  // of a sandbox that is no more, and not since
  bool announced = false;                       // what it asks for in vain
  bool terminating = false;                     // its deletion was seen

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
  // Runs, and past its startup probe.
  bool started(const PodContainer& container) const;
  bool ready(const PodContainer& container) const;
};

inline constexpr int kUnknownExitCode = 137;

// Takes over what the API's status knows of an earlier agent's time. Once per Pod.
void seed_memory(PodMemory& memory, const NodePod& pod, const SandboxState* sandbox);
// Notes restarts and ends that the sandbox shows.
void observe(PodMemory& memory, const SandboxState& sandbox, Time now);
// state.terminated of a container that ended.
Json terminated_state(const ContainerState& state);
// "process://ID"
std::string container_id(const ContainerState& state);

}  // namespace coracle::pods
