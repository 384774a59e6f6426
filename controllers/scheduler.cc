#include "scheduler.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "scheduling_filters.h"

namespace coracle {
namespace {

ObjectReference reference(const Pod& pod) {
  return {"v1", "Pod", pod.meta.ns, pod.meta.name, pod.meta.uid, ""};
}

bool takes_room(const PodPtr& pod) {
  return pod != nullptr && !pod->node_name.empty() && !pod->finished();
}

bool is_ours(const Pod& pod) {
  return pod.node_name.empty() && !pod.meta.deleting() && !pod.finished() &&
         pod.scheduler_name == "default-scheduler" &&
         !(pod.placement != nullptr && pod.placement->gated);
}

bool minds_company(const Pod& pod) {
  return pod.placement != nullptr &&
         (pod.placement->terms != nullptr || !pod.placement->spread.empty());
}

// Something that a decision looks at: heartbeats are not.
bool matters(const Node& old, const Node& now) {
  return old.meta.labels != now.meta.labels || old.taints != now.taints || old.ready != now.ready ||
         old.unschedulable != now.unschedulable || old.allocatable != now.allocatable;
}

}  // namespace

void SchedulerController::watch(Informer<Pod>& pods, Informer<Node>& nodes,
                                Informer<Metadata>& namespaces, WorkQueue* queue) {
  queue_ = queue;
  pods.on_change_values([this](const ObjectKey& key, const PodPtr& old, const PodPtr& now) {
    note_pod(key, old, now);
  });
  nodes.on_change_values([this](const ObjectKey& key, const NodePtr& old, const NodePtr& now) {
    note_node(key, old, now);
  });
  namespaces.on_change_values([this](const ObjectKey& key, const auto&, const auto& now) {
    const std::lock_guard lock(mutex_);
    if (now == nullptr) return state_.remove_namespace(key.name);
    if (state_.namespace_labels(key.name) == now->meta.labels) return;
    state_.set_namespace(key.name, now->meta.labels);
    wake_for_company();
  });
}

void SchedulerController::note_pod(const ObjectKey& key, const PodPtr& old, const PodPtr& now) {
  const std::lock_guard lock(mutex_);
  const bool replaced = old != nullptr && (now == nullptr || now->meta.uid != old->meta.uid);
  std::string freed;
  if (replaced) freed = state_.remove(old->meta.uid);
  if (now == nullptr || !is_ours(*now)) waiting_.erase(key);
  if (takes_room(now)) {
    state_.place(now, now->node_name, SchedulingState::Source::Api);
  } else if (now != nullptr && now->finished()) {
    freed = state_.remove(now->meta.uid);
  }
  const bool comes = takes_room(now) && (replaced || !takes_room(old));
  const bool changes =
      takes_room(now) && !comes &&
      (old->meta.labels != now->meta.labels || old->meta.deleting() != now->meta.deleting());
  if (!freed.empty()) wake_for_room(freed);
  if (!freed.empty() || comes || changes) wake_for_company();
  if (now != nullptr && is_ours(*now)) queue_->add(key);
}

void SchedulerController::note_node(const ObjectKey& key, const NodePtr& old, const NodePtr& now) {
  const std::lock_guard lock(mutex_);
  if (now == nullptr) {
    state_.remove_node(key.name);
  } else {
    state_.set_node(now);
  }
  if (old == nullptr || now == nullptr || matters(*old, *now)) wake_all();
}

// The next three REQUIRE: mutex_ held.
void SchedulerController::wake_all() {
  for (const auto& [key, pod] : waiting_) queue_->add(key);
}

void SchedulerController::wake_for_room(const std::string& node) {
  const auto use = state_.nodes().find(node);
  if (use == state_.nodes().end() || use->second.node == nullptr) return;
  for (const auto& [key, pod] : waiting_)
    if (node_misfit(*pod, use->second).fits()) queue_->add(key);
}

void SchedulerController::wake_for_company() {
  for (const auto& [key, pod] : waiting_)
    if (minds_company(*pod)) queue_->add(key);
}

Result<Again> SchedulerController::reconcile(const ObjectKey& key) {
  PodPtr pod;
  const SchedulingDecision decision = decide(key, pod);
  if (!decision.message.empty()) TRY(report(*pod, decision.message));
  if (decision.node.empty()) return Again{};
  const auto bound = bind(*pod, decision.node);
  if (bound) return Again{};
  {
    const std::lock_guard lock(mutex_);
    if (const std::string freed = state_.forget(pod->meta.uid); !freed.empty())
      wake_for_room(freed);
  }
  // Gone, or bound by someone else: the cache will say so.
  if (is_not_found(bound.error()) || is_conflict(bound.error())) return Again{};
  return bound.error();
}

// Neither a node nor a message: there is nothing to decide, or not any more. The Pod counts as
// placed from here on, so that the next decision knows of it. It is looked up under the lock: what
// the cache shows now, note_pod() has not overtaken.
SchedulingDecision SchedulerController::decide(const ObjectKey& key, PodPtr& pod) {
  const auto services = services_.by_index("namespace", key.ns);
  const std::lock_guard lock(mutex_);
  waiting_.erase(key);
  pod = pods_.get(key);
  if (pod == nullptr || !is_ours(*pod) || state_.holds(pod->meta.uid)) return {};
  std::vector<LabelSelector> selectors;
  for (const ServicePtr& service : services)
    if (selects(*service, *pod)) selectors.push_back(LabelSelector::from_map(service->selector));
  SchedulingDecision decision = schedule(*pod, state_, selectors);
  if (decision.node.empty()) {
    waiting_[key] = pod;
  } else {
    state_.place(pod, decision.node, SchedulingState::Source::Assumed);
  }
  return decision;
}

Result<void> SchedulerController::bind(const Pod& pod, const std::string& node) {
  const Object binding(Json{
      {"apiVersion", "v1"},
      {"kind", "Binding"},
      {"metadata", {{"name", pod.meta.name}, {"namespace", pod.meta.ns}, {"uid", pod.meta.uid}}},
      {"target", {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}}}});
  TRY(client_.update(resources::kPods, binding, "binding"));
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
