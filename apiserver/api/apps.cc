#include <coracle/api/apps.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace coracle {

namespace resources {
const Resource kDeployments{"apps", "v1", "deployments", "Deployment", true};
const Resource kReplicaSets{"apps", "v1", "replicasets", "ReplicaSet", true};
const Resource kDaemonSets{"apps", "v1", "daemonsets", "DaemonSet", true};
const Resource kControllerRevisions{"apps", "v1", "controllerrevisions", "ControllerRevision",
                                    true};
}  // namespace resources

namespace {

std::shared_ptr<const Json> part(const Json& json, std::initializer_list<const char*> path) {
  const Json* found = json_find(json, path);
  return std::make_shared<const Json>(found != nullptr && found->is_object() ? *found
                                                                             : Json::object());
}

Result<void> decode_workload(const Object& object, Workload& out) {
  const Json& json = object.json();
  out.meta = object.meta();
  out.min_ready_seconds = json_int(json, {"spec", "minReadySeconds"});
  out.selector_json = part(json, {"spec", "selector"});
  out.selector = TRY(LabelSelector::from_json(*out.selector_json));
  out.pod_template = part(json, {"spec", "template"});
  return {};
}

IntOrPercent decode_amount(const Json& json, std::initializer_list<const char*> path) {
  const std::string text = json_string(json, path);
  if (text.empty()) return {json_int(json, path), false};
  IntOrPercent out{0, true};
  std::from_chars(text.data(), text.data() + text.size(), out.value);
  return out;
}

std::vector<WorkloadCondition> decode_conditions(const Json& json) {
  std::vector<WorkloadCondition> out;
  const Json* list = json_find(json, {"status", "conditions"});
  if (list == nullptr || !list->is_array()) return out;
  for (const Json& c : *list)
    out.push_back({json_string(c, {"type"}), json_string(c, {"status"}), json_string(c, {"reason"}),
                   json_string(c, {"message"}), json_string(c, {"lastUpdateTime"}),
                   json_string(c, {"lastTransitionTime"})});
  return out;
}

}  // namespace

const WorkloadCondition* find_condition(const std::vector<WorkloadCondition>& conditions,
                                        const std::string& type) {
  const auto found = std::find_if(conditions.begin(), conditions.end(),
                                  [&](const WorkloadCondition& c) { return c.type == type; });
  return found == conditions.end() ? nullptr : &*found;
}

std::int64_t IntOrPercent::rounded_up(std::int64_t whole) const {
  return percent ? (whole * value + 99) / 100 : value;
}

std::int64_t IntOrPercent::rounded_down(std::int64_t whole) const {
  return percent ? whole * value / 100 : value;
}

Result<ReplicaSet> ReplicaSet::decode(const Object& object) {
  ReplicaSet out;
  TRY(decode_workload(object, out));
  const Json& json = object.json();
  out.replicas = json_int(json, {"spec", "replicas"}, 1);
  ReplicaSetStatus& status = out.status;
  status.replicas = json_int(json, {"status", "replicas"});
  status.fully_labeled = json_int(json, {"status", "fullyLabeledReplicas"});
  status.ready = json_int(json, {"status", "readyReplicas"});
  status.available = json_int(json, {"status", "availableReplicas"});
  status.observed_generation = json_int(json, {"status", "observedGeneration"});
  status.conditions = decode_conditions(json);
  return out;
}

Result<Deployment> Deployment::decode(const Object& object) {
  Deployment out;
  TRY(decode_workload(object, out));
  const Json& json = object.json();
  out.replicas = json_int(json, {"spec", "replicas"}, 1);
  out.revision_history_limit = json_int(json, {"spec", "revisionHistoryLimit"}, 10);
  out.progress_deadline_seconds = json_int(json, {"spec", "progressDeadlineSeconds"}, 600);
  out.paused = json_bool(json, {"spec", "paused"});
  out.recreate = json_string(json, {"spec", "strategy", "type"}) == "Recreate";
  out.max_surge = decode_amount(json, {"spec", "strategy", "rollingUpdate", "maxSurge"});
  out.max_unavailable =
      decode_amount(json, {"spec", "strategy", "rollingUpdate", "maxUnavailable"});
  DeploymentStatus& status = out.status;
  status.replicas = json_int(json, {"status", "replicas"});
  status.updated = json_int(json, {"status", "updatedReplicas"});
  status.ready = json_int(json, {"status", "readyReplicas"});
  status.available = json_int(json, {"status", "availableReplicas"});
  status.unavailable = json_int(json, {"status", "unavailableReplicas"});
  status.observed_generation = json_int(json, {"status", "observedGeneration"});
  status.collision_count = json_int(json, {"status", "collisionCount"});
  status.conditions = decode_conditions(json);
  return out;
}

Result<DaemonSet> DaemonSet::decode(const Object& object) {
  DaemonSet out;
  TRY(decode_workload(object, out));
  const Json& json = object.json();
  out.revision_history_limit = json_int(json, {"spec", "revisionHistoryLimit"}, 10);
  out.on_delete = json_string(json, {"spec", "updateStrategy", "type"}) == "OnDelete";
  out.max_surge = decode_amount(json, {"spec", "updateStrategy", "rollingUpdate", "maxSurge"});
  out.max_unavailable =
      decode_amount(json, {"spec", "updateStrategy", "rollingUpdate", "maxUnavailable"});
  DaemonSetStatus& status = out.status;
  status.desired = json_int(json, {"status", "desiredNumberScheduled"});
  status.current = json_int(json, {"status", "currentNumberScheduled"});
  status.misscheduled = json_int(json, {"status", "numberMisscheduled"});
  status.ready = json_int(json, {"status", "numberReady"});
  status.updated = json_int(json, {"status", "updatedNumberScheduled"});
  status.available = json_int(json, {"status", "numberAvailable"});
  status.unavailable = json_int(json, {"status", "numberUnavailable"});
  status.observed_generation = json_int(json, {"status", "observedGeneration"});
  status.collision_count = json_int(json, {"status", "collisionCount"});
  return out;
}

Result<ControllerRevision> ControllerRevision::decode(const Object& object) {
  const Json& json = object.json();
  return ControllerRevision{object.meta(), json_int(json, {"revision"}), part(json, {"data"})};
}

}  // namespace coracle
