#include <coracle/api/service.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

ServicePort decode_port(const Json& json) {
  ServicePort out;
  out.name = json_string(json, {"name"});
  out.protocol = json_string(json, {"protocol"});
  if (out.protocol.empty()) out.protocol = "TCP";
  out.port = json_int(json, {"port"});
  out.target_port = json_int(json, {"targetPort"});
  out.target_port_name = json_string(json, {"targetPort"});
  if (out.target_port == 0 && out.target_port_name.empty()) out.target_port = out.port;
  out.node_port = json_int(json, {"nodePort"});
  out.app_protocol = json_string(json, {"appProtocol"});
  return out;
}

}  // namespace

Result<Service> Service::decode(const Object& object) {
  const Json& json = object.json();
  Service out;
  out.meta = object.meta();
  const std::string type = json_string(json, {"spec", "type"});
  if (!type.empty()) out.type = type;
  out.selector = json_string_map(json, {"spec", "selector"});
  out.cluster_ip = json_string(json, {"spec", "clusterIP"});
  out.cluster_ips = json_string_list(json, {"spec", "clusterIPs"});
  out.ip_families = json_string_list(json, {"spec", "ipFamilies"});
  if (const Json* ports = json_find(json, {"spec", "ports"});
      ports != nullptr && ports->is_array()) {
    for (const Json& port : *ports) out.ports.push_back(decode_port(port));
  }
  out.external_ips = json_string_list(json, {"spec", "externalIPs"});
  out.external_name = json_string(json, {"spec", "externalName"});
  out.external_traffic_policy = json_string(json, {"spec", "externalTrafficPolicy"});
  out.internal_traffic_policy = json_string(json, {"spec", "internalTrafficPolicy"});
  out.session_affinity = json_string(json, {"spec", "sessionAffinity"});
  out.session_affinity_timeout_seconds =
      json_int(json, {"spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"});
  out.load_balancer_source_ranges = json_string_list(json, {"spec", "loadBalancerSourceRanges"});
  out.publish_not_ready_addresses = json_bool(json, {"spec", "publishNotReadyAddresses"});
  const Json* ingress = json_find(json, {"status", "loadBalancer", "ingress"});
  if (ingress != nullptr && ingress->is_array()) {
    for (const Json& item : *ingress) {
      if (auto ip = json_string(item, {"ip"}); !ip.empty())
        out.load_balancer_ips.push_back(std::move(ip));
    }
  }
  return out;
}

}  // namespace coracle
