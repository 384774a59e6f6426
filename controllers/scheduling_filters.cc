#include "scheduling_filters.h"

#include <algorithm>
#include <limits>

namespace coracle {
namespace {

Misfit lasting(std::string reason) {
  return {{std::move(reason)}, true};
}
Misfit passing(std::string reason) {
  return {{std::move(reason)}, false};
}

const Taint* untolerated(const Pod& pod, const std::vector<Taint>& taints) {
  const auto found = std::find_if(taints.begin(), taints.end(), [&](const Taint& taint) {
    return (taint.effect == kNoSchedule || taint.effect == kNoExecute) &&
           find_toleration(pod.tolerations, taint) == nullptr;
  });
  return found == taints.end() ? nullptr : &*found;
}

bool ports_free(const Pod& pod, const NodeUse& use) {
  const auto wanted = host_ports(pod);
  return std::none_of(wanted.begin(), wanted.end(), [&](const HostPort& port) {
    return std::any_of(use.ports.begin(), use.ports.end(), [&](const auto& taken) {
      const HostPort& its = taken.first;
      return its.port == port.port && its.protocol == port.protocol &&
             (its.ip == port.ip || its.ip.empty() || port.ip.empty());
    });
  });
}

// A node that has not said what it has takes everything.
Misfit resource_misfit(const Pod& pod, const NodeUse& use) {
  Misfit out;
  if (!use.node->allocatable) return out;
  const ResourceAmounts& wanted = requests_of(pod);
  const ResourceAmounts& has = *use.node->allocatable;
  const ResourceAmounts& taken = use.requested;
  const auto check = [&](std::int64_t want, std::int64_t used, std::int64_t all, std::string why) {
    if (want <= 0 || want <= all - used) return;
    out.reasons.push_back(std::move(why));
    if (want > all) out.lasting = true;
  };
  if (has.pods - taken.pods < 1) out.reasons.emplace_back("Too many pods");
  check(wanted.cpu, taken.cpu, has.cpu, "Insufficient cpu");
  check(wanted.memory, taken.memory, has.memory, "Insufficient memory");
  check(wanted.ephemeral_storage, taken.ephemeral_storage, has.ephemeral_storage,
        "Insufficient ephemeral-storage");
  const auto amount = [](const ResourceAmounts& of, const std::string& name) {
    const auto found = of.others.find(name);
    return found == of.others.end() ? 0 : found->second;
  };
  for (const auto& [name, want] : wanted.others)
    check(want, amount(taken, name), amount(has, name), "Insufficient " + name);
  return out;
}

bool matches_group(const PodTerm& term, const PodGroup& group, const SchedulingState& state) {
  return term.matches(group.ns, state.namespace_labels(group.ns), group.labels);
}

bool matches_pod(const PodTerm& term, const Pod& pod, const SchedulingState& state) {
  return term.matches(pod.meta.ns, state.namespace_labels(pod.meta.ns), pod.meta.labels);
}

std::int64_t count_in(const Domains& domains, const std::string& value) {
  const auto found = domains.find(value);
  return found == domains.end() ? 0 : found->second;
}

}  // namespace

std::vector<Taint> effective_taints(const Node& node) {
  std::vector<Taint> taints = node.taints;
  if (node.ready) return taints;
  const Taint implied{node.condition("Ready") == "Unknown" ? kTaintUnreachable : kTaintNotReady, "",
                      kNoSchedule, ""};
  const bool there = std::any_of(taints.begin(), taints.end(),
                                 [&](const Taint& t) { return t.same_place(implied); });
  if (!there) taints.push_back(implied);
  return taints;
}

bool matches_node_affinity(const Pod& pod, const Node& node) {
  for (const auto& [key, value] : pod.node_selector) {
    const std::string* label = label_of(node, key);
    if (label == nullptr || *label != value) return false;
  }
  if (pod.placement == nullptr || !pod.placement->nodes) return true;
  const auto& terms = *pod.placement->nodes;
  return std::any_of(terms.begin(), terms.end(),
                     [&](const NodeTerm& term) { return term.matches(node.meta); });
}

Misfit node_misfit(const Pod& pod, const NodeUse& use) {
  const Node& node = *use.node;
  const Taint cordon{kTaintUnschedulable, "", kNoSchedule, ""};
  if (node.unschedulable && find_toleration(pod.tolerations, cordon) == nullptr)
    return lasting("node(s) were unschedulable");
  const auto taints = effective_taints(node);
  if (const Taint* taint = untolerated(pod, taints))
    return lasting("node(s) had untolerated taint {" + taint->key + ": " + taint->value + "}");
  if (!matches_node_affinity(pod, node))
    return lasting("node(s) didn't match Pod's node affinity/selector");
  if (!ports_free(pod, use))
    return passing("node(s) didn't have free ports for the requested pod ports");
  return resource_misfit(pod, use);
}

const std::string* label_of(const Node& node, const std::string& key) {
  const auto found = node.meta.labels.find(key);
  return found == node.meta.labels.end() ? nullptr : &found->second;
}

void add_domains(const PodGroup& group, const std::string& key, const SchedulingState& state,
                 Domains& out) {
  for (const auto& [name, count] : group.on)
    if (const Node* node = state.node(name))
      if (const std::string* value = label_of(*node, key)) out[*value] += count;
}

bool counts_for(const SpreadConstraint& constraint, const Pod& pod, const Node& node) {
  return (!constraint.honor_affinity || matches_node_affinity(pod, node)) &&
         (!constraint.honor_taints || untolerated(pod, effective_taints(node)) == nullptr);
}

NeighbourFilter::NeighbourFilter(const Pod& pod, const SchedulingState& state)
    : pod_(pod), state_(state) {
  count_terms();
  count_spread();
}

void NeighbourFilter::count_terms() {
  static const PodTerms kNone;
  const bool own = pod_.placement != nullptr && pod_.placement->terms != nullptr;
  const PodTerms& terms = own ? *pod_.placement->terms : kNone;
  near_.resize(terms.near.size());
  apart_.resize(terms.apart.size());
  bool any = false;
  for (const auto& entry : state_.groups()) {
    const PodGroup& group = entry.second;
    const bool all_near =
        !terms.near.empty() &&
        std::all_of(terms.near.begin(), terms.near.end(),
                    [&](const PodTerm& term) { return matches_group(term, group, state_); });
    for (std::size_t i = 0; all_near && i < terms.near.size(); ++i) {
      add_domains(group, terms.near[i].topology_key, state_, near_[i]);
      any = any || !near_[i].empty();
    }
    for (std::size_t i = 0; i < terms.apart.size(); ++i)
      if (matches_group(terms.apart[i], group, state_))
        add_domains(group, terms.apart[i].topology_key, state_, apart_[i]);
    if (group.terms == nullptr) continue;
    for (const PodTerm& term : group.terms->apart)
      if (matches_pod(term, pod_, state_))
        add_domains(group, term.topology_key, state_, closed_[term.topology_key]);
  }
  first_of_its_kind_ =
      !any && std::all_of(terms.near.begin(), terms.near.end(),
                          [&](const PodTerm& term) { return matches_pod(term, pod_, state_); });
}

void NeighbourFilter::count_spread() {
  if (pod_.placement == nullptr) return;
  std::vector<const SpreadConstraint*> required;
  for (const SpreadConstraint& constraint : pod_.placement->spread)
    if (constraint.required) required.push_back(&constraint);
  for (const SpreadConstraint* constraint : required) {
    Spread spread{constraint, {}, std::numeric_limits<std::int32_t>::max()};
    const auto counts = [&](const Node& node) {
      return std::all_of(required.begin(), required.end(),
                         [&](const SpreadConstraint* one) {
                           return label_of(node, one->topology_key) != nullptr;
                         }) &&
             counts_for(*constraint, pod_, node);
    };
    for (const auto& [name, use] : state_.nodes())
      if (use.node != nullptr && counts(*use.node))
        spread.counts[*label_of(*use.node, constraint->topology_key)] += 0;
    for (const auto& [key, group] : state_.groups()) {
      if (group.ns != pod_.meta.ns || group.ending || !constraint->selects(group.labels)) continue;
      for (const auto& [name, count] : group.on)
        if (const Node* node = state_.node(name); node != nullptr && counts(*node))
          spread.counts[*label_of(*node, constraint->topology_key)] += count;
    }
    for (const auto& [value, count] : spread.counts) spread.least = std::min(spread.least, count);
    if (static_cast<std::int64_t>(spread.counts.size()) < constraint->min_domains) spread.least = 0;
    spread_.push_back(std::move(spread));
  }
}

Misfit NeighbourFilter::spread_misfit(const Node& node) const {
  for (const Spread& spread : spread_) {
    const std::string* value = label_of(node, spread.constraint->topology_key);
    if (value == nullptr)
      return lasting(
          "node(s) didn't match pod topology spread constraints (missing required label)");
    const std::int64_t self = spread.constraint->selects(pod_.meta.labels) ? 1 : 0;
    if (count_in(spread.counts, *value) + self - spread.least > spread.constraint->max_skew)
      return passing("node(s) didn't match pod topology spread constraints");
  }
  return {};
}

bool NeighbourFilter::near_enough(const Node& node) const {
  bool all = true;
  for (std::size_t i = 0; i < near_.size(); ++i) {
    const std::string* value = label_of(node, pod_.placement->terms->near[i].topology_key);
    if (value == nullptr) return false;
    all = all && count_in(near_[i], *value) > 0;
  }
  return all || first_of_its_kind_;
}

Misfit NeighbourFilter::misfit(const Node& node) const {
  if (Misfit spread = spread_misfit(node); !spread.fits()) return spread;
  if (!near_enough(node)) return lasting("node(s) didn't match pod affinity rules");
  for (std::size_t i = 0; i < apart_.size(); ++i) {
    const std::string* value = label_of(node, pod_.placement->terms->apart[i].topology_key);
    if (value != nullptr && count_in(apart_[i], *value) > 0)
      return passing("node(s) didn't match pod anti-affinity rules");
  }
  for (const auto& [key, domains] : closed_) {
    const std::string* value = label_of(node, key);
    if (value != nullptr && count_in(domains, *value) > 0)
      return passing("node(s) didn't satisfy existing pods anti-affinity rules");
  }
  return {};
}

}  // namespace coracle
