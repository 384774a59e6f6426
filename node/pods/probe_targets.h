// Which probes a Pod's running containers have just now: pure.
#pragma once

#include <chrono>
#include <vector>

#include "pods/probe_tracker.h"

namespace coracle::pods {

// The startup probe first, the others once it has succeeded; no liveness probe in a Pod that ends.
// A container whose status in the API says it is ready keeps that until a probe says otherwise: a
// new agent must not take a working Pod out of its Services.
std::vector<ProbeTarget> probe_targets(const PodView& view,
                                       std::chrono::system_clock::time_point wall_now);

}  // namespace coracle::pods
