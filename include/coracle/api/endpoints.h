// Endpoints (core/v1): the fields that our own code reads.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <cstdint>
#include <string>
#include <vector>

namespace coracle {

struct EndpointAddress {
  std::string ip, hostname, node_name;
  std::string target_kind, target_ns, target_name, target_uid;  // targetRef
  bool operator==(const EndpointAddress&) const = default;
};
struct EndpointsPort {
  std::string name;
  std::int64_t port = 0;
  std::string protocol = "TCP";
  std::string app_protocol;
  bool operator==(const EndpointsPort&) const = default;
};
struct EndpointSubset {
  std::vector<EndpointAddress> addresses, not_ready_addresses;
  std::vector<EndpointsPort> ports;
  bool operator==(const EndpointSubset&) const = default;
};

struct Endpoints {
  Meta meta;
  std::vector<EndpointSubset> subsets;
  // Members of a wrong type read as absent.
  static Result<Endpoints> decode(const Object& object);
};

}  // namespace coracle
