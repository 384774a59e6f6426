// What a container must satisfy by itself: names, ports, environment, probes, quantities.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

void check_ports(const Json& container, const std::string& path, FieldErrors& errors) {
  std::set<std::string> names;
  const Json& ports = array_in(container, "ports");
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string field = indexed(path + ".ports", i);
    const std::string name = text_in(ports[i], "name");
    if (!name.empty()) {
      if (const std::string problem = port_name_problem(name); !problem.empty())
        errors.invalid(field + ".name", name, problem);
      if (!names.insert(name).second) errors.duplicate(field + ".name", name);
    }
    const std::int64_t port = number_in(ports[i], "containerPort");
    if (port == 0) {
      errors.required(field + ".containerPort");
    } else {
      check_port(port, field + ".containerPort", errors);
    }
    if (has(ports[i], "hostPort"))
      check_port(number_in(ports[i], "hostPort"), field + ".hostPort", errors);
    check_protocol(ports[i], field + ".protocol", errors);
  }
}

// What a variable may be told of its Pod.
void check_field_ref(const Json& reference, const std::string& path, FieldErrors& errors) {
  const std::string field = text_in(reference, "fieldPath");
  if (field.empty()) return errors.required(path);
  for (const char* list : {"metadata.labels['", "metadata.annotations['"}) {
    const std::string prefix = list;
    if (!field.starts_with(prefix) || !field.ends_with("']")) continue;
    const std::string key = field.substr(prefix.size(), field.size() - prefix.size() - 2);
    if (const std::string problem = qualified_name_problem(key); !problem.empty())
      errors.invalid(path, field, problem);
    return;
  }
  static const std::set<std::string> kFields{"metadata.name",
                                             "metadata.namespace",
                                             "metadata.uid",
                                             "spec.nodeName",
                                             "spec.serviceAccountName",
                                             "status.hostIP",
                                             "status.hostIPs",
                                             "status.podIP",
                                             "status.podIPs"};
  if (kFields.count(field) == 0)
    errors.invalid(path, field, "error converting fieldPath: field label not supported: " + field);
}

void check_source(const Json& from, const std::string& path, FieldErrors& errors) {
  if (has(from, "fieldRef"))
    check_field_ref(from.at("fieldRef"), path + ".fieldRef.fieldPath", errors);
  if (!has(from, "resourceFieldRef")) return;
  const std::string field = path + ".resourceFieldRef.resource";
  if (unset(from.at("resourceFieldRef"), "resource")) return errors.required(field);
  check_one_of(from.at("resourceFieldRef"), "resource", field,
               {"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",
                "requests.ephemeral-storage", "requests.memory"},
               errors);
}

void check_env(const Json& container, const std::string& path, FieldErrors& errors) {
  const Json& env = array_in(container, "env");
  for (std::size_t i = 0; i < env.size(); ++i) {
    const std::string field = indexed(path + ".env", i);
    const std::string name = text_in(env[i], "name");
    if (name.empty()) errors.required(field + ".name");
    // Relaxed names: printable ASCII but '=', which separates name and value.
    if (!std::all_of(name.begin(), name.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != '='; }))
      errors.invalid(field + ".name", name,
                     "a valid environment variable name must consist only of printable ASCII "
                     "characters other than '='");
    const Json& from = object_at(env[i], "valueFrom");
    if (!from.empty() && !unset(env[i], "value"))
      errors.invalid(field + ".valueFrom", "", "may not be specified when `value` is not empty");
    if (from.size() > 1)
      errors.invalid(field + ".valueFrom", "",
                     "may not have more than one field specified at a time");
    if (has(env[i], "valueFrom") && from.empty())
      errors.invalid(field + ".valueFrom", "",
                     "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
                     "`secretKeyRef`");
    check_source(from, field + ".valueFrom", errors);
  }
}

void check_http(const Json& http, const std::string& path, FieldErrors& errors) {
  if (unset(http, "path")) errors.required(path + ".path");
  check_port_or_name(has(http, "port") ? http.at("port") : Json(), path + ".port", errors);
  check_one_of(http, "scheme", path + ".scheme", {"HTTP", "HTTPS"}, errors);
}

void check_handler(const Json& handler, const std::string& path, FieldErrors& errors) {
  int count = 0;
  for (const char* kind : {"exec", "httpGet", "tcpSocket", "grpc"}) {
    if (!has(handler, kind)) continue;
    if (++count > 1)
      errors.forbidden(path + "." + kind, "may not specify more than 1 handler type");
  }
  if (count == 0) errors.required(path, "must specify a handler type");
  if (has(handler, "exec") && array_in(handler.at("exec"), "command").empty())
    errors.required(path + ".exec.command");
  if (has(handler, "httpGet")) check_http(handler.at("httpGet"), path + ".httpGet", errors);
  if (has(handler, "tcpSocket"))
    check_port_or_name(
        has(handler.at("tcpSocket"), "port") ? handler.at("tcpSocket").at("port") : Json(),
        path + ".tcpSocket.port", errors);
  if (has(handler, "grpc"))
    check_port(number_in(handler.at("grpc"), "port"), path + ".grpc.port", errors);
}

void check_probe(const Json& container, const char* key, const std::string& container_path,
                 FieldErrors& errors) {
  if (!has(container, key)) return;
  const Json& probe = container.at(key);
  const std::string path = container_path + "." + key;
  check_handler(probe, path, errors);
  for (const char* field : {"initialDelaySeconds", "timeoutSeconds", "periodSeconds",
                            "successThreshold", "failureThreshold"})
    if (number_in(probe, field) < 0)
      errors.invalid(path + "." + field, probe.at(field), "must be greater than or equal to 0");
  const std::int64_t successes = number_in(probe, "successThreshold", 1);
  const bool restarts = std::string(key) != "readinessProbe";
  if (restarts && successes != 1)
    errors.invalid(path + ".successThreshold", successes, "must be 1");
  if (!has(probe, "terminationGracePeriodSeconds")) return;
  const std::string grace = path + ".terminationGracePeriodSeconds";
  if (!restarts)
    errors.invalid(grace, probe.at("terminationGracePeriodSeconds"),
                   "must not be set for readinessProbes");
  else if (number_in(probe, "terminationGracePeriodSeconds") <= 0)
    errors.invalid(grace, probe.at("terminationGracePeriodSeconds"), "must be greater than 0");
}

}  // namespace

void validate_container(const Json& container, const std::string& path, FieldErrors& errors) {
  const std::string name = text_in(container, "name");
  if (name.empty()) {
    errors.required(path + ".name");
  } else if (const std::string problem = dns1123_label_problem(name); !problem.empty()) {
    errors.invalid(path + ".name", name, problem);
  }
  const std::string image = text_in(container, "image");
  if (image.empty()) errors.required(path + ".image");
  if (image.find_first_not_of(" \t") != 0 && !image.empty())
    errors.invalid(path + ".image", image, "must not have leading or trailing whitespace");
  check_one_of(container, "imagePullPolicy", path + ".imagePullPolicy",
               {"Always", "IfNotPresent", "Never"}, errors);
  check_one_of(container, "terminationMessagePolicy", path + ".terminationMessagePolicy",
               {"FallbackToLogsOnError", "File"}, errors);
  check_ports(container, path, errors);
  check_env(container, path, errors);
  for (const char* probe : {"livenessProbe", "readinessProbe", "startupProbe"})
    check_probe(container, probe, path, errors);
  const Json& lifecycle = object_at(container, "lifecycle");
  for (const char* hook : {"postStart", "preStop"})
    if (has(lifecycle, hook) && !has(lifecycle.at(hook), "sleep"))
      check_handler(lifecycle.at(hook), path + ".lifecycle." + hook, errors);
  check_resources(object_at(container, "resources"), path + ".resources", errors);
}

}  // namespace coracle
