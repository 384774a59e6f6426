#include "daemon_set.h"

#include <nlohmann/json.hpp>

namespace coracle {

Result<Again> DaemonSetController::reconcile(const ObjectKey& key) {
  const auto set = TRY(get_live<DaemonSet>(client_, resources::kDaemonSets, key));
  if (set == nullptr) return pods_.gone(key);
  const auto [history, hash] = TRY(history_.keep(*set));
  const auto owned = TRY(owned_pods(*set));
  const DaemonSetPlan plan = compute_daemon_set(*set, nodes_.list(), owned, hash, clock_.now());
  const auto done = apply(*set, plan, hash);
  if (!done && is_conflict(done.error())) return done.error();
  TRY(write_status(*set, plan.status));
  if (!done) return done.error();
  std::set<std::string> in_use;
  for (const PodPtr& pod : owned)
    if (const auto label = pod->meta.labels.find(kRevisionHashLabel);
        label != pod->meta.labels.end())
      in_use.insert(label->second);
  TRY(history_.trim(*set, history, in_use));
  return plan.again;
}

// Those that end among them: their node is not free yet.
Result<std::vector<PodPtr>> DaemonSetController::owned_pods(const DaemonSet& set) {
  const auto pods = TRY(pods_.pods(set, set.status.observed_generation == 0));
  Claims<Pod> claims = claim_all(set, pods);
  TRY(pods_.settle(set.meta, claims));
  return std::move(claims.owned);
}

Result<void> DaemonSetController::apply(const DaemonSet& set, const DaemonSetPlan& plan,
                                        const std::string& hash) {
  for (const PodPtr& pod : plan.remove) TRY(pods_.remove(set.meta, *pod));
  return pods_.create(set.meta, plan.create.size(),
                      [&](std::size_t i) { return daemon_pod(set, plan.create[i], hash); });
}

Result<void> DaemonSetController::write_status(const DaemonSet& set,
                                               const DaemonSetStatus& status) {
  if (status == set.status) return {};
  const Json patch = {{"metadata", {{"uid", set.meta.uid}}},
                      {"status",
                       {{"currentNumberScheduled", status.current},
                        {"numberMisscheduled", status.misscheduled},
                        {"desiredNumberScheduled", status.desired},
                        {"numberReady", status.ready},
                        {"updatedNumberScheduled", counter(status.updated)},
                        {"numberAvailable", counter(status.available)},
                        {"numberUnavailable", counter(status.unavailable)},
                        {"observedGeneration", status.observed_generation},
                        {"collisionCount", counter(status.collision_count)}}}};
  const auto written =
      client_.patch(resources::kDaemonSets, set.meta.key(), PatchType::JsonMerge, patch, "status");
  if (!written && !is_not_found(written.error())) return written.error();
  return {};
}

}  // namespace coracle
