#include <coracle/api/endpoints.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

std::vector<EndpointAddress> decode_addresses(const Json& subset, const char* member) {
  std::vector<EndpointAddress> out;
  const Json* list = json_find(subset, {member});
  if (list == nullptr || !list->is_array()) return out;
  for (const Json& a : *list) {
    EndpointAddress address;
    address.ip = json_string(a, {"ip"});
    address.hostname = json_string(a, {"hostname"});
    address.node_name = json_string(a, {"nodeName"});
    address.target_kind = json_string(a, {"targetRef", "kind"});
    address.target_ns = json_string(a, {"targetRef", "namespace"});
    address.target_name = json_string(a, {"targetRef", "name"});
    address.target_uid = json_string(a, {"targetRef", "uid"});
    out.push_back(std::move(address));
  }
  return out;
}

EndpointSubset decode_subset(const Json& json) {
  EndpointSubset out;
  out.addresses = decode_addresses(json, "addresses");
  out.not_ready_addresses = decode_addresses(json, "notReadyAddresses");
  const Json* ports = json_find(json, {"ports"});
  if (ports == nullptr || !ports->is_array()) return out;
  for (const Json& p : *ports) {
    const std::string protocol = json_string(p, {"protocol"});
    out.ports.push_back({json_string(p, {"name"}), json_int(p, {"port"}),
                         protocol.empty() ? "TCP" : protocol, json_string(p, {"appProtocol"})});
  }
  return out;
}

}  // namespace

Result<Endpoints> Endpoints::decode(const Object& object) {
  Endpoints out;
  out.meta = object.meta();
  const Json* subsets = json_find(object.json(), {"subsets"});
  if (subsets == nullptr || !subsets->is_array()) return out;
  for (const Json& subset : *subsets) out.subsets.push_back(decode_subset(subset));
  return out;
}

}  // namespace coracle
