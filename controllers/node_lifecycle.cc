#include "node_lifecycle.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

ObjectReference reference(const Node& node) {
  return {"v1", "Node", "", node.meta.name, node.meta.uid, ""};
}

// Not when it has changed since: the next look sees what it is now.
Json precondition(const Meta& meta) {
  return {{"uid", meta.uid}, {"resourceVersion", std::to_string(meta.revision)}};
}

// Changed or gone since it was looked at: not an error, the change brings the next look.
Result<void> settled(const Result<Object>& written) {
  if (written || is_conflict(written.error()) || is_not_found(written.error())) return {};
  return written.error();
}

}  // namespace

Result<Again> NodeLifecycleController::reconcile(const ObjectKey&) {
  const Time now = clock_.steady_now();
  notice_pause(now);
  const auto nodes = nodes_.list();
  std::set<std::string> names;
  for (const NodePtr& node : nodes) {
    names.insert(node->meta.name);
    observe(*node, now);
  }
  started_ = true;
  std::erase_if(health_, [&](const auto& known) { return !names.contains(known.first); });
  const Disruption state = disruption(nodes, now);
  // Whoever of them lives gets the time to say so, now that one of them has.
  if (was_full_ && state != Disruption::Full)
    for (auto& [name, health] : health_) health.alive = now;
  was_full_ = state == Disruption::Full;
  Result<void> first;
  for (const NodePtr& node : nodes) {
    for (const auto& done :
         {judge(*node, now), mark_pods(*node), taint(*node, state), tell_grace(*node)})
      if (first && !done) first = done;
  }
  if (!first) return first.error();
  return Again{interval()};
}

// Nodes that fall silent together do not do so at the same moment: while no other one has given a
// sign of life lately, nothing new is evicted.
Disruption NodeLifecycleController::disruption(const std::vector<NodePtr>& nodes, Time now) const {
  std::size_t ready = 0, lively = 0;
  for (const NodePtr& node : nodes) {
    const auto silent = now - health_.at(node->meta.name).alive;
    if (node->ready && silent < grace_) ++ready;
    if (node->ready && silent < std::chrono::milliseconds(grace_) / 2) ++lively;
  }
  const Disruption certain = compute_disruption(ready, nodes.size());
  const bool suspected = compute_disruption(lively, nodes.size()) != Disruption::None;
  return certain == Disruption::None && suspected ? Disruption::Partial : certain;
}

// This process was stopped, or the machine asleep, while others may have lived on.
void NodeLifecycleController::notice_pause(Time now) {
  const bool paused = looked_ != Time{} && now - looked_ > 3 * interval();
  looked_ = now;
  if (!paused) return;
  for (auto& [name, health] : health_) health.alive = now;
}

void NodeLifecycleController::observe(const Node& node, Time now) {
  const auto lease = leases_.get({kLeaseNamespace, node.meta.name});
  const std::string renewed = lease == nullptr ? "" : lease->renew_time;
  Health& health = health_[node.meta.name];
  if (health.uid != node.meta.uid) {
    // Those that were there before this process are known to have been told.
    if (started_)
      events_.normal(reference(node), "RegisteredNode",
                     "Node " + node.meta.name + " event: Registered Node " + node.meta.name +
                         " in Controller");
    health = {node.meta.uid, renewed, node.ready_heartbeat, now, node.ready, false, ""};
    health.pods_pending = node.condition("Ready") == "Unknown";
    return;
  }
  const bool renewal = !renewed.empty() && renewed != health.lease;
  if (renewal || node.ready_heartbeat != health.heartbeat) health.alive = now;
  if (!renewed.empty()) health.lease = renewed;
  health.heartbeat = node.ready_heartbeat;
  if (health.ready != node.ready) health.pods_pending = !node.ready;
  health.ready = node.ready;
}

Result<void> NodeLifecycleController::judge(const Node& node, Time now) {
  const bool started = !node.condition("Ready").empty();
  const auto silent = now - health_[node.meta.name].alive;
  if (silent < (started ? grace_ : std::max(grace_, kNodeStartupGrace))) return {};
  const Json conditions = compute_silent_conditions(node, format_time(clock_.now()));
  if (conditions.empty()) return {};
  const Json patch = {{"metadata", precondition(node.meta)},
                      {"status", {{"conditions", conditions}}}};
  const auto written =
      client_.patch(resources::kNodes, node.meta.key(), PatchType::StrategicMerge, patch, "status");
  if (written && node.ready)
    events_.normal(reference(node), "NodeNotReady",
                   "Node " + node.meta.name + " status is now: NodeNotReady");
  return settled(written);
}

Result<void> NodeLifecycleController::mark_pods(const Node& node) {
  Health& health = health_[node.meta.name];
  if (!health.pods_pending) return {};
  for (const auto& pod : pods_.list())
    if (pod->node_name == node.meta.name && pod->ready()) TRY(mark_pod(*pod));
  health.pods_pending = false;
  return {};
}

Result<void> NodeLifecycleController::mark_pod(const Pod& pod) {
  const Json ready = {
      {"type", "Ready"}, {"status", "False"}, {"lastTransitionTime", format_time(clock_.now())}};
  const Json patch = {{"metadata", {{"uid", pod.meta.uid}}},
                      {"status", {{"conditions", Json::array({ready})}}}};
  const auto written =
      client_.patch(resources::kPods, pod.meta.key(), PatchType::StrategicMerge, patch, "status");
  if (written)
    events_.warning({"v1", "Pod", pod.meta.ns, pod.meta.name, pod.meta.uid, ""}, "NodeNotReady",
                    "Node is not ready");
  return settled(written);
}

// The holder renews its Lease four times in the duration that it finds there.
Result<void> NodeLifecycleController::tell_grace(const Node& node) {
  const auto lease = leases_.get({kLeaseNamespace, node.meta.name});
  Health& health = health_[node.meta.name];
  if (lease == nullptr || lease->meta.uid == health.told) return {};
  const Json patch = {{"metadata", {{"uid", lease->meta.uid}}},
                      {"spec", {{"leaseDurationSeconds", grace_.count()}}}};
  TRY(settled(
      client_.patch(resources::kLeases, lease->meta.key(), PatchType::JsonMerge, patch, "")));
  health.told = lease->meta.uid;
  return {};
}

Result<void> NodeLifecycleController::taint(const Node& node, Disruption disruption) {
  const auto taints = compute_taints(node, disruption, format_time(clock_.now()));
  if (taints == node.taints || node.meta.deleting()) return {};
  Json list = Json::array();
  for (const Taint& t : taints) {
    list.push_back({{"key", t.key}, {"effect", t.effect}});
    if (!t.value.empty()) list.back()["value"] = t.value;
    if (!t.time_added.empty()) list.back()["timeAdded"] = t.time_added;
  }
  const Json patch = {{"metadata", precondition(node.meta)}, {"spec", {{"taints", list}}}};
  return settled(
      client_.patch(resources::kNodes, node.meta.key(), PatchType::JsonMerge, patch, ""));
}

}  // namespace coracle
