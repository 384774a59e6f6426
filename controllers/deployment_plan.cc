#include "deployment_plan.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

namespace coracle {
namespace {

// What a Deployment's annotations tell about itself, and not about its Pods.
constexpr const char* kOwnAnnotations[] = {"kubectl.kubernetes.io/last-applied-configuration",
                                           kRevisionAnnotation,
                                           kRevisionHistoryAnnotation,
                                           kDesiredReplicasAnnotation,
                                           kMaxReplicasAnnotation,
                                           "deprecated.deployment.rollback.to"};

using Annotations = std::map<std::string, std::string>;

std::int64_t revision_of(const ReplicaSet& set) {
  return number_of(set, kRevisionAnnotation).value_or(0);
}

// The Pods a set has or may still make: those to be deleted count until they are.
std::int64_t most_pods(const ReplicaSet& set) {
  return std::max(set.replicas, set.status.replicas);
}

bool has_pods(const std::vector<ReplicaSetPtr>& sets) {
  return std::any_of(sets.begin(), sets.end(),
                     [](const ReplicaSetPtr& set) { return most_pods(*set) > 0; });
}

// Of a set's available Pods those that it will keep.
std::int64_t surely_available(const ReplicaSet& set) {
  return std::min(set.replicas, set.status.available);
}

// Every set's controller has seen its last change. Else its status is about another size.
bool settled(const ReplicaSets& sets) {
  const auto all = sets.all();
  return std::all_of(all.begin(), all.end(), [](const ReplicaSetPtr& set) {
    return set->status.observed_generation >= set->meta.generation;
  });
}

// For the set of the newest template: those of the Deployment itself, and the revision.
Annotations current_annotations(const Deployment& deployment, const ReplicaSets& sets) {
  Annotations out = deployment.meta.annotations;
  for (const char* own : kOwnAnnotations) out.erase(own);
  std::int64_t newest = 0;
  for (const auto& set : sets.old) newest = std::max(newest, revision_of(*set));
  const std::int64_t revision = sets.current != nullptr ? revision_of(*sets.current) : 0;
  if (revision > newest) return out;
  out[kRevisionAnnotation] = std::to_string(newest + 1);
  if (revision == 0) return out;
  const auto& annotations = sets.current->meta.annotations;
  const auto history = annotations.find(kRevisionHistoryAnnotation);
  const std::string before =
      history == annotations.end() || history->second.empty() ? "" : history->second + ",";
  out[kRevisionHistoryAnnotation] = before + std::to_string(revision);
  return out;
}

Annotations size_annotations(const Deployment& deployment) {
  const std::int64_t most = deployment.replicas + slack_of(deployment).surge;
  return {{kDesiredReplicasAnnotation, std::to_string(deployment.replicas)},
          {kMaxReplicasAnnotation, std::to_string(most)}};
}

// Collects changes, without what is so already.
class Changes {
 public:
  void annotate(const ReplicaSetPtr& set, const Annotations& annotations) {
    for (const auto& [key, value] : annotations) {
      const auto had = set->meta.annotations.find(key);
      if (had == set->meta.annotations.end() || had->second != value)
        of(set).annotations[key] = value;
    }
  }
  void resize(const Deployment& deployment, const ReplicaSetPtr& set, std::int64_t replicas) {
    if (replicas != set->replicas) of(set).replicas = replicas;
    annotate(set, size_annotations(deployment));
  }
  void set_min_ready(const ReplicaSetPtr& set, std::int64_t seconds) {
    if (set->min_ready_seconds != seconds) of(set).min_ready_seconds = seconds;
  }
  std::vector<ReplicaSetChange> take() {
    std::vector<ReplicaSetChange> out;
    for (auto& [name, change] : changes_)
      if (!change.empty()) out.push_back(std::move(change));
    return out;
  }

 private:
  ReplicaSetChange& of(const ReplicaSetPtr& set) {
    ReplicaSetChange& change = changes_[set->meta.name];
    change.set = set;
    return change;
  }
  std::map<std::string, ReplicaSetChange> changes_;
};

// A set with Pods that was sized for another number of them.
bool is_scaling(const Deployment& deployment, const ReplicaSets& sets) {
  const auto all = sets.all();
  return std::any_of(all.begin(), all.end(), [&](const ReplicaSetPtr& set) {
    const auto desired = number_of(*set, kDesiredReplicasAnnotation);
    return set->replicas > 0 && desired && *desired != deployment.replicas;
  });
}

// How many Pods may be made now.
std::int64_t room_of(const Deployment& deployment, const ReplicaSets& sets) {
  std::int64_t room = deployment.replicas + slack_of(deployment).surge;
  for (const auto& set : sets.all()) room -= most_pods(*set);
  return std::max<std::int64_t>(room, 0);
}

// The current set's size when it grows as far as it may now.
std::int64_t grown(const Deployment& deployment, const ReplicaSets& sets) {
  const std::int64_t now = sets.current != nullptr ? sets.current->replicas : 0;
  if (now >= deployment.replicas) return deployment.replicas;
  return now + std::min(room_of(deployment, sets), deployment.replicas - now);
}

// The sets follow a change of the Deployment's replicas; a paused one does nothing else. Whether
// this is all that is to be done now.
bool scale(const Deployment& deployment, const ReplicaSets& sets, Changes& changes) {
  if (!deployment.paused && !is_scaling(deployment, sets)) return false;
  const auto sizes = compute_scaling(deployment, sets);
  std::int64_t room = room_of(deployment, sets);
  for (const auto& set : sets.all()) {
    const auto found = sizes.find(set->meta.name);
    if (found == sizes.end()) continue;
    const std::int64_t size = std::min(found->second, set->replicas + room);
    room -= std::max<std::int64_t>(size - set->replicas, 0);
    changes.resize(deployment, set, size);
  }
  return !sizes.empty();
}

// Old sets give up what is not needed to stay available: first what is not available anyway.
void shrink_old(const Deployment& deployment, const ReplicaSets& sets, Changes& changes) {
  const std::int64_t needed = deployment.replicas - slack_of(deployment).unavailable;
  std::int64_t available = 0, kept = 0;
  if (sets.current != nullptr) available = kept = surely_available(*sets.current);
  for (const auto& set : sets.old) {
    available += surely_available(*set);
    kept += set->replicas;
  }
  std::int64_t may_go = std::max<std::int64_t>(kept - needed, 0);
  std::map<std::string, std::int64_t> sizes;
  for (const auto& set : sets.old) {
    const std::int64_t idle = set->replicas - surely_available(*set);
    const std::int64_t going = std::min(idle, may_go);
    sizes[set->meta.name] = set->replicas - going;
    may_go -= going;
  }
  std::int64_t spare = std::min(may_go, std::max<std::int64_t>(available - needed, 0));
  for (const auto& set : sets.old) {
    std::int64_t& size = sizes[set->meta.name];
    const std::int64_t going = std::min(size, spare);
    size -= going;
    spare -= going;
    if (size != set->replicas) changes.resize(deployment, set, size);
  }
}

void roll(const Deployment& deployment, const ReplicaSets& sets, Changes& changes) {
  const std::int64_t size = grown(deployment, sets);
  changes.resize(deployment, sets.current, size);
  if (size == sets.current->replicas) shrink_old(deployment, sets, changes);
}

void recreate(const Deployment& deployment, const ReplicaSets& sets, bool old_pods,
              Changes& changes) {
  for (const auto& set : sets.old)
    if (set->replicas > 0) changes.resize(deployment, set, 0);
  if (has_pods(sets.old) || old_pods || sets.current == nullptr) return;
  changes.resize(deployment, sets.current, deployment.replicas);
}

// Whether there is room for the current set to be made, and how large it is to be then.
std::optional<DeploymentPlan::Create> first_size(const Deployment& deployment,
                                                 const ReplicaSets& sets, bool old_pods) {
  if (sets.current != nullptr || deployment.paused) return std::nullopt;
  DeploymentPlan::Create out;
  if (deployment.recreate) {
    if (has_pods(sets.old) || old_pods) return std::nullopt;
    out.replicas = deployment.replicas;
  } else {
    out.replicas = grown(deployment, sets);
  }
  out.annotations = current_annotations(deployment, sets);
  out.annotations.merge(size_annotations(deployment));
  return out;
}

// Empty old sets beyond the limit, oldest revisions first.
std::vector<ReplicaSetPtr> outlived(const Deployment& deployment, const ReplicaSets& sets) {
  std::vector<ReplicaSetPtr> all;
  std::copy_if(sets.old.begin(), sets.old.end(), std::back_inserter(all),
               [](const ReplicaSetPtr& set) { return !set->meta.deleting(); });
  const auto limit =
      static_cast<std::size_t>(std::max<std::int64_t>(deployment.revision_history_limit, 0));
  if (all.size() <= limit) return {};
  std::stable_sort(all.begin(), all.end(), [](const ReplicaSetPtr& a, const ReplicaSetPtr& b) {
    return revision_of(*a) < revision_of(*b);
  });
  all.resize(all.size() - limit);
  std::erase_if(all, [](const ReplicaSetPtr& set) {
    return most_pods(*set) != 0 || set->status.observed_generation < set->meta.generation;
  });
  return all;
}

}  // namespace

std::vector<ReplicaSetPtr> ReplicaSets::all() const {
  std::vector<ReplicaSetPtr> out = old;
  if (current != nullptr) out.push_back(current);
  return out;
}

std::optional<std::int64_t> number_of(const ReplicaSet& set, const char* annotation) {
  const auto found = set.meta.annotations.find(annotation);
  if (found == set.meta.annotations.end()) return std::nullopt;
  const std::string& text = found->second;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  // As a count: more than any Deployment can have.
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return value >= 0 && value <= kMost ? std::optional(value) : std::nullopt;
}

ReplicaSets sort_replica_sets(const Deployment& deployment, std::vector<ReplicaSetPtr> owned) {
  std::sort(owned.begin(), owned.end(), [](const ReplicaSetPtr& a, const ReplicaSetPtr& b) {
    return std::tie(a->meta.creation_timestamp, a->meta.name) <
           std::tie(b->meta.creation_timestamp, b->meta.name);
  });
  ReplicaSets out;
  for (auto& set : owned) {
    const bool is_current =
        out.current == nullptr &&
        same_template(*set->pod_template, *deployment.pod_template, kTemplateHashLabel);
    if (is_current) {
      out.current = std::move(set);
    } else {
      out.old.push_back(std::move(set));
    }
  }
  return out;
}

Slack slack_of(const Deployment& deployment) {
  if (deployment.recreate) return {};
  Slack out{deployment.max_surge.rounded_up(deployment.replicas),
            deployment.max_unavailable.rounded_down(deployment.replicas)};
  if (out.surge == 0 && out.unavailable == 0) out.unavailable = 1;
  out.unavailable = std::min(out.unavailable, deployment.replicas);
  return out;
}

DeploymentPlan compute_deployment(const Deployment& deployment, const ReplicaSets& sets,
                                  bool old_pods) {
  DeploymentPlan plan;
  Changes changes;
  if (sets.current != nullptr) {
    changes.annotate(sets.current, current_annotations(deployment, sets));
    changes.set_min_ready(sets.current, deployment.min_ready_seconds);
    const auto revision = sets.current->meta.annotations.find(kRevisionAnnotation);
    if (revision != sets.current->meta.annotations.end()) plan.revision = revision->second;
  }
  if (settled(sets)) {
    const bool scales = scale(deployment, sets, changes);
    if (!scales && !deployment.paused) {
      plan.create = first_size(deployment, sets, old_pods);
      if (deployment.recreate) {
        recreate(deployment, sets, old_pods, changes);
      } else if (sets.current != nullptr) {
        roll(deployment, sets, changes);
      }
    }
  }
  plan.change = changes.take();
  const bool complete = is_complete(deployment, count_replicas(deployment, sets));
  if (complete || deployment.paused) plan.remove = outlived(deployment, sets);
  return plan;
}

}  // namespace coracle
