// The part of PodWorker that runs lifecycle hooks and ends containers.
#include <coracle/log.h>

#include <csignal>

#include "pods/pod_status.h"
#include "pods/pod_worker.h"
#include "pods/probe_tracker.h"

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;

// A postStart hook has all the time it wants, but not for ever.
constexpr std::chrono::seconds kLongestHook = 1h;

}  // namespace

void PodWorker::announce_deadline(const NodePod& pod) {
  events_.normal(reference_of(pod), kDeadlineReason, kDeadlineMessage);
}

HookRun PodWorker::run_hook(const PodView& view, const ContainerState& state, HookJob::When when,
                            std::chrono::seconds timeout) {
  HookRun out{state.id, false, false, std::nullopt};
  const PodContainer& container = *view.pod.find(state.name);
  const bool before = when == HookJob::When::PreStop;
  const Hook& hook = before ? container.pre_stop : container.post_start;
  if (hook.kind == Hook::Kind::Sleep) {
    out.ends_at = clock_.steady_now() + std::chrono::seconds(hook.seconds);
    return out;
  }
  hooks_.start({.pod_uid = view.pod.pod.meta.uid,
                .container = state.name,
                .container_id = state.id,
                .when = when,
                .hook = hook,
                .ip = view.memory.ip.value_or(node_ip()),
                .port = probe_port(hook.action, container.spec),
                .timeout = timeout,
                .about = reference_of(view.pod, &container)});
  return out;
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const RunPostStart& action) {
  if (const auto state = view.state(action.container))
    memory.containers[action.container].post_start =
        run_hook(view, *state, HookJob::When::PostStart, kLongestHook);
  return {};
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const StopContainer& action) {
  const auto state = view.state(action.container);
  const PodContainer* container = view.pod.find(action.container);
  if (!state || container == nullptr) return {};
  events_.normal(reference_of(view.pod, container), "Killing", action.why);
  ContainerMemory& own = memory.containers[action.container];
  own.kill = Kill{state->id, clock_.steady_now(), action.grace, std::nullopt, action.held};
  if (!action.held) return run(view, memory, TerminateContainer{action.container});
  if (view.pre_stop(*container, *state) == PodView::HookState::Due)
    own.pre_stop = run_hook(view, *state, HookJob::When::PreStop, action.grace);
  return {};
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory,
                            const TerminateContainer& action) {
  auto& kill = memory.containers[action.container].kill;
  if (kill && kill->held) {
    kill->held = false;
    kill->termed_at = clock_.steady_now();
  }
  // SIGKILL follows in any case.
  if (const auto sent = runtime_.signal_container(view.pod.pod.meta.uid, action.container, SIGTERM);
      !sent)
    log::warn("pods", "stopping a container failed, killing it when its time is over",
              {{"pod", view.pod.pod.meta.key().to_string()},
               {"container", action.container},
               {"error", sent.error().message}});
  return {};
}

Result<void> PodWorker::run(const PodView& view, PodMemory& memory, const KillContainer& action) {
  auto& kill = memory.containers[action.container].kill;
  if (kill) kill->forced_at = clock_.steady_now();
  return runtime_.signal_container(view.pod.pod.meta.uid, action.container, SIGKILL);
}

}  // namespace coracle::pods
