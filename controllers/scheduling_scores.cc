#include "scheduling_scores.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <set>

#include "scheduling_filters.h"
#include "workload.h"

namespace coracle {
namespace {

constexpr double kMost = 100;
using Nodes = std::vector<const NodeUse*>;
using Scores = std::vector<double>;

double part(std::int64_t of, std::int64_t whole) {
  return whole <= 0 ? 0 : static_cast<double>(of) / static_cast<double>(whole);
}

// The largest becomes 100; or, reversed, 0 does and the largest becomes 0.
void normalize(Scores& scores, bool reversed) {
  const double most = scores.empty() ? 0 : *std::max_element(scores.begin(), scores.end());
  for (double& score : scores) {
    if (most > 0) score = kMost * score / most;
    if (reversed) score = kMost - score;
  }
}

// Points by the value of a node label.
using Points = std::map<std::string, std::map<std::string, double>>;

void add_points(const PodTerm& term, const PodGroup& group, const SchedulingState& state,
                double each, Points& out) {
  Domains domains;
  add_domains(group, term.topology_key, state, domains);
  for (const auto& [value, count] : domains)
    out[term.topology_key][value] += each * static_cast<double>(count);
}

// One way of spreading: over the values of `label`, counting the Pods that `counts`.
struct Rule {
  std::function<std::optional<std::string>(const Node&)> domain;
  std::function<bool(const PodGroup&)> counts;
  std::function<bool(const Node&)> takes_part;
  std::int64_t max_skew = 1;
};

std::function<std::optional<std::string>(const Node&)> by_label(const std::string& key) {
  return [key](const Node& node) {
    const std::string* value = label_of(node, key);
    return value == nullptr ? std::nullopt : std::optional(*value);
  };
}

std::vector<Rule> own_rules(const Pod& pod) {
  std::vector<Rule> out;
  for (const SpreadConstraint& constraint : pod.placement->spread) {
    if (constraint.required) continue;
    out.push_back({by_label(constraint.topology_key),
                   [&](const PodGroup& group) { return constraint.selects(group.labels); },
                   [&](const Node& node) { return counts_for(constraint, pod, node); },
                   constraint.max_skew});
  }
  return out;
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): what std::function holds

// Upstream's defaults; a node is a host of its own also without the label that says so.
std::vector<Rule> default_rules(const Pod& pod, const std::vector<LabelSelector>& services) {
  const OwnerReference* owner = controller_of(pod.meta);
  if (owner == nullptr && services.empty()) return {};
  const auto alike = [&services, owner](const PodGroup& group) {
    return (owner != nullptr && group.controller == owner->uid) ||
           std::any_of(services.begin(), services.end(), [&](const LabelSelector& selector) {
             return selector.matches(group.labels);
           });
  };
  const auto all = [](const Node&) { return true; };
  return {{[](const Node& node) { return std::optional(node.meta.name); }, alike, all, 3},
          {by_label(kLabelZone), alike, all, 5}};
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): what std::function holds

// Adds what the rule says of each node. Whether it says anything of the node: `counted`.
void apply(const Rule& rule, const Pod& pod, const Nodes& nodes, const SchedulingState& state,
           Scores& scores, std::vector<bool>& counted) {
  std::set<std::string> values;
  for (const NodeUse* use : nodes)
    if (const auto value = rule.domain(*use->node)) values.insert(*value);
  const double weight = std::log(static_cast<double>(values.size()) + 2);
  Domains domains;
  for (const auto& [key, group] : state.groups()) {
    if (group.ns != pod.meta.ns || group.ending || !rule.counts(group)) continue;
    for (const auto& [name, count] : group.on)
      if (const Node* node = state.node(name); node != nullptr && rule.takes_part(*node))
        if (const auto value = rule.domain(*node)) domains[*value] += count;
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto value = rule.domain(*nodes[i]->node);
    if (!value) continue;
    counted[i] = true;
    const auto found = domains.find(*value);
    const std::int64_t count = found == domains.end() ? 0 : found->second;
    scores[i] += static_cast<double>(count) * weight + static_cast<double>(rule.max_skew - 1);
  }
}

}  // namespace

Scores score_taints(const Pod& pod, const Nodes& nodes) {
  Scores out;
  for (const NodeUse* use : nodes) {
    const auto& taints = use->node->taints;
    out.push_back(
        static_cast<double>(std::count_if(taints.begin(), taints.end(), [&](const Taint& taint) {
          return taint.effect == kPreferNoSchedule &&
                 find_toleration(pod.tolerations, taint) == nullptr;
        })));
  }
  normalize(out, true);
  return out;
}

Scores score_node_affinity(const Pod& pod, const Nodes& nodes) {
  Scores out(nodes.size(), 0);
  if (pod.placement == nullptr) return out;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    for (const NodeTerm& term : pod.placement->preferred_nodes)
      if (term.matches(nodes[i]->node->meta)) out[i] += static_cast<double>(term.weight);
  normalize(out, false);
  return out;
}

// Preferences of both sides count; a Pod that must be near such Pods likes one more, too.
Scores score_pod_affinity(const Pod& pod, const Nodes& nodes, const SchedulingState& state) {
  const auto terms = pod.placement == nullptr ? nullptr : pod.placement->terms;
  Points points;
  for (const auto& [key, group] : state.groups()) {
    if (terms != nullptr)
      for (const PodTerm& term : terms->preferred)
        if (term.matches(group.ns, state.namespace_labels(group.ns), group.labels))
          add_points(term, group, state, static_cast<double>(term.weight), points);
    if (group.terms == nullptr) continue;
    const Labels& own_namespace = state.namespace_labels(pod.meta.ns);
    for (const PodTerm& term : group.terms->preferred)
      if (term.matches(pod.meta.ns, own_namespace, pod.meta.labels))
        add_points(term, group, state, static_cast<double>(term.weight), points);
    for (const PodTerm& term : group.terms->near)
      if (term.matches(pod.meta.ns, own_namespace, pod.meta.labels))
        add_points(term, group, state, 1, points);
  }
  Scores out(nodes.size(), 0);
  if (points.empty()) return out;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    for (const auto& [key, by_value] : points)
      if (const std::string* value = label_of(*nodes[i]->node, key))
        if (const auto found = by_value.find(*value); found != by_value.end())
          out[i] += found->second;
  const auto [least, most] = std::minmax_element(out.begin(), out.end());
  const double from = *least, range = *most - *least;
  for (double& score : out) score = range > 0 ? kMost * (score - from) / range : 0;
  return out;
}

Scores score_spread(const Pod& pod, const Nodes& nodes, const SchedulingState& state,
                    const std::vector<LabelSelector>& services) {
  const bool given = pod.placement != nullptr && !pod.placement->spread.empty();
  const auto rules = given ? own_rules(pod) : default_rules(pod, services);
  Scores out(nodes.size(), 0);
  if (rules.empty()) return out;
  std::vector<bool> counted(nodes.size(), false);
  for (const Rule& rule : rules) apply(rule, pod, nodes, state, out, counted);
  double least = 0, most = 0;
  bool any = false;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!counted[i]) continue;
    least = any ? std::min(least, out[i]) : out[i];
    most = any ? std::max(most, out[i]) : out[i];
    any = true;
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!counted[i]) {
      out[i] = 0;
    } else {
      out[i] = most > 0 ? kMost * (most + least - out[i]) / most : kMost;
    }
  }
  return out;
}

double score_free(const Pod& pod, const NodeUse& use) {
  if (!use.node->allocatable) return 0;
  const ResourceAmounts& has = *use.node->allocatable;
  const ResourceAmounts more = weight_of(pod);
  const auto free = [](std::int64_t used, std::int64_t all) {
    return std::max(0.0, kMost * part(all - used, all));
  };
  return (free(use.weight.cpu + more.cpu, has.cpu) +
          free(use.weight.memory + more.memory, has.memory)) /
         2;
}

double score_balance(const Pod& pod, const NodeUse& use) {
  const ResourceAmounts& more = requests_of(pod);
  if (!use.node->allocatable || (more.cpu == 0 && more.memory == 0)) return 0;
  const ResourceAmounts& has = *use.node->allocatable;
  const double cpu = std::min(1.0, part(use.requested.cpu + more.cpu, has.cpu));
  const double memory = std::min(1.0, part(use.requested.memory + more.memory, has.memory));
  return kMost * (1 - std::abs(cpu - memory) / 2);
}

Scores score_nodes(const Pod& pod, const Nodes& nodes, const SchedulingState& state,
                   const std::vector<LabelSelector>& services) {
  Scores out(nodes.size(), 0);
  const auto add = [&](const Scores& scores, double weight) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += weight * scores[i];
  };
  add(score_taints(pod, nodes), 3);
  add(score_node_affinity(pod, nodes), 2);
  add(score_pod_affinity(pod, nodes, state), 2);
  add(score_spread(pod, nodes, state, services), 2);
  for (std::size_t i = 0; i < nodes.size(); ++i)
    out[i] += score_free(pod, *nodes[i]) + score_balance(pod, *nodes[i]);
  return out;
}

}  // namespace coracle
