// EndpointSlice (discovery.k8s.io/v1): the fields that our own code reads.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coracle {

struct Endpoint {
  std::vector<std::string> addresses;
  // Absent conditions mean: ready, serving as `ready` says, not terminating.
  std::optional<bool> ready, serving, terminating;
  std::string hostname;
  std::string node_name;
  std::string target_kind, target_ns, target_name, target_uid;  // targetRef
  bool operator==(const Endpoint&) const = default;
};

struct EndpointPort {
  std::string name;
  std::string protocol = "TCP";
  std::optional<std::int64_t> port;
  std::string app_protocol;
  bool operator==(const EndpointPort&) const = default;
};

struct EndpointSlice {
  Meta meta;  // the label kubernetes.io/service-name says whose it is
  std::string address_type;
  std::vector<Endpoint> endpoints;
  std::vector<EndpointPort> ports;

  std::string service_name() const;
  // Members of a wrong type read as absent.
  static Result<EndpointSlice> decode(const Object& object);
};

}  // namespace coracle
