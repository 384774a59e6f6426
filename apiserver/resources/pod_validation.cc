// What a Pod's spec must satisfy, and what may change in it, after upstream's ValidatePodSpec and
// ValidatePodUpdate.
#include <coracle/net.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

// What libc reads.
constexpr std::size_t kMostNameservers = 3;
constexpr std::size_t kMostSearchDomains = 32;
constexpr std::size_t kLongestSearchList = 2048;

void check_containers(const Json& spec, const std::string& path,
                      const std::set<std::string>& volumes, FieldErrors& errors) {
  if (array_in(spec, "containers").empty()) errors.required(path + ".containers");
  std::set<std::string> names, host_ports;
  for (const char* list : {"initContainers", "containers"}) {
    const Json& containers = array_in(spec, list);
    for (std::size_t i = 0; i < containers.size(); ++i) {
      const std::string field = indexed(path + "." + list, i);
      validate_container(containers[i], field, errors);
      validate_volume_mounts(containers[i], field, volumes, errors);
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

// "a.b.", "_x.b" and "." are search domains too.
std::string search_domain_problem(std::string domain) {
  if (domain == ".") return "";
  if (domain.ends_with('.')) domain.pop_back();
  std::replace(domain.begin(), domain.end(), '_', 'x');
  return dns1123_subdomain_problem(domain);
}

void check_dns_searches(const Json& searches, const std::string& path, FieldErrors& errors) {
  if (searches.size() > kMostSearchDomains)
    errors.invalid(
        path, searches,
        "must not have more than " + std::to_string(kMostSearchDomains) + " search paths");
  std::size_t length = 0;
  for (std::size_t i = 0; i < searches.size(); ++i) {
    const std::string domain = searches[i].is_string() ? searches[i].get<std::string>() : "";
    length += domain.size() + (i > 0 ? 1 : 0);
    if (const std::string problem = search_domain_problem(domain); !problem.empty())
      errors.invalid(indexed(path, i), domain, problem);
  }
  if (length > kLongestSearchList)
    errors.invalid(path, searches,
                   "must not have more than " + std::to_string(kLongestSearchList) +
                       " characters (including spaces) in the search list");
}

void check_dns_config(const Json& config, const std::string& path, FieldErrors& errors) {
  const Json& servers = array_in(config, "nameservers");
  if (servers.size() > kMostNameservers)
    errors.invalid(path + ".nameservers", servers,
                   "must not have more than " + std::to_string(kMostNameservers) + " nameservers");
  for (std::size_t i = 0; i < servers.size(); ++i)
    if (!Ip::parse(servers[i].is_string() ? servers[i].get<std::string>() : ""))
      errors.invalid(indexed(path + ".nameservers", i), servers[i], "must be valid IP address");
  check_dns_searches(array_in(config, "searches"), path + ".searches", errors);
  const Json& options = array_in(config, "options");
  for (std::size_t i = 0; i < options.size(); ++i)
    if (text_in(options[i], "name").empty())
      errors.required(indexed(path + ".options", i), "must not be empty");
}

void check_dns(const Json& spec, const std::string& path, FieldErrors& errors) {
  check_one_of(spec, "dnsPolicy", path + ".dnsPolicy",
               {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"}, errors);
  const std::string field = path + ".dnsConfig";
  const bool none = text_in(spec, "dnsPolicy") == "None";
  if (none && !has(spec, "dnsConfig"))
    return errors.required(field, "must provide `dnsConfig` when `dnsPolicy` is None");
  const Json& config = object_at(spec, "dnsConfig");
  if (none && array_in(config, "nameservers").empty())
    return errors.required(field + ".nameservers",
                           "must provide at least one DNS nameserver when `dnsPolicy` is None");
  check_dns_config(config, field, errors);
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
  const std::set<std::string> volumes = validate_volumes(spec, path, errors);
  check_containers(spec, path, volumes, errors);
  validate_pod_security(spec, path, errors);
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
  validate_placement(spec, path, errors);
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
  validate_gates_update(spec, old_spec, errors);
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
