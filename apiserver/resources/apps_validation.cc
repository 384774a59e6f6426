// What Deployments, ReplicaSets and DaemonSets must satisfy, after upstream's apps validation.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr const char* kNegative = "must be greater than or equal to 0";

void check_not_negative(const Json& spec, const char* key, FieldErrors& errors) {
  if (number_in(spec, key) < 0) errors.invalid(std::string("spec.") + key, spec.at(key), kNegative);
}

void check_expression(const Json& expression, const std::string& path, FieldErrors& errors) {
  const std::string op = text_in(expression, "operator");
  const Json& values = array_in(expression, "values");
  if (op == "In" || op == "NotIn") {
    if (values.empty())
      errors.required(path + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
  } else if (op == "Exists" || op == "DoesNotExist") {
    if (!values.empty())
      errors.forbidden(path + ".values",
                       "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  } else {
    errors.invalid(path + ".operator", op, "not a valid selector operator");
  }
  const std::string key = text_in(expression, "key");
  if (const std::string problem = qualified_name_problem(key); !problem.empty())
    errors.invalid(path + ".key", key, problem);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::string value = values[i].is_string() ? values[i].get<std::string>() : "";
    if (const std::string problem = label_value_problem(value); !problem.empty())
      errors.invalid(indexed(path + ".values", i), value, problem);
  }
}

// The selector, and that the template's Pods are among those it selects.
void check_selector(const Json& spec, const char* kind, FieldErrors& errors) {
  if (!has(spec, "selector")) return errors.required("spec.selector");
  const Json& selector = object_at(spec, "selector");
  const std::size_t before = errors.causes().size();
  check_labels(object_at(selector, "matchLabels"), "spec.selector.matchLabels", errors);
  const Json& expressions = array_in(selector, "matchExpressions");
  for (std::size_t i = 0; i < expressions.size(); ++i)
    check_expression(expressions[i], indexed("spec.selector.matchExpressions", i), errors);
  if (object_at(selector, "matchLabels").empty() && expressions.empty())
    errors.invalid("spec.selector", selector, std::string("empty selector is invalid for ") + kind);
  if (errors.causes().size() != before) return;
  const Json& labels = object_at(object_at(object_at(spec, "template"), "metadata"), "labels");
  const auto parsed = LabelSelector::from_json(selector);
  if (parsed && !parsed->matches(json_string_map(labels, {})))
    errors.invalid("spec.template.metadata.labels", labels,
                   "`selector` does not match template `labels`");
}

void check_template(const Json& spec, const char* kind, FieldErrors& errors) {
  const Json& pod = object_at(spec, "template");
  check_labels(object_at(object_at(pod, "metadata"), "labels"), "spec.template.labels", errors);
  const Json& pod_spec = object_at(pod, "spec");
  validate_pod_spec(pod_spec, "spec.template.spec", errors);
  const std::string restart = text_in(pod_spec, "restartPolicy");
  if (restart == "OnFailure" || restart == "Never")
    errors.not_supported("spec.template.spec.restartPolicy", restart, {"Always"});
  if (has(pod_spec, "activeDeadlineSeconds"))
    errors.forbidden("spec.template.spec.activeDeadlineSeconds",
                     std::string("activeDeadlineSeconds in ") + kind + " is not Supported");
}

struct Amount {
  std::int64_t value = 0;
  bool percent = false;
  bool zero() const { return value == 0; }
};

// A count, or a part such as "25%".
Amount check_amount(const Json& pace, const char* key, const std::string& path,
                    FieldErrors& errors) {
  if (!has(pace, key)) return {};
  const Json& given = pace.at(key);
  const std::string field = path + "." + key;
  if (given.is_number_integer()) {
    const Amount out{given.get<std::int64_t>(), false};
    if (out.value < 0) errors.invalid(field, given, kNegative);
    return out;
  }
  const std::string text = given.is_string() ? given.get<std::string>() : "";
  const bool percent = text.size() >= 2 && text.size() <= 10 && text.back() == '%' &&
                       text.find_first_not_of("0123456789") == text.size() - 1;
  if (percent) return {std::stoll(text), true};
  errors.invalid(field, given,
                 "a valid percent string must be a numeric string followed by an ending '%' (e.g. "
                 "'1%',  or '93%', regex used for validation is '[0-9]+%')");
  return {1, false};  // one error is enough
}

void check_not_above_all(const Amount& amount, const Json& pace, const char* key,
                         const std::string& path, FieldErrors& errors) {
  if (amount.percent && amount.value > 100)
    errors.invalid(path + "." + key, pace.at(key), "must not be greater than 100%");
}

void check_deployment_pace(const Json& pace, FieldErrors& errors) {
  const std::string path = "spec.strategy.rollingUpdate";
  const Amount unavailable = check_amount(pace, "maxUnavailable", path, errors);
  const Amount surge = check_amount(pace, "maxSurge", path, errors);
  if (unavailable.zero() && surge.zero())
    errors.invalid(path + ".maxUnavailable", pace.value("maxUnavailable", Json(0)),
                   "may not be 0 when `maxSurge` is 0");
  check_not_above_all(unavailable, pace, "maxUnavailable", path, errors);
}

void check_daemon_set_pace(const Json& pace, FieldErrors& errors) {
  const std::string path = "spec.updateStrategy.rollingUpdate";
  const Amount unavailable = check_amount(pace, "maxUnavailable", path, errors);
  const Amount surge = check_amount(pace, "maxSurge", path, errors);
  check_not_above_all(unavailable, pace, "maxUnavailable", path, errors);
  check_not_above_all(surge, pace, "maxSurge", path, errors);
  if (!unavailable.zero() && !surge.zero())
    errors.invalid(path + ".maxSurge", pace.at("maxSurge"),
                   "may not be set when maxUnavailable is non-zero");
  if (unavailable.zero() && surge.zero())
    errors.required(path + ".maxUnavailable", "cannot be 0 when maxSurge is 0");
}

void check_strategy(const Json& spec, FieldErrors& errors) {
  const Json& strategy = object_at(spec, "strategy");
  const std::string type = text_in(strategy, "type");
  if (type == "Recreate") {
    if (has(strategy, "rollingUpdate"))
      errors.forbidden("spec.strategy.rollingUpdate",
                       "may not be specified when strategy `type` is 'Recreate'");
  } else if (type == "RollingUpdate") {
    check_deployment_pace(object_at(strategy, "rollingUpdate"), errors);
  } else {
    errors.not_supported("spec.strategy.type", type, {"Recreate", "RollingUpdate"});
  }
}

void check_update_strategy(const Json& spec, FieldErrors& errors) {
  const Json& strategy = object_at(spec, "updateStrategy");
  const std::string type = text_in(strategy, "type");
  if (type == "RollingUpdate") {
    check_daemon_set_pace(object_at(strategy, "rollingUpdate"), errors);
  } else if (type != "OnDelete") {
    errors.not_supported("spec.updateStrategy.type", type, {"RollingUpdate", "OnDelete"});
  }
}

}  // namespace

void validate_deployment(const Json& deployment, FieldErrors& errors) {
  const Json& spec = object_at(deployment, "spec");
  for (const char* key :
       {"replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"})
    check_not_negative(spec, key, errors);
  check_selector(spec, "deployment", errors);
  check_template(spec, "ReplicaSet", errors);
  check_strategy(spec, errors);
  const std::int64_t deadline = number_in(spec, "progressDeadlineSeconds", 600);
  if (deadline <= number_in(spec, "minReadySeconds"))
    errors.invalid("spec.progressDeadlineSeconds", deadline,
                   "must be greater than minReadySeconds");
}

void validate_replica_set(const Json& set, FieldErrors& errors) {
  const Json& spec = object_at(set, "spec");
  for (const char* key : {"replicas", "minReadySeconds"}) check_not_negative(spec, key, errors);
  check_selector(spec, "deployment", errors);  // upstream's word, for ReplicaSets too
  check_template(spec, "ReplicaSet", errors);
}

void validate_daemon_set(const Json& set, FieldErrors& errors) {
  const Json& spec = object_at(set, "spec");
  for (const char* key : {"minReadySeconds", "revisionHistoryLimit"})
    check_not_negative(spec, key, errors);
  check_selector(spec, "daemonset", errors);
  check_template(spec, "DaemonSet", errors);
  check_update_strategy(spec, errors);
}

void validate_workload_update(const Json& object, const Json& old, FieldErrors& errors) {
  const Json& selector = object_at(object_at(object, "spec"), "selector");
  if (selector != object_at(object_at(old, "spec"), "selector"))
    errors.invalid("spec.selector", selector, "field is immutable");
}

void validate_controller_revision(const Json& revision, FieldErrors& errors) {
  if (!has(revision, "data")) errors.required("data", "data is mandatory");
  if (number_in(revision, "revision") < 0)
    errors.invalid("revision", revision.at("revision"), "must be greater than or equal to 0");
}

void validate_controller_revision_update(const Json& revision, const Json& old,
                                         FieldErrors& errors) {
  if (object_at(revision, "data") != object_at(old, "data"))
    errors.invalid("data", object_at(revision, "data"), "field is immutable");
}

}  // namespace coracle
