// What a Pod may ask of its node and of its company there, after upstream's validation of affinity,
// topologySpreadConstraints and schedulingGates.
#include <coracle/labels.h>

#include <nlohmann/json.hpp>
#include <set>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr const char* kRequired = "requiredDuringSchedulingIgnoredDuringExecution";
constexpr const char* kPreferred = "preferredDuringSchedulingIgnoredDuringExecution";

void check_requirement(const Json& one, const std::string& path, FieldErrors& errors) {
  const std::string op = text_in(one, "operator");
  const std::size_t values = array_in(one, "values").size();
  if (op == "In" || op == "NotIn") {
    if (values == 0)
      errors.required(path + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
  } else if (op == "Exists" || op == "DoesNotExist") {
    if (values > 0)
      errors.forbidden(path + ".values",
                       "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  } else if (op == "Gt" || op == "Lt") {
    if (values != 1)
      errors.required(path + ".values",
                      "must be specified single value when `operator` is 'Lt' or 'Gt'");
  } else {
    errors.invalid(path + ".operator", op, "not a valid selector operator");
  }
  if (const std::string problem = qualified_name_problem(text_in(one, "key")); !problem.empty())
    errors.invalid(path + ".key", text_in(one, "key"), problem);
}

void check_node_term(const Json& term, const std::string& path, FieldErrors& errors) {
  const Json& labels = array_in(term, "matchExpressions");
  for (std::size_t i = 0; i < labels.size(); ++i)
    check_requirement(labels[i], indexed(path + ".matchExpressions", i), errors);
  const Json& fields = array_in(term, "matchFields");
  for (std::size_t i = 0; i < fields.size(); ++i)
    if (text_in(fields[i], "key") != "metadata.name")
      errors.invalid(indexed(path + ".matchFields", i) + ".key", text_in(fields[i], "key"),
                     "not a valid field selector key");
}

void check_weight(const Json& weighted, const std::string& path, FieldErrors& errors) {
  const std::int64_t weight = number_in(weighted, "weight");
  if (weight < 1 || weight > 100)
    errors.invalid(path + ".weight", weight, "must be in the range 1-100");
}

void check_node_affinity(const Json& affinity, const std::string& path, FieldErrors& errors) {
  if (has(affinity, kRequired)) {
    const std::string field = path + "." + kRequired + ".nodeSelectorTerms";
    const Json& terms = array_in(object_at(affinity, kRequired), "nodeSelectorTerms");
    if (terms.empty()) errors.required(field, "must have at least one node selector term");
    for (std::size_t i = 0; i < terms.size(); ++i)
      check_node_term(terms[i], indexed(field, i), errors);
  }
  const Json& preferred = array_in(affinity, kPreferred);
  for (std::size_t i = 0; i < preferred.size(); ++i) {
    const std::string field = indexed(path + "." + kPreferred, i);
    check_weight(preferred[i], field, errors);
    check_node_term(object_at(preferred[i], "preference"), field + ".preference", errors);
  }
}

void check_selector(const Json& holder, const char* key, const std::string& path,
                    FieldErrors& errors) {
  if (!has(holder, key)) return;
  const auto parsed = LabelSelector::from_json(holder.at(key));
  if (!parsed) errors.invalid(path + "." + key, holder.at(key), parsed.error().message);
}

void check_pod_term(const Json& term, const std::string& path, FieldErrors& errors) {
  if (text_in(term, "topologyKey").empty())
    errors.required(path + ".topologyKey", "can not be empty");
  check_selector(term, "labelSelector", path, errors);
  check_selector(term, "namespaceSelector", path, errors);
}

void check_pod_affinity(const Json& affinity, const std::string& path, FieldErrors& errors) {
  const Json& required = array_in(affinity, kRequired);
  for (std::size_t i = 0; i < required.size(); ++i)
    check_pod_term(required[i], indexed(path + "." + kRequired, i), errors);
  const Json& preferred = array_in(affinity, kPreferred);
  for (std::size_t i = 0; i < preferred.size(); ++i) {
    const std::string field = indexed(path + "." + kPreferred, i);
    check_weight(preferred[i], field, errors);
    check_pod_term(object_at(preferred[i], "podAffinityTerm"), field + ".podAffinityTerm", errors);
  }
}

void check_spread(const Json& one, const std::string& path, FieldErrors& errors) {
  const std::string when = text_in(one, "whenUnsatisfiable");
  if (number_in(one, "maxSkew") <= 0)
    errors.invalid(path + ".maxSkew", number_in(one, "maxSkew"), "must be greater than zero");
  if (text_in(one, "topologyKey").empty())
    errors.required(path + ".topologyKey", "can not be empty");
  if (when != "DoNotSchedule" && when != "ScheduleAnyway")
    errors.not_supported(path + ".whenUnsatisfiable", when, {"DoNotSchedule", "ScheduleAnyway"});
  if (has(one, "minDomains")) {
    if (number_in(one, "minDomains") <= 0)
      errors.invalid(path + ".minDomains", one.at("minDomains"), "must be greater than zero");
    if (when == "ScheduleAnyway")
      errors.invalid(path + ".minDomains", one.at("minDomains"),
                     "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "
                     "ScheduleAnyway");
  }
  check_selector(one, "labelSelector", path, errors);
}

}  // namespace

void validate_placement(const Json& spec, const std::string& path, FieldErrors& errors) {
  const Json& affinity = object_at(spec, "affinity");
  const std::string field = path + ".affinity";
  check_node_affinity(object_at(affinity, "nodeAffinity"), field + ".nodeAffinity", errors);
  for (const char* kind : {"podAffinity", "podAntiAffinity"})
    check_pod_affinity(object_at(affinity, kind), field + "." + kind, errors);
  std::set<std::string> pairs;
  const Json& spread = array_in(spec, "topologySpreadConstraints");
  for (std::size_t i = 0; i < spread.size(); ++i) {
    const std::string one = indexed(path + ".topologySpreadConstraints", i);
    check_spread(spread[i], one, errors);
    const std::string pair = "{" + text_in(spread[i], "topologyKey") + ", " +
                             text_in(spread[i], "whenUnsatisfiable") + "}";
    if (!pairs.insert(pair).second)
      errors.duplicate(one + ".{topologyKey, whenUnsatisfiable}", pair);
  }
  if (!text_in(spec, "nodeName").empty() && !array_in(spec, "schedulingGates").empty())
    errors.forbidden(path + ".nodeName",
                     "cannot be set until all schedulingGates have been cleared");
}

void validate_gates_update(const Json& spec, const Json& old, FieldErrors& errors) {
  std::set<std::string> before;
  for (const Json& gate : array_in(old, "schedulingGates")) before.insert(text_in(gate, "name"));
  for (const Json& gate : array_in(spec, "schedulingGates"))
    if (const std::string name = text_in(gate, "name"); !before.contains(name))
      errors.forbidden("spec.schedulingGates",
                       "only deletion is allowed, but found new scheduling gate '" + name + "'");
}

}  // namespace coracle
