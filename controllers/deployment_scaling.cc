// A Deployment's new size, shared out among its sets.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "deployment_plan.h"

namespace coracle {
namespace {

using Sizes = std::map<std::string, std::int64_t>;  // by the set's name

std::vector<ReplicaSetPtr> active_of(const std::vector<ReplicaSetPtr>& sets) {
  std::vector<ReplicaSetPtr> out;
  std::copy_if(sets.begin(), sets.end(), std::back_inserter(out),
               [](const ReplicaSetPtr& set) { return set->replicas > 0; });
  return out;
}

// The one set that has Pods, or would have them; null when there are several.
ReplicaSetPtr only_active(const ReplicaSets& sets) {
  const auto active = active_of(sets.all());
  if (active.size() == 1) return active.front();
  if (!active.empty()) return nullptr;
  if (sets.current != nullptr) return sets.current;
  return sets.old.empty() ? nullptr : sets.old.back();
}

// The current set has everything that is wanted.
bool saturated(const Deployment& deployment, const ReplicaSets& sets) {
  return sets.current != nullptr && sets.current->replicas == deployment.replicas &&
         number_of(*sets.current, kDesiredReplicasAnnotation) == deployment.replicas &&
         sets.current->status.available == deployment.replicas;
}

// How the set would change if it kept its part of the whole.
std::int64_t own_part(const Deployment& deployment, const ReplicaSet& set, std::int64_t most) {
  if (deployment.replicas == 0) return -set.replicas;
  const std::int64_t before =
      number_of(set, kMaxReplicasAnnotation).value_or(deployment.status.replicas);
  if (before <= 0) return 0;
  const double size =
      static_cast<double>(set.replicas) * static_cast<double>(most) / static_cast<double>(before);
  return std::llround(size) - set.replicas;
}

Sizes in_proportion(const Deployment& deployment, const ReplicaSets& sets) {
  std::vector<ReplicaSetPtr> active = active_of(sets.all());
  const std::int64_t most =
      deployment.replicas > 0 ? deployment.replicas + slack_of(deployment).surge : 0;
  std::int64_t to_add = most;
  for (const auto& set : active) to_add -= set->replicas;
  // Larger first; of equals the newer grows and the older shrinks first.
  const bool grow = to_add > 0;
  std::sort(active.begin(), active.end(), [&](const ReplicaSetPtr& a, const ReplicaSetPtr& b) {
    if (a->replicas != b->replicas) return a->replicas > b->replicas;
    const auto age = [](const ReplicaSetPtr& s) {
      return std::tie(s->meta.creation_timestamp, s->meta.name);
    };
    return grow ? age(a) > age(b) : age(a) < age(b);
  });
  Sizes out;
  std::int64_t added = 0;
  for (const auto& set : active) {
    const std::int64_t rest = to_add - added;
    const std::int64_t part = own_part(deployment, *set, most);
    const std::int64_t share =
        grow ? std::clamp<std::int64_t>(part, 0, rest) : std::clamp<std::int64_t>(part, rest, 0);
    out[set->meta.name] = set->replicas + share;
    added += share;
  }
  if (!active.empty()) {  // what rounding left over
    std::int64_t& first = out[active.front()->meta.name];
    first = std::max<std::int64_t>(first + to_add - added, 0);
  }
  return out;
}

}  // namespace

std::map<std::string, std::int64_t> compute_scaling(const Deployment& deployment,
                                                    const ReplicaSets& sets) {
  if (const ReplicaSetPtr one = only_active(sets)) return {{one->meta.name, deployment.replicas}};
  Sizes out;
  if (saturated(deployment, sets)) {
    for (const auto& set : active_of(sets.old)) out[set->meta.name] = 0;
    return out;
  }
  if (deployment.recreate) return out;
  return in_proportion(deployment, sets);
}

}  // namespace coracle
