#include "taint_eviction.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

ObjectReference reference(const Pod& pod) {
  return {"v1", "Pod", pod.meta.ns, pod.meta.name, pod.meta.uid, ""};
}

}  // namespace

std::optional<std::chrono::seconds> compute_stay(const Pod& pod, const std::vector<Taint>& taints) {
  constexpr std::int64_t kForever = std::int64_t{100} * 365 * 86'400;  // what a clock can say
  std::optional<std::chrono::seconds> out;
  for (const Taint& taint : taints) {
    if (taint.effect != kNoExecute) continue;
    const Toleration* toleration = find_toleration(pod.tolerations, taint);
    if (toleration == nullptr) return std::chrono::seconds(0);
    if (!toleration->seconds) continue;
    const std::chrono::seconds stay(std::clamp<std::int64_t>(*toleration->seconds, 0, kForever));
    out = out ? std::min(*out, stay) : stay;
  }
  return out;
}

Result<Again> TaintEvictionController::reconcile(const ObjectKey& key) {
  const auto pod = pods_.get(key);
  const auto node = pod == nullptr || pod->node_name.empty() || pod->meta.deleting()
                        ? nullptr
                        : nodes_.get({"", pod->node_name});
  const auto stay = node == nullptr ? std::nullopt : compute_stay(*pod, node->taints);
  if (!stay) {
    if (waiting_.erase(key) > 0 && pod != nullptr && !pod->meta.deleting())
      events_.normal(reference(*pod), "TaintManagerEviction",
                     "Cancelling deletion of Pod " + key.to_string());
    return Again{};
  }
  const Time now = clock_.steady_now();
  Waiting& waiting = waiting_[key];
  if (waiting.uid != pod->meta.uid) waiting = {pod->meta.uid, now, now};
  const Time due = std::max(waiting.since + *stay, waiting.extended);
  if (stay->count() > 0 && now > due + kMissedEviction) {
    waiting.extended = now + grace_;
    return Again{grace_};
  }
  if (now < due) return Again{std::chrono::ceil<std::chrono::milliseconds>(due - now)};
  TRY(evict(*pod));
  waiting_.erase(key);
  return Again{};
}

Result<void> TaintEvictionController::evict(const Pod& pod) {
  const ObjectKey key = pod.meta.key();
  const Json condition = {{"type", "DisruptionTarget"},
                          {"status", "True"},
                          {"reason", "DeletionByTaintManager"},
                          {"message", "Taint manager: deleting due to NoExecute taint"},
                          {"lastTransitionTime", format_time(clock_.now())}};
  const Json patch = {{"metadata", {{"uid", pod.meta.uid}}},
                      {"status", {{"conditions", Json::array({condition})}}}};
  const auto marked =
      client_.patch(resources::kPods, key, PatchType::StrategicMerge, patch, "status");
  if (!marked && is_not_found(marked.error())) return {};
  if (!marked) return marked.error();
  const auto removed = client_.remove(resources::kPods, key, {.uid = pod.meta.uid});
  if (!removed && !is_not_found(removed.error())) return removed.error();
  events_.normal(reference(pod), "TaintManagerEviction",
                 "Marking for deletion Pod " + key.to_string());
  return {};
}

}  // namespace coracle
