#include <coracle/api/node.h>

#include <nlohmann/json.hpp>

namespace coracle {

Result<Node> Node::decode(const Object& object) {
  const Json& json = object.json();
  Node out;
  out.meta = object.meta();
  out.pod_cidr = json_string(json, {"spec", "podCIDR"});
  out.pod_cidrs = json_string_list(json, {"spec", "podCIDRs"});
  out.unschedulable = json_bool(json, {"spec", "unschedulable"});
  if (const Json* conditions = json_find(json, {"status", "conditions"});
      conditions != nullptr && conditions->is_array()) {
    for (const Json& c : *conditions)
      if (json_string(c, {"type"}) == "Ready") out.ready = json_string(c, {"status"}) == "True";
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
