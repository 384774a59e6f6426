// What a Pod's spec must satisfy, and what may change in it, after upstream's ValidatePodSpec and
// ValidatePodUpdate.
#include <coracle/net.h>

#include <nlohmann/json.hpp>
#include <set>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

std::set<std::string> check_volumes(const Json& spec, const std::string& path,
                                    FieldErrors& errors) {
  std::set<std::string> names;
  const Json& volumes = array_in(spec, "volumes");
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    const std::string field = indexed(path + ".volumes", i);
    const std::string name = text_in(volumes[i], "name");
    if (name.empty()) {
      errors.required(field + ".name");
    } else if (const std::string problem = dns1123_label_problem(name); !problem.empty()) {
      errors.invalid(field + ".name", name, problem);
    }
    if (!name.empty() && !names.insert(name).second) errors.duplicate(field + ".name", name);
    int sources = 0;
    const Json& volume = volumes[i].is_object() ? volumes[i] : object_at(Json(), "");
    for (const auto& [source, value] : volume.items())
      if (source != "name" && !value.is_null() && ++sources > 1)
        errors.forbidden(field + "." + source, "may not specify more than 1 volume type");
    if (has(volumes[i], "hostPath") && unset(volumes[i].at("hostPath"), "path"))
      errors.required(field + ".hostPath.path");
    if (has(volumes[i], "configMap") && unset(volumes[i].at("configMap"), "name"))
      errors.required(field + ".configMap.name");
    if (has(volumes[i], "secret") && unset(volumes[i].at("secret"), "secretName"))
      errors.required(field + ".secret.secretName");
  }
  return names;
}

void check_mounts(const Json& container, const std::string& path,
                  const std::set<std::string>& volumes, FieldErrors& errors) {
  std::set<std::string> paths;
  const Json& mounts = array_in(container, "volumeMounts");
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const std::string field = indexed(path + ".volumeMounts", i);
    const std::string name = text_in(mounts[i], "name");
    const std::string where = text_in(mounts[i], "mountPath");
    if (name.empty())
      errors.required(field + ".name");
    else if (volumes.count(name) == 0)
      errors.not_found(field + ".name", name);
    if (where.empty())
      errors.required(field + ".mountPath");
    else if (!paths.insert(where).second)
      errors.invalid(field + ".mountPath", where, "must be unique");
    const std::string sub = text_in(mounts[i], "subPath");
    if (!sub.empty() && sub.front() == '/')
      errors.invalid(field + ".subPath", sub, "must be a relative path");
    if (sub == ".." || sub.starts_with("../") || sub.find("/../") != std::string::npos ||
        sub.ends_with("/.."))
      errors.invalid(field + ".subPath", sub, "must not contain '..'");
  }
}

void check_containers(const Json& spec, const std::string& path,
                      const std::set<std::string>& volumes, FieldErrors& errors) {
  if (array_in(spec, "containers").empty()) errors.required(path + ".containers");
  std::set<std::string> names, host_ports;
  for (const char* list : {"initContainers", "containers"}) {
    const Json& containers = array_in(spec, list);
    for (std::size_t i = 0; i < containers.size(); ++i) {
      const std::string field = indexed(path + "." + list, i);
      validate_container(containers[i], field, errors);
      check_mounts(containers[i], field, volumes, errors);
      const std::string name = text_in(containers[i], "name");
      if (!name.empty() && !names.insert(name).second) errors.duplicate(field + ".name", name);
      const Json& ports = array_in(containers[i], "ports");
      for (std::size_t p = 0; p < ports.size() && std::string(list) == "containers"; ++p) {
        if (number_in(ports[p], "hostPort") == 0) continue;
        const std::string port = text_in(ports[p], "protocol") + "/" + text_in(ports[p], "hostIP") +
                                 "/" + std::to_string(number_in(ports[p], "hostPort"));
        if (!host_ports.insert(port).second)
          errors.duplicate(indexed(field + ".ports", p) + ".hostPort", port);
      }
    }
  }
}

void check_name_of(const Json& spec, const char* key, const std::string& path, bool label,
                   FieldErrors& errors) {
  const std::string name = text_in(spec, key);
  if (name.empty()) return;
  const std::string problem = label ? dns1123_label_problem(name) : dns1123_subdomain_problem(name);
  if (!problem.empty()) errors.invalid(path + "." + key, name, problem);
}

void check_host_aliases(const Json& spec, const std::string& path, FieldErrors& errors) {
  const Json& aliases = array_in(spec, "hostAliases");
  for (std::size_t i = 0; i < aliases.size(); ++i) {
    const std::string field = indexed(path + ".hostAliases", i);
    if (!Ip::parse(text_in(aliases[i], "ip")))
      errors.invalid(field + ".ip", text_in(aliases[i], "ip"),
                     "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    for (const Json& host : array_in(aliases[i], "hostnames"))
      if (const std::string problem =
              dns1123_subdomain_problem(host.is_string() ? host.get<std::string>() : "");
          !problem.empty())
        errors.invalid(field + ".hostnames", host, problem);
  }
}

void check_tolerations(const Json& spec, const std::string& path, FieldErrors& errors) {
  const Json& tolerations = array_in(spec, "tolerations");
  for (std::size_t i = 0; i < tolerations.size(); ++i) {
    const std::string field = indexed(path + ".tolerations", i);
    const std::string key = text_in(tolerations[i], "key");
    const std::string op = text_in(tolerations[i], "operator");
    if (!key.empty())
      if (const std::string problem = qualified_name_problem(key); !problem.empty())
        errors.invalid(field + ".key", key, problem);
    if (key.empty() && op != "Exists")
      errors.invalid(field + ".operator", op,
                     "operator must be Exists when `key` is empty, which means \"match all values "
                     "and all keys\"");
    if (!op.empty() && op != "Exists" && op != "Equal")
      errors.not_supported(field + ".operator", op, {"Equal", "Exists"});
    if (has(tolerations[i], "tolerationSeconds") &&
        text_in(tolerations[i], "effect") != "NoExecute")
      errors.invalid(field + ".effect", text_in(tolerations[i], "effect"),
                     "effect must be 'NoExecute' when `tolerationSeconds` is set");
  }
}

void check_dns(const Json& spec, const std::string& path, FieldErrors& errors) {
  check_one_of(spec, "dnsPolicy", path + ".dnsPolicy",
               {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"}, errors);
  const Json& servers = array_in(object_at(spec, "dnsConfig"), "nameservers");
  if (text_in(spec, "dnsPolicy") == "None" && servers.empty())
    errors.required(path + ".dnsConfig.nameservers",
                    "must provide at least one DNS nameserver when `dnsPolicy` is None");
  for (std::size_t i = 0; i < servers.size(); ++i)
    if (!Ip::parse(servers[i].is_string() ? servers[i].get<std::string>() : ""))
      errors.invalid(indexed(path + ".dnsConfig.nameservers", i), servers[i],
                     "must be valid IP address");
}

// The parts of a spec that may change, put back to what they were: what differs then may not.
Json with_mutable_fields_of(Json spec, const Json& old) {
  const auto restore = [](Json& target, const Json& source, const char* key) {
    target.erase(key);
    if (has(source, key)) target[key] = source.at(key);
  };
  for (const char* key :
       {"tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "schedulingGates"})
    restore(spec, old, key);
  for (const char* list : {"containers", "initContainers"}) {
    const Json& before = array_in(old, list);
    if (array_in(spec, list).size() != before.size()) continue;
    for (std::size_t i = 0; i < before.size(); ++i)
      if (spec[list][i].is_object()) restore(spec[list][i], before[i], "image");
  }
  return spec;
}

}  // namespace

void validate_pod_spec(const Json& spec, const std::string& path, FieldErrors& errors) {
  const std::set<std::string> volumes = check_volumes(spec, path, errors);
  check_containers(spec, path, volumes, errors);
  check_one_of(spec, "restartPolicy", path + ".restartPolicy", {"Always", "OnFailure", "Never"},
               errors);
  check_dns(spec, path, errors);
  check_labels(object_at(spec, "nodeSelector"), path + ".nodeSelector", errors);
  check_name_of(spec, "serviceAccountName", path, false, errors);
  check_name_of(spec, "nodeName", path, false, errors);
  check_name_of(spec, "hostname", path, true, errors);
  check_name_of(spec, "subdomain", path, true, errors);
  check_host_aliases(spec, path, errors);
  check_tolerations(spec, path, errors);
  if (number_in(spec, "terminationGracePeriodSeconds") < 0)
    errors.invalid(path + ".terminationGracePeriodSeconds",
                   spec.at("terminationGracePeriodSeconds"), "must be greater than or equal to 0");
  if (has(spec, "activeDeadlineSeconds") && number_in(spec, "activeDeadlineSeconds") < 1)
    errors.invalid(path + ".activeDeadlineSeconds", spec.at("activeDeadlineSeconds"),
                   "must be between 1 and 2147483647, inclusive");
}

void validate_pod_update(const Json& pod, const Json& old, FieldErrors& errors) {
  const Json& spec = object_at(pod, "spec");
  const Json& old_spec = object_at(old, "spec");
  if (array_in(spec, "containers").size() != array_in(old_spec, "containers").size())
    errors.forbidden("spec.containers", "pod updates may not add or remove containers");
  const Json& list = array_in(spec, "tolerations");
  const std::set<Json> tolerations(list.begin(), list.end());
  for (const Json& before : array_in(old_spec, "tolerations"))
    if (tolerations.count(before) == 0) {
      errors.forbidden("spec.tolerations",
                       "existing toleration can not be modified except its tolerationSeconds");
      break;
    }
  if (with_mutable_fields_of(spec, old_spec) != old_spec)
    errors.forbidden("spec",
                     "pod updates may not change fields other than `spec.containers[*].image`,"
                     "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec."
                     "tolerations` (only additions to "
                     "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be "
                     "set to 1 if it was "
                     "previously negative)");
}

}  // namespace coracle
