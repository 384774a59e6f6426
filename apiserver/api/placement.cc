#include <coracle/api/placement.h>
#include <coracle/quantity.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

using Operator = LabelSelector::Operator;
using Requirement = LabelSelector::Requirement;

const Json& list_at(const Json& json, std::initializer_list<const char*> path) {
  static const Json kNone = Json::array();
  const Json* found = json_find(json, path);
  return found != nullptr && found->is_array() ? *found : kNone;
}

// Whether every requirement of the list could be read.
bool read_requirements(const Json& list, std::vector<Requirement>& out) {
  static const std::map<std::string, Operator> kOperators = {
      {"In", Operator::In},          {"NotIn", Operator::NotIn},
      {"Exists", Operator::Exists},  {"DoesNotExist", Operator::DoesNotExist},
      {"Gt", Operator::GreaterThan}, {"Lt", Operator::LessThan}};
  return std::all_of(list.begin(), list.end(), [&](const Json& one) {
    const auto op = kOperators.find(json_string(one, {"operator"}));
    if (op == kOperators.end()) return false;
    out.push_back({json_string(one, {"key"}), op->second, json_string_list(one, {"values"})});
    return true;
  });
}

// The document's labelSelector, narrowed to the Pod's own values of the keys in `match`, and away
// from those in `mismatch`. A selector that is none matches nothing.
std::optional<LabelSelector> read_selector(const Json& json, const Labels& own) {
  const Json* selector = json_find(json, {"labelSelector"});
  if (selector == nullptr || !selector->is_object()) return std::nullopt;
  const auto parsed = LabelSelector::from_json(*selector);
  if (!parsed) return std::nullopt;
  std::vector<Requirement> all = parsed->requirements();
  const auto narrow = [&](const char* list, Operator op) {
    for (const std::string& key : json_string_list(json, {list}))
      if (const auto value = own.find(key); value != own.end())
        all.push_back({key, op, {value->second}});
  };
  narrow("matchLabelKeys", Operator::In);
  narrow("mismatchLabelKeys", Operator::NotIn);
  return LabelSelector(std::move(all));
}

PodTerm read_pod_term(const Json& json, const std::string& ns, const Labels& own) {
  PodTerm out;
  out.topology_key = json_string(json, {"topologyKey"});
  out.selector = read_selector(json, own);
  out.namespaces = json_string_list(json, {"namespaces"});
  if (const Json* selector = json_find(json, {"namespaceSelector"});
      selector != nullptr && selector->is_object()) {
    if (auto parsed = LabelSelector::from_json(*selector)) out.namespace_selector = *parsed;
  } else if (out.namespaces.empty()) {
    out.namespaces = {ns};
  }
  return out;
}

std::shared_ptr<const PodTerms> read_pod_terms(const Json& pod) {
  PodTerms out;
  const std::string ns = json_string(pod, {"metadata", "namespace"});
  const Labels own = json_string_map(pod, {"metadata", "labels"});
  for (const char* kind : {"podAffinity", "podAntiAffinity"}) {
    const Json* affinity = json_find(pod, {"spec", "affinity", kind});
    if (affinity == nullptr || !affinity->is_object()) continue;
    const bool apart = std::string(kind) == "podAntiAffinity";
    for (const Json& term : list_at(*affinity, {"requiredDuringSchedulingIgnoredDuringExecution"}))
      (apart ? out.apart : out.near).push_back(read_pod_term(term, ns, own));
    for (const Json& weighted :
         list_at(*affinity, {"preferredDuringSchedulingIgnoredDuringExecution"})) {
      const Json* term = json_find(weighted, {"podAffinityTerm"});
      if (term == nullptr) continue;
      out.preferred.push_back(read_pod_term(*term, ns, own));
      out.preferred.back().weight = json_int(weighted, {"weight"}) * (apart ? -1 : 1);
    }
    out.text += affinity->dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  if (out.near.empty() && out.apart.empty() && out.preferred.empty()) return nullptr;
  return std::make_shared<const PodTerms>(std::move(out));
}

SpreadConstraint read_spread(const Json& json, const Labels& own) {
  SpreadConstraint out;
  out.topology_key = json_string(json, {"topologyKey"});
  out.max_skew = json_int(json, {"maxSkew"}, 1);
  out.min_domains = json_int(json, {"minDomains"}, 1);
  out.required = json_string(json, {"whenUnsatisfiable"}) != "ScheduleAnyway";
  out.selector = read_selector(json, own);
  out.honor_affinity = json_string(json, {"nodeAffinityPolicy"}) != "Ignore";
  out.honor_taints = json_string(json, {"nodeTaintsPolicy"}) == "Honor";
  return out;
}

void read_node_affinity(const Json& pod, Placement& out) {
  const Json* affinity = json_find(pod, {"spec", "affinity", "nodeAffinity"});
  if (affinity == nullptr || !affinity->is_object()) return;
  if (const Json* required =
          json_find(*affinity, {"requiredDuringSchedulingIgnoredDuringExecution"});
      required != nullptr && required->is_object()) {
    out.nodes.emplace();
    for (const Json& term : list_at(*required, {"nodeSelectorTerms"}))
      out.nodes->push_back(decode_node_term(term));
  }
  for (const Json& weighted :
       list_at(*affinity, {"preferredDuringSchedulingIgnoredDuringExecution"})) {
    const Json* preference = json_find(weighted, {"preference"});
    if (preference == nullptr) continue;
    out.preferred_nodes.push_back(decode_node_term(*preference));
    out.preferred_nodes.back().weight = json_int(weighted, {"weight"});
  }
}

ResourceAmounts requests_of(const Json& container) {
  const Json* requests = json_find(container, {"resources", "requests"});
  return requests == nullptr ? ResourceAmounts{} : decode_amounts(*requests);
}

}  // namespace

ResourceAmounts& ResourceAmounts::operator+=(const ResourceAmounts& other) {
  cpu += other.cpu;
  memory += other.memory;
  ephemeral_storage += other.ephemeral_storage;
  pods += other.pods;
  for (const auto& [name, amount] : other.others) others[name] += amount;
  return *this;
}

ResourceAmounts& ResourceAmounts::operator-=(const ResourceAmounts& other) {
  cpu -= other.cpu;
  memory -= other.memory;
  ephemeral_storage -= other.ephemeral_storage;
  pods -= other.pods;
  for (const auto& [name, amount] : other.others)
    if ((others[name] -= amount) == 0) others.erase(name);
  return *this;
}

void ResourceAmounts::raise_to(const ResourceAmounts& other) {
  cpu = std::max(cpu, other.cpu);
  memory = std::max(memory, other.memory);
  ephemeral_storage = std::max(ephemeral_storage, other.ephemeral_storage);
  pods = std::max(pods, other.pods);
  for (const auto& [name, amount] : other.others) others[name] = std::max(others[name], amount);
}

ResourceAmounts decode_amounts(const Json& list) {
  ResourceAmounts out;
  if (!list.is_object()) return out;
  for (const auto& [name, amount] : list.items()) {
    const std::int64_t value = quantity(amount, name == "cpu" ? 1000 : 1);
    if (name == "cpu") {
      out.cpu = value;
    } else if (name == "memory") {
      out.memory = value;
    } else if (name == "ephemeral-storage") {
      out.ephemeral_storage = value;
    } else if (name == "pods") {
      out.pods = value;
    } else if (value != 0) {
      out.others[name] = value;
    }
  }
  return out;
}

ResourceAmounts decode_requests(const Json& pod) {
  ResourceAmounts running, sidecars, starting;
  for (const Json& container : list_at(pod, {"spec", "initContainers"})) {
    ResourceAmounts its = requests_of(container);
    if (json_string(container, {"restartPolicy"}) == "Always") {
      sidecars += its;
      starting.raise_to(sidecars);
    } else {
      its += sidecars;
      starting.raise_to(its);
    }
  }
  for (const Json& container : list_at(pod, {"spec", "containers"}))
    running += requests_of(container);
  running += sidecars;
  running.raise_to(starting);
  if (const Json* overhead = json_find(pod, {"spec", "overhead"}))
    running += decode_amounts(*overhead);
  running.pods = 1;
  return running;
}

bool NodeTerm::matches(const Meta& node) const {
  return !never && labels.matches(node.labels) &&
         (fields.empty() || fields.matches({{"metadata.name", node.name}}));
}

NodeTerm decode_node_term(const Json& term) {
  std::vector<Requirement> labels, fields;
  NodeTerm out;
  out.never = !read_requirements(list_at(term, {"matchExpressions"}), labels) ||
              !read_requirements(list_at(term, {"matchFields"}), fields) ||
              (labels.empty() && fields.empty());
  out.labels = LabelSelector(std::move(labels));
  out.fields = LabelSelector(std::move(fields));
  return out;
}

bool PodTerm::matches(const std::string& ns, const Labels& ns_labels, const Labels& pod) const {
  if (!selector || !selector->matches(pod)) return false;
  return std::find(namespaces.begin(), namespaces.end(), ns) != namespaces.end() ||
         (namespace_selector && namespace_selector->matches(ns_labels));
}

std::shared_ptr<const Placement> decode_placement(const Json& pod) {
  Placement out;
  out.requests = decode_requests(pod);
  read_node_affinity(pod, out);
  out.terms = read_pod_terms(pod);
  const Json& spread = list_at(pod, {"spec", "topologySpreadConstraints"});
  if (!spread.empty()) {
    const Labels own = json_string_map(pod, {"metadata", "labels"});
    for (const Json& constraint : spread) out.spread.push_back(read_spread(constraint, own));
  }
  out.gated = !list_at(pod, {"spec", "schedulingGates"}).empty();
  const bool asks = out.requests != ResourceAmounts{.pods = 1} || out.nodes || out.terms ||
                    !out.preferred_nodes.empty() || !out.spread.empty() || out.gated;
  return asks ? std::make_shared<const Placement>(std::move(out)) : nullptr;
}

}  // namespace coracle
