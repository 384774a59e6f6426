// What one Service says in the DNS: its records, compiled once when it or its endpoints change,
// with their data in wire format. Pure. The rules are those of the Kubernetes DNS
// specification 1.1.0.
#pragma once

#include <coracle/net.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dns/name.h"

namespace coracle {
struct Service;
struct EndpointSlice;
}  // namespace coracle

namespace coracle::dns {

// Addresses of one family or both, one after the other as they go over the wire.
struct PackedAddresses {
  std::string v4, v6;  // 4 and 16 bytes each
  bool empty() const { return v4.empty() && v6.empty(); }
  void add(const Ip& ip);
  bool operator==(const PackedAddresses&) const = default;
};

// A ready endpoint of a headless Service: "<label>.<service>.<ns>.svc.<zone>".
struct EndpointRecords {
  std::string label;  // its hostname, or its address with dashes
  PackedAddresses addresses;
  bool operator==(const EndpointRecords&) const = default;
};

// A named port: "_<name>._<protocol>" before the Service's name.
struct PortRecords {
  static constexpr int kService = -1;
  struct Target {
    Port port = 0;
    int endpoint = kService;  // index, or the Service itself
    bool operator==(const Target&) const = default;
  };
  std::string labels;    // both, in wire format
  std::string protocol;  // the second of them: "\4_tcp"
  std::vector<Target> targets;
  bool operator==(const PortRecords&) const = default;
};

struct ServiceRecords {
  PackedAddresses addresses;               // ClusterIPs, or those of all endpoints
  std::vector<EndpointRecords> endpoints;  // of headless Services, sorted by label
  std::vector<PortRecords> ports;          // sorted by labels
  std::optional<Name> external;            // the target of an ExternalName Service
  bool headless = false;
  bool operator==(const ServiceRecords&) const = default;
};

using EndpointSlices = std::vector<std::shared_ptr<const EndpointSlice>>;

// Null when there is nothing to say: no address yet, or no ready endpoint of a headless Service.
// `slices` are those of the Service. An endpoint is ready as its condition says, or always where
// the Service publishes those that are not; one that is terminating counts only in the latter case.
std::shared_ptr<const ServiceRecords> compile_service(const Service& service,
                                                      const EndpointSlices& slices);

// "10-1-2-3", and for IPv6 "fd00--1", as Kubernetes names Pods and endpoints by their addresses.
std::string dashed(const Ip& ip);
// Only of IPv4 and only as dashed() writes it.
std::optional<Ip> parse_dashed_v4(std::string_view label);

}  // namespace coracle::dns
