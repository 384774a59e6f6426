#include "scheduling.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "scheduling_filters.h"
#include "scheduling_scores.h"

namespace coracle {
namespace {

using Reasons = std::map<std::string, int>;

std::string none_fits(std::size_t nodes, const Reasons& reasons) {
  std::vector<std::string> counted;
  counted.reserve(reasons.size());
  for (const auto& [why, count] : reasons) counted.push_back(std::to_string(count) + " " + why);
  std::sort(counted.begin(), counted.end());
  std::string out = "0/" + std::to_string(nodes) + " nodes are available: ";
  const char* comma = "";
  for (const std::string& one : counted) out += std::exchange(comma, ", ") + one;
  return out + ".";
}

// No Pod is ever sent away for another, so upstream's second half is always this.
std::string refusal(const std::vector<Misfit>& misfits) {
  Reasons reasons, preemption;
  for (const Misfit& misfit : misfits) {
    for (const std::string& why : misfit.reasons) ++reasons[why];
    ++preemption[misfit.lasting ? "Preemption is not helpful for scheduling"
                                : "No preemption victims found for incoming pod"];
  }
  return none_fits(misfits.size(), reasons) +
         " preemption: " + none_fits(misfits.size(), preemption);
}

}  // namespace

SchedulingDecision schedule(const Pod& pod, const SchedulingState& state,
                            const std::vector<LabelSelector>& services) {
  const NeighbourFilter neighbours(pod, state);
  std::vector<const NodeUse*> fitting;
  std::vector<Misfit> misfits;
  for (const auto& [name, use] : state.nodes()) {
    if (use.node == nullptr) continue;
    Misfit misfit = node_misfit(pod, use);
    if (misfit.fits()) misfit = neighbours.misfit(*use.node);
    if (misfit.fits()) {
      fitting.push_back(&use);
    } else {
      misfits.push_back(std::move(misfit));
    }
  }
  if (fitting.empty() && misfits.empty()) return {"", "no nodes available to schedule pods"};
  if (fitting.empty()) return {"", refusal(misfits)};
  const std::vector<double> scores = score_nodes(pod, fitting, state, services);
  std::size_t best = 0;
  const auto rank = [&](std::size_t i) {
    return std::tuple(-scores[i], fitting[i]->requested.pods);
  };
  for (std::size_t i = 1; i < fitting.size(); ++i)
    if (rank(i) < rank(best)) best = i;
  return {fitting[best]->node->meta.name, ""};
}

}  // namespace coracle
