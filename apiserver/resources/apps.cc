// Deployments, ReplicaSets, DaemonSets and ControllerRevisions (apps/v1): the descriptors and their
// defaults. Checks: apps_validation.cc.
#include <coracle/api/apps.h>

#include <nlohmann/json.hpp>

#include "resources/columns.h"
#include "resources/fields.h"
#include "resources/kinds.h"

namespace coracle {
namespace {

void set_number(Json& parent, const char* key, std::int64_t value) {
  if (!has(parent, key)) parent[key] = value;
}

// Admission's defaults (ServiceAccount, tolerations) are a Pod's, not its template's.
void default_template(Json& spec) {
  Json& pod = object_in(spec, "template");
  object_in(pod, "metadata");
  default_pod_spec(object_in(pod, "spec"));
}

void default_strategy(Json& strategy, Json max_unavailable, Json max_surge) {
  set_default(strategy, "type", "RollingUpdate");
  if (text_in(strategy, "type") != "RollingUpdate") return;
  Json& pace = object_in(strategy, "rollingUpdate");
  if (!has(pace, "maxUnavailable")) pace["maxUnavailable"] = std::move(max_unavailable);
  if (!has(pace, "maxSurge")) pace["maxSurge"] = std::move(max_surge);
}

void default_deployment(Json& deployment) {
  Json& spec = object_in(deployment, "spec");
  set_number(spec, "replicas", 1);
  set_number(spec, "revisionHistoryLimit", 10);
  set_number(spec, "progressDeadlineSeconds", 600);
  default_strategy(object_in(spec, "strategy"), "25%", "25%");
  default_template(spec);
}

void default_replica_set(Json& set) {
  Json& spec = object_in(set, "spec");
  set_number(spec, "replicas", 1);
  default_template(spec);
}

void default_daemon_set(Json& set) {
  Json& spec = object_in(set, "spec");
  set_number(spec, "revisionHistoryLimit", 10);
  default_strategy(object_in(spec, "updateStrategy"), 1, 0);
  default_template(spec);
}

// What the three have in common. `status` is that of a new object.
ResourceKind workload(const Resource& resource, const char* singular, const char* short_name,
                      const Json& status) {
  ResourceKind kind;
  kind.resource = resource;
  kind.singular = singular;
  kind.short_names = {short_name};
  kind.categories = {"all"};
  kind.schema_type = "apps.v1." + resource.kind;
  kind.has_status = true;
  kind.counts_generations = true;
  kind.prepare_create = [status](Json& object) { object["status"] = status; };
  kind.validate_update = validate_workload_update;
  return kind;
}

}  // namespace

ResourceKind deployment_kind() {
  ResourceKind kind = workload(resources::kDeployments, "deployment", "deploy", Json::object());
  kind.subresources = {"scale"};
  kind.apply_defaults = default_deployment;
  kind.validate = validate_deployment;
  kind.columns = columns::deployments();
  return kind;
}

ResourceKind replica_set_kind() {
  ResourceKind kind = workload(resources::kReplicaSets, "replicaset", "rs", {{"replicas", 0}});
  kind.subresources = {"scale"};
  kind.selectable_fields = {"status.replicas"};
  kind.apply_defaults = default_replica_set;
  kind.validate = validate_replica_set;
  kind.columns = columns::replica_sets();
  return kind;
}

ResourceKind daemon_set_kind() {
  ResourceKind kind = workload(resources::kDaemonSets, "daemonset", "ds",
                               {{"currentNumberScheduled", 0},
                                {"numberMisscheduled", 0},
                                {"desiredNumberScheduled", 0},
                                {"numberReady", 0}});
  kind.apply_defaults = default_daemon_set;
  kind.validate = validate_daemon_set;
  kind.columns = columns::daemon_sets();
  return kind;
}

ResourceKind controller_revision_kind() {
  ResourceKind kind;
  kind.resource = resources::kControllerRevisions;
  kind.singular = "controllerrevision";
  kind.schema_type = "apps.v1.ControllerRevision";
  kind.validate = validate_controller_revision;
  kind.validate_update = validate_controller_revision_update;
  kind.columns = columns::controller_revisions();
  return kind;
}

}  // namespace coracle
