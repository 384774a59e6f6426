#include "node_health.h"

#include <algorithm>

namespace coracle {
namespace {

struct ConditionTaint {
  const char* condition;
  const char* status;
  const char* taint;
};
constexpr ConditionTaint kConditionTaints[] = {
    {"Ready", "False", kTaintNotReady},
    {"Ready", "Unknown", kTaintUnreachable},
    {"MemoryPressure", "True", "node.kubernetes.io/memory-pressure"},
    {"DiskPressure", "True", "node.kubernetes.io/disk-pressure"},
    {"PIDPressure", "True", "node.kubernetes.io/pid-pressure"},
    {"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"}};

bool is_ours(const Taint& taint) {
  if (taint.effect == kNoExecute)
    return taint.key == kTaintNotReady || taint.key == kTaintUnreachable;
  if (taint.effect != kNoSchedule) return false;
  if (taint.key == kTaintUnschedulable) return true;
  return std::any_of(std::begin(kConditionTaints), std::end(kConditionTaints),
                     [&](const ConditionTaint& c) { return taint.key == c.taint; });
}

bool has_taint(const std::vector<Taint>& taints, const Taint& wanted) {
  return std::any_of(taints.begin(), taints.end(),
                     [&](const Taint& t) { return t.same_place(wanted); });
}

std::vector<Taint> wanted_taints(const Node& node, Disruption disruption, const std::string& now) {
  std::vector<Taint> out;
  for (const ConditionTaint& c : kConditionTaints)
    if (node.condition(c.condition) == c.status) out.push_back({c.taint, "", kNoSchedule, now});
  // No agent has said anything yet.
  if (node.condition("Ready").empty()) out.push_back({kTaintNotReady, "", kNoSchedule, now});
  if (node.unschedulable) out.push_back({kTaintUnschedulable, "", kNoSchedule, now});
  const std::string ready = node.condition("Ready");
  if (disruption == Disruption::Full || ready.empty() || ready == "True") return out;
  const Taint evict{ready == "Unknown" ? kTaintUnreachable : kTaintNotReady, "", kNoExecute, now};
  if (disruption == Disruption::None || has_taint(node.taints, evict)) out.push_back(evict);
  return out;
}

}  // namespace

Disruption compute_disruption(std::size_t ready, std::size_t all) {
  constexpr double kUnhealthy = 0.55;  // --unhealthy-zone-threshold
  const std::size_t down = all - ready;
  if (down > 0 && ready == 0) return Disruption::Full;
  if (down > 2 && static_cast<double>(down) >= kUnhealthy * static_cast<double>(all))
    return Disruption::Partial;
  return Disruption::None;
}

Json compute_silent_conditions(const Node& node, const std::string& now) {
  Json out = Json::array();
  for (const char* type : {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}) {
    const std::string status = node.condition(type);
    if (status == "Unknown") continue;
    Json condition = {{"type", type},
                      {"status", "Unknown"},
                      {"reason", "NodeStatusUnknown"},
                      {"message", "Kubelet stopped posting node status."},
                      {"lastTransitionTime", now}};
    if (status.empty()) {
      condition["reason"] = "NodeStatusNeverUpdated";
      condition["message"] = "Kubelet never posted node status.";
      condition["lastHeartbeatTime"] = node.meta.creation_timestamp;
    }
    out.push_back(std::move(condition));
  }
  return out;
}

std::vector<Taint> compute_taints(const Node& node, Disruption disruption, const std::string& now) {
  const std::vector<Taint> wanted = wanted_taints(node, disruption, now);
  std::vector<Taint> out;
  for (const Taint& taint : node.taints)
    if (!is_ours(taint) || has_taint(wanted, taint)) out.push_back(taint);
  for (const Taint& taint : wanted)
    if (!has_taint(out, taint)) out.push_back(taint);
  return out;
}

}  // namespace coracle
