#include "deployment.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

ObjectReference about(const Deployment& deployment) {
  return reference_to(resources::kDeployments, deployment.meta);
}

Object replica_set_object(const Deployment& deployment, const DeploymentPlan::Create& wanted) {
  const std::string hash =
      template_hash(*deployment.pod_template, deployment.status.collision_count);
  Json pod_template = *deployment.pod_template;
  pod_template["metadata"]["labels"][kTemplateHashLabel] = hash;
  Json selector = *deployment.selector_json;
  selector["matchLabels"][kTemplateHashLabel] = hash;
  const Json owner = owner_reference(resources::kDeployments, deployment.meta);
  return Object(Json{{"apiVersion", "apps/v1"},
                     {"kind", "ReplicaSet"},
                     {"metadata",
                      {{"name", deployment.meta.name + "-" + hash},
                       {"namespace", deployment.meta.ns},
                       {"labels", pod_template["metadata"]["labels"]},
                       {"annotations", wanted.annotations},
                       {"ownerReferences", Json::array({owner})}}},
                     {"spec",
                      {{"replicas", wanted.replicas},
                       {"minReadySeconds", deployment.min_ready_seconds},
                       {"selector", std::move(selector)},
                       {"template", std::move(pod_template)}}}});
}

std::string scaled(const std::string& set, std::int64_t from, std::int64_t to) {
  return std::string("Scaled ") + (to > from ? "up" : "down") + " replica set " + set + " from " +
         std::to_string(from) + " to " + std::to_string(to);
}

}  // namespace

// The Deployment is read live, its sets from the cache and, where this controller wrote itself or
// the Deployment has just come, live too: sizes are never computed from older ones.
Result<Again> DeploymentController::reconcile(const ObjectKey& key) {
  const DeploymentPtr deployment = TRY(get_live<Deployment>(client_, resources::kDeployments, key));
  if (deployment == nullptr) return TRY(ledger_.outlives(key)) ? Again{kLedgerPause} : Again{};
  ReplicaSets sets = TRY(owned_sets(*deployment));
  Result<void> done;
  if (!deployment->meta.deleting()) {
    const DeploymentPlan plan = compute_deployment(*deployment, sets, old_pods(*deployment, sets));
    TRY(write_revision(*deployment, plan.revision));
    done = apply(*deployment, plan, sets);
  }
  if (!done && is_conflict(done.error())) return done.error();
  DeploymentFindings findings = compute_deployment_status(*deployment, sets, clock_.now());
  if (!done)
    set_condition(findings.status.conditions,
                  {"Progressing", "False", "ReplicaSetCreateError", done.error().message, "", ""},
                  clock_.now());
  TRY(write_status(*deployment, findings.status));
  if (!done) return done.error();
  return findings.again;
}

Result<ReplicaSets> DeploymentController::owned_sets(const Deployment& deployment) {
  const ObjectKey key = deployment.meta.key();
  auto sets = TRY(ledger_.refresh(key, sets_.by_index("namespace", key.ns)));
  if (deployment.status.observed_generation == 0)
    sets = TRY(ledger_.look(key.ns, deployment.selector, std::move(sets)));
  const Claims<ReplicaSet> claims = claim_all(deployment, sets);
  TRY(settle_claims(client_, resources::kReplicaSets, claims, resources::kDeployments,
                    deployment.meta, ledger_));
  return sort_replica_sets(deployment, claims.owned);
}

bool DeploymentController::old_pods(const Deployment& deployment, const ReplicaSets& sets) const {
  if (!deployment.recreate) return false;
  const auto pods = pods_.by_index("namespace", deployment.meta.ns);
  return std::any_of(pods.begin(), pods.end(), [&](const PodPtr& pod) {
    return !pod->finished() &&
           std::any_of(sets.old.begin(), sets.old.end(), [&](const ReplicaSetPtr& set) {
             return controlled_by(pod->meta, set->meta);
           });
  });
}

Result<void> DeploymentController::apply(const Deployment& deployment, const DeploymentPlan& plan,
                                         ReplicaSets& sets) {
  for (const ReplicaSetChange& one : plan.change) TRY(change(deployment, one));
  if (plan.create) TRY(create(deployment, *plan.create, sets));
  for (const ReplicaSetPtr& set : plan.remove) TRY(remove(deployment, *set));
  return {};
}

Result<void> DeploymentController::create(const Deployment& deployment,
                                          const DeploymentPlan::Create& wanted, ReplicaSets& sets) {
  const Object object = replica_set_object(deployment, wanted);
  const auto made = client_.create(resources::kReplicaSets, object);
  if (!made && is_already_exists(made.error())) return resolve_taken_name(deployment, object.key());
  if (!made) {
    if (made.error().code != Code::Forbidden)  // a namespace that ends takes nothing new
      events_.warning(
          about(deployment), "ReplicaSetCreateError",
          "Failed to create new replica set \"" + object.name() + "\": " + made.error().message);
    return made.error();
  }
  ledger_.wrote(deployment.meta.key(), *made);
  sets.current = std::make_shared<const ReplicaSet>(TRY(ReplicaSet::decode(*made)));
  sets.created = true;
  if (wanted.replicas > 0)
    events_.normal(about(deployment), "ScalingReplicaSet",
                   scaled(made->name(), 0, wanted.replicas));
  return {};
}

// Another template of the same hash has the name, or somebody else's set: the collision count makes
// the next hash. Or the set is ours, or free to be adopted, and the cache does not show it yet.
// Conflict either way: again.
Result<void> DeploymentController::resolve_taken_name(const Deployment& deployment,
                                                      const ObjectKey& name) {
  const auto taken = TRY(get_live<ReplicaSet>(client_, resources::kReplicaSets, name));
  const Error again{Code::Conflict, "the name " + name.name + " is taken"};
  if (taken == nullptr) return again;
  const bool free = claim(deployment, taken->meta) == Claim::Adopt;
  if ((free || controlled_by(taken->meta, deployment.meta)) &&
      same_template(*taken->pod_template, *deployment.pod_template, kTemplateHashLabel))
    return again;
  DeploymentStatus status = deployment.status;
  ++status.collision_count;
  TRY(write_status(deployment, status));
  return again;
}

Result<void> DeploymentController::change(const Deployment& deployment,
                                          const ReplicaSetChange& change) {
  const ReplicaSet& set = *change.set;
  Json patch = {{"metadata",
                 {{"uid", set.meta.uid}, {"resourceVersion", std::to_string(set.meta.revision)}}}};
  if (!change.annotations.empty()) patch["metadata"]["annotations"] = change.annotations;
  if (change.replicas) patch["spec"]["replicas"] = *change.replicas;
  if (change.min_ready_seconds) patch["spec"]["minReadySeconds"] = *change.min_ready_seconds;
  const Object now =
      TRY(client_.patch(resources::kReplicaSets, set.meta.key(), PatchType::JsonMerge, patch, ""));
  ledger_.wrote(deployment.meta.key(), now);
  if (change.replicas)
    events_.normal(about(deployment), "ScalingReplicaSet",
                   scaled(set.meta.name, set.replicas, *change.replicas));
  return {};
}

Result<void> DeploymentController::remove(const Deployment& deployment, const ReplicaSet& set) {
  const auto gone = client_.remove(resources::kReplicaSets, set.meta.key(),
                                   {.uid = set.meta.uid, .revision = set.meta.revision});
  if (!gone && !is_not_found(gone.error())) return gone.error();
  ledger_.removed(deployment.meta.key(), set);
  return {};
}

Result<void> DeploymentController::write_revision(const Deployment& deployment,
                                                  const std::string& revision) {
  const auto now = deployment.meta.annotations.find(kRevisionAnnotation);
  if (revision.empty() || (now != deployment.meta.annotations.end() && now->second == revision))
    return {};
  const Json patch = {
      {"metadata",
       {{"uid", deployment.meta.uid}, {"annotations", {{kRevisionAnnotation, revision}}}}}};
  TRY(client_.patch(resources::kDeployments, deployment.meta.key(), PatchType::JsonMerge, patch,
                    ""));
  return {};
}

Result<void> DeploymentController::write_status(const Deployment& deployment,
                                                const DeploymentStatus& status) {
  if (status == deployment.status) return {};
  const Json patch = {{"metadata", {{"uid", deployment.meta.uid}}},
                      {"status",
                       {{"replicas", counter(status.replicas)},
                        {"updatedReplicas", counter(status.updated)},
                        {"readyReplicas", counter(status.ready)},
                        {"availableReplicas", counter(status.available)},
                        {"unavailableReplicas", counter(status.unavailable)},
                        {"observedGeneration", counter(status.observed_generation)},
                        {"collisionCount", counter(status.collision_count)},
                        {"conditions", conditions_json(status.conditions)}}}};
  const auto written = client_.patch(resources::kDeployments, deployment.meta.key(),
                                     PatchType::JsonMerge, patch, "status");
  if (!written && !is_not_found(written.error())) return written.error();
  return {};
}

}  // namespace coracle
