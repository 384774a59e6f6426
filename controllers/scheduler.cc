#include "scheduler.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

namespace coracle {
namespace {

ObjectReference reference(const Pod& pod) {
  return {"v1", "Pod", pod.meta.ns, pod.meta.name, pod.meta.uid, ""};
}

// A node that is not Ready is so for the scheduler at once, not when its taint has been written.
std::vector<Taint> taints_of(const Node& node) {
  std::vector<Taint> taints = node.taints;
  if (node.ready) return taints;
  const Taint implied{node.condition("Ready") == "Unknown" ? kTaintUnreachable : kTaintNotReady, "",
                      kNoSchedule, ""};
  const bool there = std::any_of(taints.begin(), taints.end(),
                                 [&](const Taint& t) { return t.same_place(implied); });
  if (!there) taints.push_back(implied);
  return taints;
}

// Why the node does not take the Pod, "" when it does; in the order of kube-scheduler's plugins.
std::string misfit(const Pod& pod, const Node& node) {
  const Taint cordon{kTaintUnschedulable, "", kNoSchedule, ""};
  if (node.unschedulable && find_toleration(pod.tolerations, cordon) == nullptr)
    return "node(s) were unschedulable";
  for (const Taint& taint : taints_of(node))
    if ((taint.effect == kNoSchedule || taint.effect == kNoExecute) &&
        find_toleration(pod.tolerations, taint) == nullptr)
      return "node(s) had untolerated taint {" + taint.key + ": " + taint.value + "}";
  for (const auto& [key, value] : pod.node_selector) {
    const auto label = node.meta.labels.find(key);
    if (label == node.meta.labels.end() || label->second != value)
      return "node(s) didn't match Pod's node affinity/selector";
  }
  return "";
}

// Lower is better.
std::tuple<std::ptrdiff_t, int, int> rank(const Pod& pod, const Node& node, const NodeLoad& load) {
  const auto disliked = std::count_if(node.taints.begin(), node.taints.end(), [&](const Taint& t) {
    return t.effect == kPreferNoSchedule && find_toleration(pod.tolerations, t) == nullptr;
  });
  return {disliked, load.alike, load.pods};
}

std::string none_fits(std::size_t nodes, const std::map<std::string, int>& reasons) {
  std::vector<std::string> counted;
  counted.reserve(reasons.size());
  for (const auto& [why, count] : reasons) counted.push_back(std::to_string(count) + " " + why);
  std::sort(counted.begin(), counted.end());
  std::string out = "0/" + std::to_string(nodes) + " nodes are available: ";
  const char* comma = "";
  for (const std::string& one : counted) out += std::exchange(comma, ", ") + one;
  return out + ".";
}

std::string controller_uid(const Pod& pod) {
  for (const OwnerReference& owner : pod.meta.owners)
    if (owner.controller) return owner.uid;
  return "";
}

}  // namespace

SchedulingDecision schedule(const Pod& pod, const std::vector<NodePtr>& nodes,
                            const std::map<std::string, NodeLoad>& loads) {
  if (nodes.empty()) return {"", "no nodes available to schedule pods"};
  std::map<std::string, int> reasons;
  const Node* best = nullptr;
  std::tuple<std::ptrdiff_t, int, int> best_rank;
  for (const NodePtr& node : nodes) {
    if (const std::string why = misfit(pod, *node); !why.empty()) {
      ++reasons[why];
      continue;
    }
    const auto load = loads.find(node->meta.name);
    const auto its = rank(pod, *node, load == loads.end() ? NodeLoad{} : load->second);
    if (best != nullptr && its >= best_rank) continue;
    best = node.get();
    best_rank = its;
  }
  if (best != nullptr) return {best->meta.name, ""};
  return {"", none_fits(nodes.size(), reasons)};
}

std::map<std::string, NodeLoad> SchedulerController::loads(const Pod& of) {
  std::vector<ServicePtr> services;
  for (const ServicePtr& service : services_.by_index("namespace", of.meta.ns))
    if (selects(*service, of)) services.push_back(service);
  const std::string owner = controller_uid(of);
  const auto alike = [&](const Pod& other) {
    if (!owner.empty() && controller_uid(other) == owner) return true;
    return std::any_of(services.begin(), services.end(),
                       [&](const ServicePtr& service) { return selects(*service, other); });
  };
  std::map<std::string, NodeLoad> out;
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
    if (node.empty() || pod->finished()) continue;
    NodeLoad& load = out[node];
    ++load.pods;
    if (!pod->meta.deleting() && alike(*pod)) ++load.alike;
  }
  for (const auto& [uid, node] : assumed) assumed_.erase(uid);  // gone before it was seen bound
  return out;
}

Result<Again> SchedulerController::reconcile(const ObjectKey& key) {
  const auto pod = pods_.get(key);
  if (pod == nullptr || !pod->node_name.empty() || pod->meta.deleting()) return Again{};
  if (pod->finished() || pod->scheduler_name != "default-scheduler") return Again{};
  if (assumed_.contains(pod->meta.uid)) return Again{};
  const SchedulingDecision decision = schedule(*pod, nodes_.list(), loads(*pod));
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
