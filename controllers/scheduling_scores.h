// Which of the nodes that take a Pod suits it best: kube-scheduler's scores and their weights.
// Pure.
#pragma once

#include <coracle/api/pod.h>
#include <coracle/labels.h>

#include <vector>

#include "scheduling_state.h"

namespace coracle {

// The scores of `nodes`, in their order; more is better. PreferNoSchedule taints (weight 3),
// preferred node affinity (2), Pod affinity (2), spread (2), free resources (1), balance of cpu and
// memory (1), each from 0 to 100. A Pod without topologySpreadConstraints is spread by host and
// zone away from Pods of its controller and of its Services, whose selectors are `services`.
std::vector<double> score_nodes(const Pod& pod, const std::vector<const NodeUse*>& nodes,
                                const SchedulingState& state,
                                const std::vector<LabelSelector>& services);

// The parts, as upstream normalizes them.
std::vector<double> score_taints(const Pod& pod, const std::vector<const NodeUse*>& nodes);
std::vector<double> score_node_affinity(const Pod& pod, const std::vector<const NodeUse*>& nodes);
std::vector<double> score_pod_affinity(const Pod& pod, const std::vector<const NodeUse*>& nodes,
                                       const SchedulingState& state);
std::vector<double> score_spread(const Pod& pod, const std::vector<const NodeUse*>& nodes,
                                 const SchedulingState& state,
                                 const std::vector<LabelSelector>& services);
// Of one node: what would be free, 0 to 100; and how evenly cpu and memory would be used.
double score_free(const Pod& pod, const NodeUse& use);
double score_balance(const Pod& pod, const NodeUse& use);

}  // namespace coracle
