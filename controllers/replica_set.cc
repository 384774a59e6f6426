#include "replica_set.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <tuple>

namespace coracle {
namespace {

constexpr const char* kDeletionCost = "controller.kubernetes.io/pod-deletion-cost";

int phase_rank(const Pod& pod) {
  if (pod.phase == "Pending" || pod.phase.empty()) return 0;
  return pod.phase == "Unknown" ? 1 : 2;
}

std::int64_t deletion_cost(const Pod& pod) {
  const auto cost = pod.meta.annotations.find(kDeletionCost);
  return cost == pod.meta.annotations.end() ? 0 : std::strtoll(cost->second.c_str(), nullptr, 10);
}

std::string ready_since(const Pod& pod) {
  for (const PodCondition& c : pod.conditions)
    if (c.type == "Ready" && c.status == "True") return c.last_transition_time;
  return "";
}

// The order of magnitude of an age, so that among Pods of about one age chance decides and not
// always the newest go; -1 for what has no time or one that is yet to come, which goes first.
int age_rank(const std::string& since, Time now) {
  const auto seconds = [](Time time) {
    return std::chrono::duration<double>(time.time_since_epoch()).count();
  };
  const double age = since.empty() ? 0 : seconds(now) - seconds(parse_time(since));
  return age > 0 ? std::ilogb(age * 1e9) : -1;
}

// What goes first is smaller. Upstream looks at restarts only where the times of becoming ready are
// the same and else, within one rank, at the uid; that is no strict order, and this is.
auto deletion_order(const Pod& pod, const std::map<std::string, std::int64_t>& crowd, Time now) {
  const auto here = crowd.find(pod.node_name);
  return std::tuple(!pod.node_name.empty(), phase_rank(pod), pod.ready(), deletion_cost(pod),
                    here == crowd.end() ? 0 : -here->second,
                    pod.ready() ? age_rank(ready_since(pod), now) : 0, -pod.restarts,
                    -pod.sidecar_restarts, age_rank(pod.meta.creation_timestamp, now),
                    std::string_view(pod.meta.uid));
}

bool has_all(const Labels& labels, const Labels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& one) {
    const auto found = labels.find(one.first);
    return found != labels.end() && found->second == one.second;
  });
}

}  // namespace

ReplicaSetPlan compute_replicas(const ReplicaSet& set, std::vector<PodPtr> owned,
                                const std::map<std::string, std::int64_t>& crowd, Time now) {
  ReplicaSetPlan plan;
  if (set.meta.deleting()) return plan;
  const auto have = static_cast<std::int64_t>(owned.size());
  plan.create = std::clamp<std::int64_t>(set.replicas - have, 0, kMostPodsAtOnce);
  const std::int64_t surplus = std::clamp<std::int64_t>(have - set.replicas, 0, kMostPodsAtOnce);
  if (surplus > 0)
    std::sort(owned.begin(), owned.end(), [&](const PodPtr& a, const PodPtr& b) {
      return deletion_order(*a, crowd, now) < deletion_order(*b, crowd, now);
    });
  owned.resize(static_cast<std::size_t>(surplus));
  plan.remove = std::move(owned);
  return plan;
}

ReplicaSetFindings compute_replica_set_status(const ReplicaSet& set,
                                              const std::vector<PodPtr>& owned, Time now,
                                              const WorkloadCondition* failure) {
  ReplicaSetFindings out;
  ReplicaSetStatus& status = out.status;
  const Labels wanted = json_string_map(*set.pod_template, {"metadata", "labels"});
  status.replicas = static_cast<std::int64_t>(owned.size());
  status.observed_generation = set.meta.generation;
  for (const PodPtr& pod : owned) {
    const Availability its = availability(*pod, set.min_ready_seconds, now);
    status.fully_labeled += has_all(pod->meta.labels, wanted) ? 1 : 0;
    status.ready += pod->ready() ? 1 : 0;
    status.available += its.available ? 1 : 0;
    out.again = sooner(out.again, its.later);
  }
  status.conditions = set.status.conditions;
  if (failure != nullptr) {
    set_condition(status.conditions, *failure, now);
  } else {
    remove_condition(status.conditions, "ReplicaFailure");
  }
  for (WorkloadCondition& c : status.conditions) c.last_update_time.clear();
  return out;
}

// The set itself is read live: with an older size of it Pods would be made that a Deployment has
// already counted out.
Result<Again> ReplicaSetController::reconcile(const ObjectKey& key) {
  const ReplicaSetPtr set = TRY(get_live<ReplicaSet>(client_, resources::kReplicaSets, key));
  if (set == nullptr) return pods_.gone(key);
  const auto pods = TRY(pods_.pods(*set, set->status.observed_generation == 0));
  std::vector<PodPtr> active;
  std::copy_if(pods.begin(), pods.end(), std::back_inserter(active),
               [](const PodPtr& pod) { return is_active(*pod); });
  const Claims<Pod> claims = claim_all(*set, active);
  TRY(pods_.settle(set->meta, claims));
  const ReplicaSetPlan plan =
      compute_replicas(*set, claims.owned, crowd(*set, active), clock_.now());
  const Result<void> done = apply(*set, plan);
  if (!done && is_conflict(done.error())) return done.error();
  WorkloadCondition failure{"ReplicaFailure",
                            "True",
                            plan.create > 0 ? "FailedCreate" : "FailedDelete",
                            done ? "" : done.error().message,
                            "",
                            ""};
  const ReplicaSetFindings findings =
      compute_replica_set_status(*set, claims.owned, clock_.now(), done ? nullptr : &failure);
  TRY(write_status(*set, findings.status));
  if (!done) return done.error();
  // More than may be done at once: the rest is next.
  const bool more = plan.create == kMostPodsAtOnce;
  return more ? Again{std::chrono::milliseconds(1)} : findings.again;
}

// Siblings are sets of the same Deployment: their Pods on a node count as if they were its own.
std::map<std::string, std::int64_t> ReplicaSetController::crowd(
    const ReplicaSet& set, const std::vector<PodPtr>& pods) const {
  std::set<std::string> family = {set.meta.uid};
  if (const OwnerReference* deployment = controller_of(set.meta))
    for (const auto& sibling : sets_.by_index("namespace", set.meta.ns))
      if (const OwnerReference* its = controller_of(sibling->meta);
          its != nullptr && its->uid == deployment->uid)
        family.insert(sibling->meta.uid);
  std::map<std::string, std::int64_t> out;
  for (const PodPtr& pod : pods)
    if (const OwnerReference* owner = controller_of(pod->meta);
        owner != nullptr && family.contains(owner->uid))
      ++out[pod->node_name];
  return out;
}

Result<void> ReplicaSetController::apply(const ReplicaSet& set, const ReplicaSetPlan& plan) {
  Object pod = pod_from_template(resources::kReplicaSets, set.meta, *set.pod_template);
  TRY(pods_.create(set.meta, static_cast<std::size_t>(plan.create),
                   [&](std::size_t) { return pod; }));
  for (const PodPtr& surplus : plan.remove) TRY(pods_.remove(set.meta, *surplus));
  return {};
}

Result<void> ReplicaSetController::write_status(const ReplicaSet& set,
                                                const ReplicaSetStatus& status) {
  if (status == set.status) return {};
  const Json patch = {{"metadata", {{"uid", set.meta.uid}}},
                      {"status",
                       {{"replicas", status.replicas},
                        {"fullyLabeledReplicas", counter(status.fully_labeled)},
                        {"readyReplicas", counter(status.ready)},
                        {"availableReplicas", counter(status.available)},
                        {"observedGeneration", status.observed_generation},
                        {"conditions", conditions_json(status.conditions)}}}};
  const auto written =
      client_.patch(resources::kReplicaSets, set.meta.key(), PatchType::JsonMerge, patch, "status");
  if (!written && !is_not_found(written.error())) return written.error();
  return {};
}

}  // namespace coracle
