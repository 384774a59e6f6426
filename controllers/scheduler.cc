#include "scheduler.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

ObjectReference reference(const Pod& pod) {
  return {"v1", "Pod", pod.meta.ns, pod.meta.name, pod.meta.uid, ""};
}

// Why the node does not take the Pod, "" when it does.
std::string misfit(const Pod& pod, const Node& node) {
  if (node.unschedulable) return "node(s) were unschedulable";
  if (!node.ready) return "node(s) were not ready";
  for (const auto& [key, value] : pod.node_selector) {
    const auto label = node.meta.labels.find(key);
    if (label == node.meta.labels.end() || label->second != value)
      return "node(s) didn't match Pod's node affinity/selector";
  }
  return "";
}

}  // namespace

SchedulingDecision schedule(const Pod& pod, const std::vector<NodePtr>& nodes,
                            const std::map<std::string, int>& pods_on) {
  SchedulingDecision out;
  if (nodes.empty()) {
    out.message = "no nodes available to schedule pods";
    return out;
  }
  std::map<std::string, int> reasons;
  int fewest = 0;
  for (const NodePtr& node : nodes) {
    if (const std::string why = misfit(pod, *node); !why.empty()) {
      ++reasons[why];
      continue;
    }
    const auto count = pods_on.find(node->meta.name);
    const int pods = count == pods_on.end() ? 0 : count->second;
    if (!out.node.empty() && pods >= fewest) continue;
    out.node = node->meta.name;
    fewest = pods;
  }
  if (!out.node.empty()) return out;
  out.message = "0/" + std::to_string(nodes.size()) + " nodes are available: ";
  const char* comma = "";
  for (const auto& [why, count] : reasons) {
    out.message += comma + std::to_string(count) + " " + why;
    comma = ", ";
  }
  out.message += ".";
  return out;
}

std::map<std::string, int> SchedulerController::pods_per_node() {
  std::map<std::string, int> out;
  auto assumed = assumed_;
  for (const auto& pod : pods_.list()) {
    std::string node = pod->node_name;
    if (const auto it = assumed.find(pod->meta.uid); it != assumed.end()) {
      if (node.empty()) {
        node = it->second;
      } else {
        assumed_.erase(pod->meta.uid);
      }
      assumed.erase(it);
    }
    if (!node.empty() && !pod->finished()) ++out[node];
  }
  for (const auto& [uid, node] : assumed) assumed_.erase(uid);  // gone before it was seen bound
  return out;
}

Result<Again> SchedulerController::reconcile(const ObjectKey& key) {
  const auto pod = pods_.get(key);
  if (pod == nullptr || !pod->node_name.empty() || pod->meta.deleting()) return Again{};
  if (pod->finished() || pod->scheduler_name != "default-scheduler") return Again{};
  if (assumed_.contains(pod->meta.uid)) return Again{};
  const SchedulingDecision decision = schedule(*pod, nodes_.list(), pods_per_node());
  if (decision.node.empty()) {
    TRY(report(*pod, decision.message));
    return Again{};
  }
  TRY(bind(*pod, decision.node));
  return Again{};
}

Result<void> SchedulerController::bind(const Pod& pod, const std::string& node) {
  const Object binding(Json{
      {"apiVersion", "v1"},
      {"kind", "Binding"},
      {"metadata", {{"name", pod.meta.name}, {"namespace", pod.meta.ns}, {"uid", pod.meta.uid}}},
      {"target", {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}}}});
  const auto bound = client_.update(resources::kPods, binding, "binding");
  // Gone, or bound by someone else: the cache will say so.
  if (!bound && (is_not_found(bound.error()) || is_conflict(bound.error()))) return {};
  if (!bound) return bound.error();
  assumed_[pod.meta.uid] = node;
  events_.normal(reference(pod), "Scheduled",
                 "Successfully assigned " + pod.meta.key().to_string() + " to " + node);
  return {};
}

Result<void> SchedulerController::report(const Pod& pod, const std::string& message) {
  for (const PodCondition& c : pod.conditions)
    if (c.type == "PodScheduled" && c.status == "False" && c.message == message) return {};
  const Json patch = {
      {"status",
       {{"conditions", Json::array({{{"type", "PodScheduled"},
                                     {"status", "False"},
                                     {"reason", "Unschedulable"},
                                     {"message", message},
                                     {"lastTransitionTime", format_time(clock_.now())}}})}}}};
  const auto patched =
      client_.patch(resources::kPods, pod.meta.key(), PatchType::StrategicMerge, patch, "status");
  if (!patched && !is_not_found(patched.error())) return patched.error();
  events_.warning(reference(pod), "FailedScheduling", message);
  return {};
}

}  // namespace coracle
