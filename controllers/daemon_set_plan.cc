// Which nodes a DaemonSet's Pods belong on, and which of them come and go. Pure.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "daemon_set.h"

namespace coracle {
namespace {

// What every daemon Pod tolerates, as upstream: it runs where others are sent away from.
constexpr struct {
  const char* taint;
  const char* effect;
} kDaemonTolerations[] = {{kTaintNotReady, kNoExecute},
                          {kTaintUnreachable, kNoExecute},
                          {"node.kubernetes.io/disk-pressure", kNoSchedule},
                          {"node.kubernetes.io/memory-pressure", kNoSchedule},
                          {"node.kubernetes.io/pid-pressure", kNoSchedule},
                          {kTaintUnschedulable, kNoSchedule}};
constexpr const char* kNetworkUnavailable = "node.kubernetes.io/network-unavailable";

Json tolerations_of(const Json& pod_template) {
  Json out = Json::array();
  if (const Json* own = json_find(pod_template, {"spec", "tolerations"});
      own != nullptr && own->is_array())
    out = *own;
  const auto add = [&](const char* taint, const char* effect) {
    const Json one = {{"key", taint}, {"operator", "Exists"}, {"effect", effect}};
    if (std::find(out.begin(), out.end(), one) == out.end()) out.push_back(one);
  };
  for (const auto& [taint, effect] : kDaemonTolerations) add(taint, effect);
  if (json_bool(pod_template, {"spec", "hostNetwork"})) add(kNetworkUnavailable, kNoSchedule);
  return out;
}

bool fits_affinity(const Json& pod_template, const Node& node) {
  const Json* terms = json_find(
      pod_template, {"spec", "affinity", "nodeAffinity",
                     "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"});
  if (terms == nullptr || !terms->is_array()) return true;
  return std::any_of(terms->begin(), terms->end(),
                     [&](const Json& term) { return decode_node_term(term).matches(node.meta); });
}

bool fits_selector(const Json& pod_template, const Node& node) {
  const Labels wanted = json_string_map(pod_template, {"spec", "nodeSelector"});
  const std::string name = json_string(pod_template, {"spec", "nodeName"});
  return (name.empty() || name == node.meta.name) &&
         LabelSelector::from_map(wanted).matches(node.meta.labels);
}

// A node's Pods that neither have ended nor are ending, told apart by their template.
struct OnNode {
  std::vector<PodPtr> current, old;  // the longest available first
  bool ending = false;               // another has not gone yet
};

class Planner {
 public:
  Planner(const DaemonSet& set, const std::string& hash, Time now)
      : set_(set), hash_(hash), now_(now) {}

  void place(const Node& node, const std::vector<PodPtr>& pods) {
    const NodeFit fit = daemon_fit(set_, node);
    OnNode here = sort(pods);
    note_status(fit, here, !pods.empty());
    if (set_.meta.deleting()) return;
    if (!fit.keeps) {
      remove_all(here.current);
      remove_all(here.old);
    } else if (here.current.empty() && here.old.empty()) {
      // One that ends makes room first, but not for longer than it may take.
      if (fit.runs && !here.ending) plan_.create.push_back(node.meta.name);
    } else {
      remove_from(here.current, 1);
      remove_from(here.old, 1);
      if (!here.old.empty()) outdated_.push_back({node.meta.name, std::move(here), fit.runs});
    }
  }

  DaemonSetPlan finish() {
    plan_.status.unavailable =
        std::max<std::int64_t>(plan_.status.desired - plan_.status.available, 0);
    plan_.status.observed_generation = set_.meta.generation;
    plan_.status.collision_count = set_.status.collision_count;
    if (set_.on_delete) {
      for (const Outdated& one : outdated_)
        if (!one.here.current.empty()) remove_all(one.here.old);
      return std::move(plan_);
    }
    const std::int64_t surge = set_.max_surge.rounded_up(plan_.status.desired);
    if (surge > 0) {
      replace_beside(surge);
    } else {
      replace(set_.max_unavailable.rounded_up(plan_.status.desired));
    }
    return std::move(plan_);
  }

 private:
  struct Outdated {
    std::string node;
    OnNode here;
    bool runs = false;
  };

  bool available(const Pod& pod) {
    const Availability its = availability(pod, set_.min_ready_seconds, now_);
    plan_.again = sooner(plan_.again, its.later);
    return its.available;
  }

  OnNode sort(const std::vector<PodPtr>& pods) {
    OnNode out;
    for (const PodPtr& pod : pods) {
      if (pod->meta.deleting()) {
        out.ending = true;
      } else if (pod->finished()) {
        // Daemons do not end: it is made anew.
        if (!set_.meta.deleting()) plan_.remove.push_back(pod);
        out.ending = true;
      } else {
        const auto label = pod->meta.labels.find(kRevisionHashLabel);
        const bool current = label != pod->meta.labels.end() && label->second == hash_;
        (current ? out.current : out.old).push_back(pod);
      }
    }
    const auto first = [this](const PodPtr& a, const PodPtr& b) {
      const auto rank = [this](const Pod& pod) {
        return std::tuple(!available(pod), !pod.ready(), pod.meta.creation_timestamp,
                          pod.meta.name);
      };
      return rank(*a) < rank(*b);
    };
    std::sort(out.current.begin(), out.current.end(), first);
    std::sort(out.old.begin(), out.old.end(), first);
    return out;
  }

  void note_status(const NodeFit& fit, const OnNode& here, bool any) {
    DaemonSetStatus& status = plan_.status;
    if (!fit.runs) {
      status.misscheduled += any ? 1 : 0;
      return;
    }
    const auto some = [&](const auto& what) {
      return std::any_of(here.current.begin(), here.current.end(), what) ||
             std::any_of(here.old.begin(), here.old.end(), what);
    };
    ++status.desired;
    status.current += any ? 1 : 0;
    status.updated += here.current.empty() ? 0 : 1;
    status.ready += some([](const PodPtr& pod) { return pod->ready(); }) ? 1 : 0;
    status.available += some([this](const PodPtr& pod) { return available(*pod); }) ? 1 : 0;
  }

  void remove_all(const std::vector<PodPtr>& pods) {
    plan_.remove.insert(plan_.remove.end(), pods.begin(), pods.end());
  }
  // All but the first `keep`.
  void remove_from(std::vector<PodPtr>& pods, std::size_t keep) {
    if (pods.size() <= keep) return;
    const auto from = pods.begin() + static_cast<std::ptrdiff_t>(keep);
    plan_.remove.insert(plan_.remove.end(), from, pods.end());
    pods.resize(keep);
  }

  // The old Pod goes, and the node is without one until the next is up. Those that are of no use
  // cost nothing.
  void replace(std::int64_t may_be_missing) {
    std::int64_t missing = plan_.status.unavailable;
    for (const Outdated& one : outdated_) {
      const bool useful = one.runs && one.here.current.empty() && available(*one.here.old.front());
      if (useful && missing >= may_be_missing) continue;
      missing += useful ? 1 : 0;
      remove_all(one.here.old);
    }
  }

  // The new Pod comes first, and the old one goes when it is available.
  void replace_beside(std::int64_t most) {
    std::int64_t beside = 0;
    for (const Outdated& one : outdated_) beside += one.here.current.empty() ? 0 : 1;
    for (const Outdated& one : outdated_) {
      const OnNode& here = one.here;
      const bool replaced = !here.current.empty() && available(*here.current.front());
      const bool useless = here.current.empty() && !available(*here.old.front());
      if (replaced || useless || !one.runs) {
        remove_all(here.old);
      } else if (here.current.empty() && beside < most && !here.ending) {
        plan_.create.push_back(one.node);
        ++beside;
      }
    }
  }

  const DaemonSet& set_;
  const std::string& hash_;
  const Time now_;
  DaemonSetPlan plan_;
  std::vector<Outdated> outdated_;
};

}  // namespace

NodeFit daemon_fit(const DaemonSet& set, const Node& node) {
  const Json& pod_template = *set.pod_template;
  if (!fits_selector(pod_template, node) || !fits_affinity(pod_template, node)) return {};
  const auto tolerations =
      decode_tolerations({{"spec", {{"tolerations", tolerations_of(pod_template)}}}});
  NodeFit out{true, true};
  for (const Taint& taint : node.taints) {
    if (find_toleration(tolerations, taint) != nullptr) continue;
    if (taint.effect == kNoSchedule || taint.effect == kNoExecute) out.runs = false;
    if (taint.effect == kNoExecute) out.keeps = false;
  }
  return out;
}

DaemonSetPlan compute_daemon_set(const DaemonSet& set, const std::vector<NodePtr>& nodes,
                                 const std::vector<PodPtr>& owned, const std::string& hash,
                                 Time now) {
  std::map<std::string, std::vector<PodPtr>> by_node;
  for (const PodPtr& pod : owned) by_node[pod->node_name].push_back(pod);
  Planner planner(set, hash, now);
  for (const NodePtr& node : nodes) planner.place(*node, by_node[node->meta.name]);
  return planner.finish();
}

Object daemon_pod(const DaemonSet& set, const std::string& node, const std::string& hash) {
  Object pod = pod_from_template(resources::kDaemonSets, set.meta, *set.pod_template);
  Json& json = pod.json();
  json["metadata"]["labels"][kRevisionHashLabel] = hash;
  json["spec"]["tolerations"] = tolerations_of(*set.pod_template);
  json["spec"]["nodeName"] = node;
  return pod;
}

}  // namespace coracle
