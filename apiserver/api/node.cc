#include <coracle/api/node.h>

#include <nlohmann/json.hpp>

namespace coracle {

std::string Node::condition(const std::string& type) const {
  const auto found = conditions.find(type);
  return found == conditions.end() ? "" : found->second;
}

Result<Node> Node::decode(const Object& object) {
  const Json& json = object.json();
  Node out;
  out.meta = object.meta();
  out.pod_cidr = json_string(json, {"spec", "podCIDR"});
  out.pod_cidrs = json_string_list(json, {"spec", "podCIDRs"});
  out.unschedulable = json_bool(json, {"spec", "unschedulable"});
  out.taints = decode_taints(json);
  if (const Json* amounts = json_find(json, {"status", "allocatable"});
      amounts != nullptr && amounts->is_object())
    out.allocatable = decode_amounts(*amounts);
  if (const Json* conditions = json_find(json, {"status", "conditions"});
      conditions != nullptr && conditions->is_array()) {
    for (const Json& c : *conditions) {
      const std::string type = json_string(c, {"type"});
      if (type == "Ready") out.ready_heartbeat = json_string(c, {"lastHeartbeatTime"});
      if (!type.empty()) out.conditions[type] = json_string(c, {"status"});
    }
    out.ready = out.condition("Ready") == "True";
  }
  if (const Json* addresses = json_find(json, {"status", "addresses"});
      addresses != nullptr && addresses->is_array()) {
    for (const Json& a : *addresses)
      if (json_string(a, {"type"}) == "InternalIP")
        out.internal_ips.push_back(json_string(a, {"address"}));
  }
  return out;
}

}  // namespace coracle
