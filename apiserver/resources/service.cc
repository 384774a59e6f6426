// Services: the descriptor and defaults. Addresses and ports: service_allocation.cc.
#include <coracle/object.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "resources/columns.h"
#include "resources/fields.h"
#include "resources/kinds.h"

namespace coracle {
namespace {

bool exposes_node_ports(const std::string& type) {
  return type == "NodePort" || type == "LoadBalancer";
}

void default_ports(Json& spec) {
  if (!spec.contains("ports") || !spec["ports"].is_array()) return;
  for (Json& port : spec["ports"]) {
    if (!port.is_object()) continue;
    set_default(port, "protocol", "TCP");
    const bool zero = has(port, "targetPort") && port["targetPort"] == 0;
    if ((unset(port, "targetPort") || zero) && has(port, "port")) port["targetPort"] = port["port"];
    if (number_in(port, "nodePort", -1) == 0) port.erase("nodePort");
    if (unset(port, "name")) port.erase("name");
  }
}

void default_affinity(Json& spec) {
  set_default(spec, "sessionAffinity", "None");
  if (spec["sessionAffinity"] == "None") spec.erase("sessionAffinityConfig");
  if (spec["sessionAffinity"] != "ClientIP") return;
  Json& client = object_in(object_in(spec, "sessionAffinityConfig"), "clientIP");
  set_default(client, "timeoutSeconds", 10800);
}

// clusterIP and clusterIPs are one field with two spellings; clients send either.
void join_cluster_ips(Json& spec) {
  const std::string ip = text_in(spec, "clusterIP");
  const Json& ips = array_in(spec, "clusterIPs");
  if (ip.empty() && !ips.empty() && ips.front().is_string()) spec["clusterIP"] = ips.front();
  if (!ip.empty() && ips.empty()) spec["clusterIPs"] = Json::array({ip});
}

// A field that the type does not have is dropped when it was only carried over from the type
// before.
void drop_carried(Json& spec, const Json& old_spec, const char* key) {
  if (has(spec, key) && has(old_spec, key) && spec.at(key) == old_spec.at(key)) spec.erase(key);
}

void patch_carried_cluster_ip(Json& spec, const Json& old_spec) {
  const std::string ip = text_in(spec, "clusterIP");
  const std::string old_ip = text_in(old_spec, "clusterIP");
  if (!has(spec, "clusterIPs") && (ip == old_ip || ip.empty()) && has(old_spec, "clusterIPs"))
    spec["clusterIPs"] = old_spec.at("clusterIPs");
  if (ip.empty() && has(old_spec, "clusterIP")) spec["clusterIP"] = old_spec.at("clusterIP");
  if (ip != old_ip && !ip.empty() && has(spec, "clusterIPs") && has(old_spec, "clusterIPs") &&
      spec["clusterIPs"] == old_spec.at("clusterIPs"))
    spec["clusterIPs"] = Json::array({ip});
}

std::set<std::int64_t> node_ports(const Json& spec) {
  std::set<std::int64_t> out;
  for (const Json& port : array_in(spec, "ports"))
    if (const auto number = number_in(port, "nodePort"); number != 0) out.insert(number);
  return out;
}

// Ports keep their node ports when the client leaves them out, as `kubectl replace` of a plain
// manifest does. A port is known by its name.
void carry_node_ports(Json& spec, const Json& old_spec) {
  if (!spec.contains("ports") || !spec["ports"].is_array()) return;
  const std::set<std::int64_t> used = node_ports(spec);
  std::map<std::string, std::int64_t> before;
  for (const Json& port : array_in(old_spec, "ports"))
    before[text_in(port, "name")] = number_in(port, "nodePort");
  for (Json& port : spec["ports"]) {
    if (!port.is_object() || number_in(port, "nodePort") != 0) continue;
    const auto it = before.find(text_in(port, "name"));
    if (it != before.end() && it->second != 0 && used.count(it->second) == 0)
      port["nodePort"] = it->second;
  }
}

// Node ports that the client only left in are dropped; new ones are for validation to refuse.
void drop_node_ports(Json& spec, const Json& old_spec) {
  if (!spec.contains("ports") || !spec["ports"].is_array()) return;
  const std::set<std::int64_t> now = node_ports(spec);
  const std::set<std::int64_t> before = node_ports(old_spec);
  if (!std::includes(before.begin(), before.end(), now.begin(), now.end())) return;
  for (Json& port : spec["ports"])
    if (port.is_object()) port.erase("nodePort");
}

bool has_health_port(const Json& spec) {
  return text_in(spec, "type") == "LoadBalancer" &&
         text_in(spec, "externalTrafficPolicy") == "Local";
}

void prepare_update(Json& service, const Json& old) {
  Json& spec = object_in(service, "spec");
  const Json& old_spec = object_at(old, "spec");
  const std::string type = text_in(spec, "type");
  const std::string old_type = text_in(old_spec, "type");
  if (type == "ExternalName") {
    if (old_type != "ExternalName")
      for (const char* key :
           {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"})
        drop_carried(spec, old_spec, key);
  } else if (old_type != "ExternalName") {
    patch_carried_cluster_ip(spec, old_spec);
  } else {
    drop_carried(spec, old_spec, "externalName");
  }
  if (exposes_node_ports(old_type)) {
    if (exposes_node_ports(type)) {
      carry_node_ports(spec, old_spec);
    } else {
      drop_node_ports(spec, old_spec);
      if (array_in(spec, "externalIPs").empty())
        drop_carried(spec, old_spec, "externalTrafficPolicy");
    }
  }
  if (type != "LoadBalancer") {
    drop_carried(spec, old_spec, "allocateLoadBalancerNodePorts");
    drop_carried(spec, old_spec, "loadBalancerClass");
    if (old_type == "LoadBalancer") object_in(service, "status")["loadBalancer"] = Json::object();
  }
  if (!has_health_port(spec)) {
    drop_carried(spec, old_spec, "healthCheckNodePort");
  } else if (has_health_port(old_spec) && number_in(spec, "healthCheckNodePort") == 0) {
    spec["healthCheckNodePort"] = number_in(old_spec, "healthCheckNodePort");
  }
  default_service(service);
}

}  // namespace

void default_service(Json& service) {
  Json& spec = object_in(service, "spec");
  set_default(spec, "type", "ClusterIP");
  default_affinity(spec);
  default_ports(spec);
  join_cluster_ips(spec);
  const std::string type = text_in(spec, "type");
  for (const char* key :
       {"externalTrafficPolicy", "loadBalancerIP", "externalName", "internalTrafficPolicy"})
    if (unset(spec, key)) spec.erase(key);
  if (number_in(spec, "healthCheckNodePort", -1) == 0) spec.erase("healthCheckNodePort");
  if (exposes_node_ports(type)) set_default(spec, "externalTrafficPolicy", "Cluster");
  if (type == "LoadBalancer") set_default(spec, "allocateLoadBalancerNodePorts", true);
  if (type == "ExternalName") return;
  set_default(spec, "internalTrafficPolicy", "Cluster");
  if (array_in(spec, "ipFamilies").empty()) spec["ipFamilies"] = Json::array({"IPv4"});
  set_default(spec, "ipFamilyPolicy", "SingleStack");
}

ResourceKind service_kind(const ResourceOptions& options) {
  ResourceKind kind;
  kind.resource = resources::kServices;
  kind.singular = "service";
  kind.short_names = {"svc"};
  kind.categories = {"all"};
  kind.schema_type = "core.v1.Service";
  kind.has_status = true;
  kind.name_rule = ResourceKind::NameRule::Label1035;
  kind.selectable_fields = {"spec.clusterIP", "spec.type"};
  kind.apply_defaults = default_service;
  kind.prepare_create = [](Json& service) {
    service["status"] = {{"loadBalancer", Json::object()}};
  };
  kind.prepare_update = prepare_update;
  kind.validate = validate_service;
  kind.validate_update = validate_service_update;
  kind.allocate = service_allocator(options);
  kind.columns = columns::services();
  return kind;
}

}  // namespace coracle
