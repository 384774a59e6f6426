#include "pod_gc.h"

namespace coracle {

Result<Again> PodGarbageCollector::reconcile(const ObjectKey& key) {
  const auto pod = pods_.get(key);
  const auto node =
      pod == nullptr || pod->node_name.empty() ? nullptr : nodes_.get({"", pod->node_name});
  if (pod == nullptr || pod->node_name.empty() || node != nullptr) {
    orphaned_since_.erase(key);
    return Again{};
  }
  const auto now = clock_.steady_now();
  const auto since = orphaned_since_.try_emplace(key, now).first->second;
  const auto left = since + kOrphanedPodGrace - now;
  if (left.count() > 0) return Again{std::chrono::ceil<std::chrono::milliseconds>(left)};
  const auto live = client_.get(resources::kNodes, {"", pod->node_name});
  if (live) return Again{kOrphanedPodGrace};
  if (!is_not_found(live.error())) return live.error();
  const auto removed =
      client_.remove(resources::kPods, key, {.grace_period_seconds = 0, .uid = pod->meta.uid});
  if (!removed && !is_not_found(removed.error())) return removed.error();
  orphaned_since_.erase(key);
  return Again{};
}

}  // namespace coracle
