// Whether a Pod may run on a node: kube-scheduler's filters, its words, its order. Pure.
#pragma once

#include <coracle/api/pod.h>

#include <map>
#include <string>
#include <vector>

#include "scheduling_state.h"

namespace coracle {

// Why a node does not take a Pod; of the first filter that refuses.
struct Misfit {
  std::vector<std::string> reasons;  // empty: it does
  bool lasting = false;              // also if other Pods left: upstream's "unresolvable"
  bool fits() const { return reasons.empty(); }
};

// Of the node and what is in use there, whoever its neighbours are.
Misfit node_misfit(const Pod& pod, const NodeUse& use);
// nodeSelector and required node affinity.
bool matches_node_affinity(const Pod& pod, const Node& node);
// The taint of effect NoSchedule or NoExecute that the Pod does not tolerate; nullptr when none. A
// node that is not Ready is tainted at once, not when its taint has been written.
std::vector<Taint> effective_taints(const Node& node);

// The node's value of a label, nullptr when it has none.
const std::string* label_of(const Node& node, const std::string& key);

// How many Pods, by the value of a node label.
using Domains = std::map<std::string, std::int64_t>;

// What the Pods that are there mean for one more: its Pod affinity, their anti-affinity, its
// topology spread. Made once for a Pod: O(groups + nodes).
class NeighbourFilter {
 public:
  // Both must outlive it.
  NeighbourFilter(const Pod& pod, const SchedulingState& state);
  Misfit misfit(const Node& node) const;

 private:
  struct Spread {
    const SpreadConstraint* constraint = nullptr;
    Domains counts;
    std::int64_t least = 0;
  };
  void count_terms();
  void count_spread();
  Misfit spread_misfit(const Node& node) const;
  bool near_enough(const Node& node) const;

  const Pod& pod_;
  const SchedulingState& state_;
  std::vector<Domains> near_;              // by term: Pods that match all terms
  bool first_of_its_kind_ = false;         // none match, and it would itself
  std::vector<Domains> apart_;             // by term
  std::map<std::string, Domains> closed_;  // by label: where a Pod does not want this one
  std::vector<Spread> spread_;
};

// Adds the group's Pods by their nodes' values of the label.
void add_domains(const PodGroup& group, const std::string& key, const SchedulingState& state,
                 Domains& out);
// Whether the Pods on that node count for the constraint.
bool counts_for(const SpreadConstraint& constraint, const Pod& pod, const Node& node);

}  // namespace coracle
