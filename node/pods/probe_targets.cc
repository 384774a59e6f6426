#include "pods/probe_targets.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;

// A program that was just started listens nowhere yet: probed at once it would fail for certain,
// and stay unready for a whole period.
constexpr std::chrono::nanoseconds kStartingUp = 200ms;

// What the API's status says of exactly this container; null when it speaks of another.
const Json* api_status(const PodView& view, const ContainerState& state) {
  for (const char* list : {"containerStatuses", "initContainerStatuses"}) {
    const Json* statuses = json_find(view.pod.status(), {list});
    if (statuses == nullptr || !statuses->is_array()) continue;
    for (const Json& status : *statuses)
      if (json_string(status, {"containerID"}) == container_id(state)) return &status;
  }
  return nullptr;
}

class Targets {
 public:
  Targets(const PodView& view, const Ip& ip, std::chrono::system_clock::time_point wall_now)
      : view_(view), ip_(ip), wall_now_(wall_now) {}

  void add(const PodContainer& container, const ContainerState& state) {
    const Json* known = api_status(view_, state);
    const bool was_started = known != nullptr && json_bool(*known, {"started"});
    const bool was_ready = known != nullptr && json_bool(*known, {"ready"});
    const Container& spec = container.spec;
    const bool gated = spec.startup.kind != Probe::Kind::None;
    const bool started =
        !gated || was_started || view_.probes_of(state).startup == Verdict::Success;
    const bool deleting = view_.pod.pod.meta.deleting();
    // Of a Pod that ends nobody asks any more whether it has started or lives.
    if (gated && (started || !deleting))
      push(spec, state, ProbeKind::Startup, spec.startup, was_started);
    if (!started) return;
    if (spec.readiness.kind != Probe::Kind::None)
      push(spec, state, ProbeKind::Readiness, spec.readiness, was_ready);
    if (spec.liveness.kind != Probe::Kind::None && !deleting)
      push(spec, state, ProbeKind::Liveness, spec.liveness, true);
  }
  std::vector<ProbeTarget> take() { return std::move(out_); }

 private:
  void push(const Container& spec, const ContainerState& state, ProbeKind kind, const Probe& probe,
            bool assumed) {
    // A wall clock that jumped may neither skip the delay by much nor stretch it.
    const auto delay = std::max<std::chrono::nanoseconds>(
        kStartingUp, std::chrono::seconds(probe.initial_delay_seconds));
    const auto left =
        std::clamp<std::chrono::nanoseconds>(state.started_at + delay - wall_now_, 0ns, delay);
    out_.push_back({.container = spec.name,
                    .container_id = state.id,
                    .kind = kind,
                    .probe = probe,
                    .ip = ip_,
                    .port = probe_port(probe, spec),
                    .first = view_.now + left,
                    .assumed = assumed});
  }

  const PodView& view_;
  const Ip ip_;
  const std::chrono::system_clock::time_point wall_now_;
  std::vector<ProbeTarget> out_;
};

}  // namespace

std::vector<ProbeTarget> probe_targets(const PodView& view,
                                       std::chrono::system_clock::time_point wall_now) {
  std::optional<Ip> ip = view.memory.ip;
  if (const auto known = Ip::parse(view.pod.pod.pod_ip); !ip && known) ip = *known;
  if (!ip) return {};
  Targets targets(view, *ip, wall_now);
  for (const PodContainer& container : view.pod.containers) {
    if (container.role == PodContainer::Role::Init) continue;
    const auto state = view.state(container.spec.name);
    if (state && view.settled(container, *state)) targets.add(container, *state);
  }
  return targets.take();
}

}  // namespace coracle::pods
