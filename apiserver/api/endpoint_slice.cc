#include <coracle/api/endpoint_slice.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

std::optional<bool> condition(const Json& endpoint, const char* name) {
  const Json* value = json_find(endpoint, {"conditions", name});
  if (value == nullptr || !value->is_boolean()) return std::nullopt;
  return value->get<bool>();
}

Endpoint decode_endpoint(const Json& json) {
  Endpoint out;
  out.addresses = json_string_list(json, {"addresses"});
  out.ready = condition(json, "ready");
  out.serving = condition(json, "serving");
  out.terminating = condition(json, "terminating");
  out.hostname = json_string(json, {"hostname"});
  out.node_name = json_string(json, {"nodeName"});
  out.target_kind = json_string(json, {"targetRef", "kind"});
  out.target_ns = json_string(json, {"targetRef", "namespace"});
  out.target_name = json_string(json, {"targetRef", "name"});
  out.target_uid = json_string(json, {"targetRef", "uid"});
  return out;
}

EndpointPort decode_port(const Json& json) {
  EndpointPort out;
  out.name = json_string(json, {"name"});
  const std::string protocol = json_string(json, {"protocol"});
  if (!protocol.empty()) out.protocol = protocol;
  const Json* port = json_find(json, {"port"});
  if (port != nullptr && port->is_number_integer()) out.port = port->get<std::int64_t>();
  out.app_protocol = json_string(json, {"appProtocol"});
  return out;
}

}  // namespace

std::string EndpointSlice::service_name() const {
  const auto label = meta.labels.find("kubernetes.io/service-name");
  return label == meta.labels.end() ? "" : label->second;
}

Result<EndpointSlice> EndpointSlice::decode(const Object& object) {
  const Json& json = object.json();
  EndpointSlice out;
  out.meta = object.meta();
  out.address_type = json_string(json, {"addressType"});
  if (const Json* endpoints = json_find(json, {"endpoints"});
      endpoints != nullptr && endpoints->is_array()) {
    for (const Json& endpoint : *endpoints) out.endpoints.push_back(decode_endpoint(endpoint));
  }
  if (const Json* ports = json_find(json, {"ports"}); ports != nullptr && ports->is_array()) {
    for (const Json& port : *ports) out.ports.push_back(decode_port(port));
  }
  return out;
}

}  // namespace coracle
