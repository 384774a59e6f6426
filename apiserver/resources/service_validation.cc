// What a Service must satisfy, after upstream's ValidateService.
#include <coracle/net.h>

#include <nlohmann/json.hpp>
#include <set>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr const char* kBadIp = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

bool needs_ports(const Json& spec) {
  return text_in(spec, "type") != "ExternalName" && text_in(spec, "clusterIP") != "None";
}

void check_port_entry(const Json& port, const std::string& path, bool need_name,
                      FieldErrors& errors) {
  const std::string name = text_in(port, "name");
  if (name.empty() && need_name) errors.required(path + ".name");
  if (!name.empty())
    if (const std::string problem = dns1123_label_problem(name); !problem.empty())
      errors.invalid(path + ".name", name, problem);
  check_port(number_in(port, "port"), path + ".port", errors);
  check_protocol(port, path + ".protocol", errors);
  if (has(port, "targetPort"))
    check_port_or_name(port.at("targetPort"), path + ".targetPort", errors);
  if (const std::string protocol = text_in(port, "appProtocol"); !protocol.empty())
    if (const std::string problem = qualified_name_problem(protocol); !problem.empty())
      errors.invalid(path + ".appProtocol", protocol, problem);
}

void check_node_port(const Json& spec, const Json& port, const std::string& path,
                     std::set<std::string>& seen, FieldErrors& errors) {
  const std::int64_t number = number_in(port, "nodePort");
  if (number == 0) return;
  const std::string type = text_in(spec, "type");
  if (type != "NodePort" && type != "LoadBalancer")
    return errors.forbidden(path + ".nodePort", "may not be used when `type` is '" + type + "'");
  if (!seen.insert(text_in(port, "protocol") + "/" + std::to_string(number)).second)
    errors.duplicate(path + ".nodePort", number);
}

void check_ports(const Json& spec, FieldErrors& errors) {
  const Json& ports = array_in(spec, "ports");
  if (ports.empty() && needs_ports(spec)) errors.required("spec.ports");
  std::set<std::string> names, node_ports, numbers;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string path = indexed("spec.ports", i);
    check_port_entry(ports[i], path, ports.size() > 1, errors);
    const std::string name = text_in(ports[i], "name");
    if (!name.empty() && !names.insert(name).second) errors.duplicate(path + ".name", name);
    check_node_port(spec, ports[i], path, node_ports, errors);
    const std::string protocol = text_in(ports[i], "protocol");
    const std::int64_t port = number_in(ports[i], "port");
    if (!numbers.insert(protocol + "/" + std::to_string(port)).second)
      errors.duplicate(path, Json{{"port", port}, {"protocol", protocol}});
  }
}

void check_affinity(const Json& spec, FieldErrors& errors) {
  check_one_of(spec, "sessionAffinity", "spec.sessionAffinity", {"ClientIP", "None"}, errors);
  if (text_in(spec, "sessionAffinity") == "ClientIP") {
    const Json& client = object_at(object_at(spec, "sessionAffinityConfig"), "clientIP");
    const std::int64_t timeout = number_in(client, "timeoutSeconds");
    if (timeout <= 0 || timeout > 86400)
      errors.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", timeout,
                     "must be greater than 0 and less than 86400");
  }
}

void check_cluster_ip(const Json& spec, FieldErrors& errors) {
  const std::string ip = text_in(spec, "clusterIP");
  const Json& ips = array_in(spec, "clusterIPs");
  if (text_in(spec, "type") == "ExternalName") {
    if (!ip.empty())
      errors.forbidden("spec.clusterIP", "may not be set when `type` is 'ExternalName'");
    if (!ips.empty())
      errors.forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'");
    for (const char* key : {"ipFamilies", "ipFamilyPolicy"})
      if (has(spec, key))
        errors.forbidden(std::string("spec.") + key,
                         "may not be set when `type` is 'ExternalName'");
    return;
  }
  if (ip == "None" && text_in(spec, "type") != "ClusterIP")
    errors.invalid("spec.clusterIPs[0]", ip, "may not be set to 'None' for LoadBalancer services");
  if (!ips.empty() && ips.front() != ip)
    errors.invalid("spec.clusterIPs", ips, "first value must match `clusterIP`");
  if (ips.size() > 1)
    errors.invalid("spec.clusterIPs", ips,
                   "may only hold up to 1 value on this single-stack cluster");
  if (ip.empty() || ip == "None") return;
  const auto parsed = Ip::parse(ip);
  if (!parsed) return errors.invalid("spec.clusterIPs[0]", ip, kBadIp);
  if (parsed->is_v6())
    errors.invalid("spec.clusterIPs[0]", ip, "not configured on this cluster: IPv6");
}

void check_families(const Json& spec, FieldErrors& errors) {
  if (text_in(spec, "type") == "ExternalName") return;
  const Json& families = array_in(spec, "ipFamilies");
  for (std::size_t i = 0; i < families.size(); ++i) {
    const std::string path = indexed("spec.ipFamilies", i);
    if (families[i] == "IPv6") errors.invalid(path, "IPv6", "not configured on this cluster");
    if (families[i] != "IPv4" && families[i] != "IPv6")
      errors.not_supported(path, families[i], {"IPv4", "IPv6"});
    if (i > 0 && families[i] == families[i - 1]) errors.duplicate(path, families[i]);
  }
  check_one_of(spec, "ipFamilyPolicy", "spec.ipFamilyPolicy",
               {"SingleStack", "PreferDualStack", "RequireDualStack"}, errors);
  if (text_in(spec, "ipFamilyPolicy") == "RequireDualStack")
    errors.invalid("spec.ipFamilyPolicy", "RequireDualStack",
                   "this cluster is not configured for dual-stack services");
}

void check_external_ips(const Json& spec, FieldErrors& errors) {
  const Json& ips = array_in(spec, "externalIPs");
  for (std::size_t i = 0; i < ips.size(); ++i) {
    const std::string path = indexed("spec.externalIPs", i);
    const auto ip = Ip::parse(ips[i].is_string() ? ips[i].get<std::string>() : "");
    if (!ip) {
      errors.invalid(path, ips[i], kBadIp);
    } else if (ip->is_unspecified() || ip->is_loopback() || ip->is_link_local() ||
               ip->is_multicast()) {
      errors.invalid(path, ips[i],
                     "may not be unspecified, in the loopback range (127.0.0.0/8, ::1/128), "
                     "link-local or multicast");
    }
  }
}

void check_policies(const Json& spec, FieldErrors& errors) {
  const std::string type = text_in(spec, "type");
  const bool external =
      type == "NodePort" || type == "LoadBalancer" || !array_in(spec, "externalIPs").empty();
  if (has(spec, "externalTrafficPolicy")) {
    if (!external)
      errors.invalid("spec.externalTrafficPolicy", spec.at("externalTrafficPolicy"),
                     "may only be set for externally-accessible services");
    else
      check_one_of(spec, "externalTrafficPolicy", "spec.externalTrafficPolicy",
                   {"Cluster", "Local"}, errors);
  }
  if (type != "ExternalName" || has(spec, "internalTrafficPolicy"))
    check_one_of(spec, "internalTrafficPolicy", "spec.internalTrafficPolicy", {"Cluster", "Local"},
                 errors);
  const bool health = type == "LoadBalancer" && text_in(spec, "externalTrafficPolicy") == "Local";
  if (number_in(spec, "healthCheckNodePort") != 0 && !health)
    errors.invalid(
        "spec.healthCheckNodePort", spec.at("healthCheckNodePort"),
        "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
  if (has(spec, "trafficDistribution"))
    check_one_of(spec, "trafficDistribution", "spec.trafficDistribution",
                 {"PreferClose", "PreferSameZone", "PreferSameNode"}, errors);
}

void check_load_balancer(const Json& spec, FieldErrors& errors) {
  const bool balancer = text_in(spec, "type") == "LoadBalancer";
  for (const char* key : {"allocateLoadBalancerNodePorts", "loadBalancerClass"})
    if (has(spec, key) && !balancer)
      errors.forbidden(std::string("spec.") + key,
                       "may only be used when `type` is 'LoadBalancer'");
  const Json& ranges = array_in(spec, "loadBalancerSourceRanges");
  if (!ranges.empty() && !balancer)
    errors.forbidden("spec.loadBalancerSourceRanges",
                     "may only be used when `type` is 'LoadBalancer'");
  for (std::size_t i = 0; i < ranges.size(); ++i)
    if (!Cidr::parse(ranges[i].is_string() ? ranges[i].get<std::string>() : ""))
      errors.invalid(indexed("spec.loadBalancerSourceRanges", i), ranges[i],
                     "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
}

void check_external_name(const Json& spec, FieldErrors& errors) {
  if (text_in(spec, "type") != "ExternalName") return;
  std::string name = text_in(spec, "externalName");
  if (name.empty()) return errors.required("spec.externalName");
  if (name.back() == '.') name.pop_back();
  if (const std::string problem = dns1123_subdomain_problem(name); !problem.empty())
    errors.invalid("spec.externalName", name, problem);
}

bool keeps_address(const std::string& type) {
  return type != "ExternalName";
}

}  // namespace

void validate_service(const Json& service, FieldErrors& errors) {
  const Json& spec = object_at(service, "spec");
  check_one_of(spec, "type", "spec.type", {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"},
               errors);
  check_ports(spec, errors);
  check_affinity(spec, errors);
  check_labels(object_at(spec, "selector"), "spec.selector", errors);
  check_cluster_ip(spec, errors);
  check_families(spec, errors);
  check_external_ips(spec, errors);
  check_policies(spec, errors);
  check_load_balancer(spec, errors);
  check_external_name(spec, errors);
}

void validate_service_update(const Json& service, const Json& old, FieldErrors& errors) {
  const Json& spec = object_at(service, "spec");
  const Json& old_spec = object_at(old, "spec");
  const std::string type = text_in(spec, "type");
  const std::string old_type = text_in(old_spec, "type");
  if (keeps_address(type) && keeps_address(old_type)) {
    const std::string old_ip = text_in(old_spec, "clusterIP");
    if (!old_ip.empty() && text_in(spec, "clusterIP") != old_ip) {
      errors.invalid("spec.clusterIPs[0]", array_in(spec, "clusterIPs"), "may not change once set");
    }
  }
  if (type == "LoadBalancer" && old_type == "LoadBalancer" &&
      text_in(spec, "loadBalancerClass") != text_in(old_spec, "loadBalancerClass"))
    errors.invalid("spec.loadBalancerClass", text_in(spec, "loadBalancerClass"),
                   "may not change once set");
}

}  // namespace coracle
