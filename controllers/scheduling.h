// Which node a Pod goes to, or why none. Pure.
#pragma once

#include <coracle/api/pod.h>
#include <coracle/labels.h>

#include <string>
#include <vector>

#include "scheduling_state.h"

namespace coracle {

struct SchedulingDecision {
  std::string node;     // "" when none fits
  std::string message;  // then why, per reason, as kube-scheduler words it
};
// Of the nodes that pass all filters the one of the best score, of equals the one with fewer Pods,
// then the first by name. `services`: the selectors of the Pod's Services.
SchedulingDecision schedule(const Pod& pod, const SchedulingState& state,
                            const std::vector<LabelSelector>& services);

}  // namespace coracle
