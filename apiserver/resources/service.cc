// Services: the descriptor and defaults. Addresses and ports: service_allocation.cc.
#include <coracle/object.h>

#include <nlohmann/json.hpp>

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

// Ports keep their node ports when the client leaves them out, as `kubectl replace` of a plain
// manifest does.
void carry_node_ports(Json& spec, const Json& old_spec) {
  if (!spec.contains("ports") || !spec["ports"].is_array()) return;
  for (Json& port : spec["ports"]) {
    if (!port.is_object() || number_in(port, "nodePort") != 0) continue;
    for (const Json& old : array_in(old_spec, "ports"))
      if (number_in(old, "port") == number_in(port, "port") &&
          text_in(old, "protocol") == text_in(port, "protocol") && number_in(old, "nodePort") != 0)
        port["nodePort"] = number_in(old, "nodePort");
  }
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
  const bool same_kind = exposes_node_ports(type) && exposes_node_ports(old_type);
  if (same_kind) carry_node_ports(spec, old_spec);
  if (!exposes_node_ports(type) && exposes_node_ports(old_type)) {
    if (spec.contains("ports") && spec["ports"].is_array())
      for (Json& port : spec["ports"])
        for (const Json& before : array_in(old_spec, "ports"))
          if (port.is_object() && number_in(before, "nodePort") == number_in(port, "nodePort"))
            port.erase("nodePort");
    drop_carried(spec, old_spec, "externalTrafficPolicy");
  }
  if (type != "LoadBalancer") {
    drop_carried(spec, old_spec, "allocateLoadBalancerNodePorts");
    drop_carried(spec, old_spec, "loadBalancerClass");
    if (old_type == "LoadBalancer") object_in(service, "status")["loadBalancer"] = Json::object();
  }
  const bool local = text_in(spec, "externalTrafficPolicy") == "Local" && type == "LoadBalancer";
  if (!local) drop_carried(spec, old_spec, "healthCheckNodePort");
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
