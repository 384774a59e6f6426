// Node (core/v1): the fields that our own code reads.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <string>
#include <vector>

namespace coracle {

struct Node {
  Meta meta;
  std::string pod_cidr;
  std::vector<std::string> pod_cidrs;
  bool unschedulable = false;
  bool ready = false;                     // the Ready condition is True
  std::vector<std::string> internal_ips;  // status.addresses of type InternalIP

  // Members of a wrong type read as absent.
  static Result<Node> decode(const Object& object);
};

}  // namespace coracle
