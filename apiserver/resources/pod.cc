// Pods: the descriptor. Defaults: pod_defaults.cc; checks: pod_validation.cc,
// container_validation.cc.
#include <nlohmann/json.hpp>

#include "resources/columns.h"
#include "resources/fields.h"
#include "resources/kinds.h"

namespace coracle {
namespace {

// Guaranteed: every container has limits equal to its requests for cpu and memory; BestEffort:
// nothing set.
std::string qos_class(const Json& spec) {
  bool any = false, guaranteed = true;
  for (const char* list : {"initContainers", "containers"})
    for (const Json& container : array_in(spec, list)) {
      const Json& resources = object_at(container, "resources");
      const Json& limits = object_at(resources, "limits");
      const Json& requests = object_at(resources, "requests");
      for (const char* what : {"cpu", "memory"}) {
        any = any || has(limits, what) || has(requests, what);
        guaranteed = guaranteed && has(limits, what) && has(requests, what) &&
                     limits.at(what) == requests.at(what);
      }
    }
  if (!any) return "BestEffort";
  return guaranteed ? "Guaranteed" : "Burstable";
}

}  // namespace

ResourceKind pod_kind(const TolerationSeconds& tolerations) {
  ResourceKind kind;
  kind.resource = resources::kPods;
  kind.singular = "pod";
  kind.short_names = {"po"};
  kind.categories = {"all"};
  kind.schema_type = "core.v1.Pod";
  kind.has_status = true;
  kind.counts_generations = true;
  kind.graceful_delete = true;
  kind.subresources = {"binding", "eviction", "log"};
  kind.selectable_fields = {"spec.nodeName",
                            "spec.restartPolicy",
                            "spec.schedulerName",
                            "spec.serviceAccountName",
                            "spec.hostNetwork",
                            "status.phase",
                            "status.podIP",
                            "status.podIPs",
                            "status.nominatedNodeName"};
  kind.apply_defaults = [](Json& pod) { default_pod_spec(object_in(pod, "spec")); };
  kind.prepare_create = [tolerations](Json& pod) {
    Json& spec = object_in(pod, "spec");
    default_tolerations(spec, tolerations);
    set_default(spec, "serviceAccountName", "default");
    set_default(spec, "serviceAccount", spec["serviceAccountName"]);
    pod["status"] = {{"phase", "Pending"}, {"qosClass", qos_class(spec)}};
    if (!array_in(spec, "schedulingGates").empty())
      pod["status"]["conditions"] =
          Json::array({{{"type", "PodScheduled"},
                        {"status", "False"},
                        {"reason", "SchedulingGated"},
                        {"lastTransitionTime", nullptr},
                        {"message", "Scheduling is blocked due to non-empty scheduling gates"}}});
  };
  kind.prepare_update = [tolerations](Json& pod, const Json& old) {
    // What creation filled in stays, also for a client that replaces the Pod by its manifest.
    Json& spec = object_in(pod, "spec");
    for (const char* key : {"serviceAccountName", "serviceAccount", "nodeName"})
      if (unset(spec, key) && !unset(object_at(old, "spec"), key))
        spec[key] = old.at("spec").at(key);
    default_tolerations(spec, tolerations);
  };
  kind.validate = [](const Json& pod, FieldErrors& errors) {
    validate_pod_spec(object_at(pod, "spec"), "spec", errors);
  };
  kind.validate_update = validate_pod_update;
  kind.columns = columns::pods();
  return kind;
}

}  // namespace coracle
