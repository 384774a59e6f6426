// Node (core/v1): the fields that our own code reads.
#pragma once

#include <coracle/api/placement.h>
#include <coracle/api/taints.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coracle {

struct Node {
  Meta meta;
  std::string pod_cidr;
  std::vector<std::string> pod_cidrs;
  bool unschedulable = false;
  std::vector<Taint> taints;
  bool ready = false;                             // the Ready condition is True
  std::map<std::string, std::string> conditions;  // "True", "False" or "Unknown" by type
  std::string ready_heartbeat;                    // lastHeartbeatTime of the Ready condition
  std::optional<ResourceAmounts> allocatable;     // none: the node has not said
  std::vector<std::string> internal_ips;          // status.addresses of type InternalIP

  // The condition's status, "" when there is no such condition.
  std::string condition(const std::string& type) const;
  // Members of a wrong type read as absent.
  static Result<Node> decode(const Object& object);
};

}  // namespace coracle
