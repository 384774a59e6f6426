#include "pods/pod_actions.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;
using Role = PodContainer::Role;
using Status = ContainerState::Status;

// How long a killed process may take to be gone.
constexpr std::chrono::seconds kKillPatience = 2s;
// What is left after a preStop hook, however long it took.
constexpr std::chrono::seconds kLeastGrace = 2s;

bool finished(const std::string& phase) {
  return phase == "Succeeded" || phase == "Failed";
}

bool main_started(const PodView& view) {
  for (const PodContainer& c : view.pod.containers)
    if (c.role == Role::Main && view.state(c.spec.name)) return true;
  return false;
}

bool init_done(const PodView& view, const PodContainer& container) {
  if (container.role == Role::Sidecar) return view.started(container);
  const auto s = view.state(container.spec.name);
  return s && s->status == Status::Exited && s->exit_code == 0;
}

bool ever_started(const PodView& view) {
  for (const auto& [name, container] : view.memory.containers)
    if (container.restarts >= 0) return true;
  return false;
}

bool has_volumes(const NodePod& pod) {
  const Json* volumes = json_find(pod.spec(), {"volumes"});
  return volumes != nullptr && volumes->is_array() && !volumes->empty();
}

// Whether a Pod without a living sandbox has anything to run in a new one.
bool wants_sandbox(const PodView& view) {
  const std::string& policy = view.pod.pod.restart_policy;
  if (policy == "Always" || !ever_started(view)) return true;
  for (const PodContainer& c : view.pod.containers) {
    if (c.role != Role::Main) continue;
    const auto s = view.state(c.spec.name);
    if (policy == "OnFailure" && (!s || s->exit_code != 0)) return true;
  }
  return false;
}

class Planner {
 public:
  explicit Planner(const PodView& view) : view_(view), pod_(view.pod.pod) {}

  PodPlan plan() {
    if (const auto at = view_.deadline(); at && view_.now < *at) wake(*at);
    if (pod_.meta.deleting()) {
      terminate();
    } else if (pod_.finished() || finished(pod_phase(view_))) {
      settle();
    } else {
      run();
    }
    return std::move(plan_);
  }

 private:
  void wake(Time at) {
    if (!plan_.wake_at || at < *plan_.wake_at) plan_.wake_at = at;
  }
  void act(PodAction action) { plan_.actions.push_back(std::move(action)); }
  bool blocked() {
    if (!view_.memory.retry_at || view_.now >= *view_.memory.retry_at) return false;
    wake(*view_.memory.retry_at);
    return true;
  }

  // True while the container is still to be waited for.
  bool stop(const ContainerState& state, std::chrono::seconds grace, const std::string& why) {
    const ContainerMemory* memory = view_.memory.find(state.name);
    const bool asked = memory && memory->kill && memory->kill->container_id == state.id;
    if (!asked) {
      act(StopContainer{state.name, grace, why, grace > 0s && waits(state)});
      return true;
    }
    const Kill& kill = *memory->kill;
    if (kill.forced_at) {
      if (view_.now >= *kill.forced_at + kKillPatience) return false;
      wake(*kill.forced_at + kKillPatience);
      return true;
    }
    // A later deletion may shorten the grace period.
    Time deadline = kill.since + std::min(kill.grace, grace);
    if (kill.held) {
      if (view_.now >= deadline || !waits(state))
        act(TerminateContainer{state.name});
      else
        wake(std::min(deadline, hook_end(*memory).value_or(deadline)));
      return true;
    }
    if (kill.termed_at) deadline = std::max(deadline, *kill.termed_at + kLeastGrace);
    if (view_.now >= deadline) {
      act(KillContainer{state.name});
    } else {
      wake(deadline);
    }
    return true;
  }
  // Whether SIGTERM has to wait: for its hook, and when the whole Pod ends a sidecar also for the
  // main containers and the sidecars after it.
  bool waits(const ContainerState& state) const {
    const PodContainer* container = view_.pod.find(state.name);
    if (container == nullptr) return false;
    const auto hook = view_.pre_stop(*container, state);
    if (hook == PodView::HookState::Due || hook == PodView::HookState::Running) return true;
    if (!all_end_ || container->role != Role::Sidecar) return false;
    return std::any_of(
        view_.pod.containers.begin(), view_.pod.containers.end(), [&](const auto& c) {
          const bool outlived =
              c.role == Role::Main || (c.role == Role::Sidecar && c.index > container->index);
          const auto s = view_.state(c.spec.name);
          return outlived && s && s->status == Status::Running;
        });
  }
  static std::optional<Time> hook_end(const ContainerMemory& memory) {
    return memory.pre_stop ? memory.pre_stop->ends_at : std::nullopt;
  }
  bool stop_all(std::chrono::seconds grace) {
    all_end_ = true;
    bool waiting = false;
    for (const PodContainer& c : view_.pod.containers) {
      const auto s = view_.state(c.spec.name);
      if (view_.alive() && s && s->status == Status::Running)
        waiting = stop(*s, grace, "Stopping container " + s->name) || waiting;
    }
    return waiting;
  }

  void terminate() {
    if (view_.memory.finished || blocked()) return;
    const std::chrono::seconds grace(pod_.meta.deletion_grace_period_seconds);
    if (view_.sandbox == nullptr) return act(Finish{});
    if (!stop_all(grace)) act(RemoveSandbox{});
  }

  // Nothing is started any more; sidecars, and what somebody's status declared finished, end.
  void settle() {
    if (stop_all(grace())) return;
    if (view_.memory.connected && !blocked()) act(DisconnectNetwork{});
  }

  void run() {
    if (view_.sandbox == nullptr) {
      if (wants_sandbox(view_) && !blocked()) make_sandbox();
      return;
    }
    if (!view_.sandbox->alive) {
      if (wants_sandbox(view_) && !blocked()) act(ReplaceSandbox{});
      return;
    }
    if (!volumes_written()) return;
    if (!view_.memory.connected) {
      if (!blocked()) act(ConnectNetwork{});
      return;
    }
    const bool started = main_started(view_);
    for (const PodContainer& c : view_.pod.containers) {
      if (c.role == Role::Init && (started || init_done(view_, c))) continue;
      advance(c);
      if (c.role != Role::Main && !started && !init_done(view_, c)) return;
    }
  }

  void make_sandbox() {
    if (has_volumes(view_.pod) && !view_.memory.volumes.prepared) return act(PrepareVolumes{});
    act(CreateSandbox{});
  }

  // False while containers must wait for them.
  bool volumes_written() {
    const VolumeMemory& volumes = view_.memory.volumes;
    if (!has_volumes(view_.pod)) return true;
    if (!volumes.written) {
      if (!blocked()) act(WriteVolumes{});
      return false;
    }
    const bool due = volumes.refresh_at && view_.now >= *volumes.refresh_at;
    if (volumes.refresh_at && !due) wake(*volumes.refresh_at);
    const bool changed =
        volumes.labels != pod_.meta.labels || volumes.annotations != pod_.meta.annotations;
    if ((due || changed) && !blocked()) act(WriteVolumes{});
    return true;
  }

  void advance(const PodContainer& container) {
    const auto s = view_.state(container.spec.name);
    if (s && s->status == Status::Running) return check_running(container, *s);
    if (held_) return;
    if (!s) return start(container);
    if (!restarts(view_, container, s->exit_code)) return;
    const ContainerMemory* memory = view_.memory.find(container.spec.name);
    const auto left = memory ? backoff_left(memory->backoff, memory->exited_at, view_.now) : 0ns;
    if (left > 0ns) {
      plan_.backing_off.push_back(container.spec.name);
      return wake(view_.now + left);
    }
    start(container);
  }

  void start(const PodContainer& container) {
    const ContainerMemory* memory = view_.memory.find(container.spec.name);
    if (memory && memory->failure && memory->failure->image == container.spec.image) {
      const StartFailure& failure = *memory->failure;
      if (!failure.retry_at) return;
      if (failure.backoff_at && view_.now >= *failure.backoff_at && view_.now < *failure.retry_at)
        return act(BackOffPull{container.spec.name});
      if (failure.backoff_at) wake(*failure.backoff_at);
      if (view_.now < *failure.retry_at) return wake(*failure.retry_at);
    }
    act(StartContainer{container.spec.name});
    held_ = container.post_start.kind != Hook::Kind::None;
  }

  void check_running(const PodContainer& container, const ContainerState& state) {
    switch (view_.post_start(container, state)) {
      case PodView::HookState::None:
      case PodView::HookState::Done:
        return check_health(container, state);
      case PodView::HookState::Due:
        act(RunPostStart{state.name});
        break;
      case PodView::HookState::Failed:
        (void)stop(state, grace(), "FailedPostStartHook");
        break;
      case PodView::HookState::Running: {
        const auto& hook = view_.memory.find(state.name)->post_start;
        if (hook->ends_at) wake(*hook->ends_at);
      }
    }
    held_ = true;
  }

  void check_health(const PodContainer& container, const ContainerState& state) {
    const ContainerMemory* memory = view_.memory.find(state.name);
    if (memory && memory->kill && memory->kill->container_id == state.id) {
      (void)stop(state, memory->kill->grace, "");
      return;
    }
    const ProbeOutcome probes = view_.probes_of(state);
    const bool comes_back = pod_.restart_policy != "Never" || container.role == Role::Sidecar;
    const auto restart = [&](const std::string& why, std::chrono::seconds time) {
      (void)stop(state, time,
                 "Container " + state.name + " " + why + (comes_back ? ", will be restarted" : ""));
    };
    if (state.image != container.spec.image && comes_back) {
      restart("definition changed", grace());
    } else if (probes.liveness == Verdict::Failure) {
      restart("failed liveness probe", grace_after(container.spec.liveness));
    } else if (probes.startup == Verdict::Failure) {
      restart("failed startup probe", grace_after(container.spec.startup));
    }
  }
  std::chrono::seconds grace() const {
    return std::chrono::seconds(pod_.termination_grace_period_seconds);
  }

  std::chrono::seconds grace_after(const Probe& probe) const {
    const auto own = probe.termination_grace_period_seconds;
    return own ? std::chrono::seconds(*own) : grace();
  }

  const PodView& view_;
  const Pod& pod_;
  PodPlan plan_;
  bool all_end_ = false;  // the whole Pod
  bool held_ = false;     // a postStart hook runs: no container after its own is started
};

// How many containers are in which state, of those that decide the phase.
struct Census {
  int waiting = 0, running = 0, stopped = 0, succeeded = 0;
};

Census count_main(const PodView& view) {
  Census out;
  for (const PodContainer& c : view.pod.containers) {
    if (c.role != Role::Main) continue;
    const auto s = view.state(c.spec.name);
    const ContainerMemory* memory = view.memory.find(c.spec.name);
    if (!s) {
      // One that was started in an earlier sandbox and will be again has stopped, not "waits".
      ++(memory && memory->restarts >= 0 ? out.stopped : out.waiting);
    } else if (s->status == Status::Running && !view.settled(c, *s)) {
      ++(memory && memory->restarts > 0 ? out.stopped : out.waiting);
    } else if (s->status == Status::Running) {
      ++out.running;
    } else {
      ++out.stopped;
      if (s->exit_code == 0) ++out.succeeded;
    }
  }
  return out;
}

bool init_failed(const PodView& view) {
  if (view.pod.pod.restart_policy != "Never" || main_started(view)) return false;
  for (const PodContainer& c : view.pod.containers) {
    if (c.role != Role::Init) continue;
    const auto s = view.state(c.spec.name);
    if (s && s->status == Status::Exited && s->exit_code != 0) return true;
  }
  return false;
}

}  // namespace

PodPlan pod_actions(const PodView& view) {
  return Planner(view).plan();
}

bool initialized(const PodView& view) {
  if (main_started(view)) return true;
  for (const PodContainer& c : view.pod.containers)
    if (c.role != Role::Main && !init_done(view, c)) return false;
  return true;
}

std::string pod_phase(const PodView& view) {
  if (init_failed(view) || view.exceeded()) return "Failed";
  const Census census = count_main(view);
  const std::string& policy = view.pod.pod.restart_policy;
  if (!initialized(view) || census.waiting > 0) return "Pending";
  if (census.running > 0 || census.stopped == 0) return "Running";
  if (view.pod.pod.meta.deleting() || policy == "Never")
    return census.stopped == census.succeeded ? "Succeeded" : "Failed";
  return policy == "OnFailure" && census.stopped == census.succeeded ? "Succeeded" : "Running";
}

bool restarts(const PodView& view, const PodContainer& container, int exit_code) {
  const Pod& pod = view.pod.pod;
  if (pod.meta.deleting() || pod.finished() || view.exceeded()) return false;
  const bool always = container.role == Role::Sidecar ||
                      (container.role == Role::Main && pod.restart_policy == "Always");
  return always || (exit_code != 0 && pod.restart_policy != "Never");
}

}  // namespace coracle::pods
