// Services × EndpointSlices × this node -> the Service ports this node must serve. Pure; knows
// nothing of iptables. What a field of a Service means for packets is decided here and nowhere
// else.
#pragma once

#include <coracle/net.h>
#include <coracle/object.h>

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coracle {
struct Service;
struct EndpointSlice;
}  // namespace coracle

namespace coracle::proxy {

enum class Protocol : std::uint8_t { Tcp, Udp, Sctp };
const char* to_string(Protocol protocol);  // "tcp", "udp", "sctp"

struct ServiceEndpoint {
  Ip ip;
  Port port = 0;
  bool local = false;  // its Pod runs on this node
  auto operator<=>(const ServiceEndpoint&) const = default;
};

// One port of one Service that has a cluster address. IPv4 only: other families are left out.
struct ServicePort {
  ObjectKey service;
  std::string port_name;
  Protocol protocol = Protocol::Tcp;
  Ip cluster_ip;
  Port port = 0;
  Port node_port = 0;                 // 0: none
  std::vector<Ip> external_ips;       // spec.externalIPs
  std::vector<Ip> load_balancer_ips;  // status.loadBalancer.ingress
  std::vector<Cidr> source_ranges;    // empty: everybody may use load_balancer_ips
  std::int64_t affinity_seconds = 0;  // 0: none, else ClientIP for so long
  bool external_local = false;        // externalTrafficPolicy: Local
  bool internal_local = false;        // internalTrafficPolicy: Local
  // Where new connections go, sorted: the ready endpoints or, when there is none, those that are
  // terminating but still serve. The fall-back is taken for the two lists apart, so `local` needn't
  // be in `cluster`.
  std::vector<ServiceEndpoint> cluster_endpoints;
  std::vector<ServiceEndpoint> local_endpoints;

  // "namespace/name:port", "namespace/name" without a port name: upstream's name of a Service port.
  std::string id() const;
  bool externally_reachable() const {
    return node_port != 0 || !external_ips.empty() || !load_balancer_ips.empty();
  }
  bool operator==(const ServicePort&) const = default;
};

struct ServiceTable {
  std::vector<ServicePort> ports;  // sorted by service, port name, protocol
  bool operator==(const ServiceTable&) const = default;
};

struct ServiceView {
  std::vector<std::shared_ptr<const Service>> services;
  std::vector<std::shared_ptr<const EndpointSlice>> slices;
  std::string node_name;
  // Every node has this address itself and answers on its port 53 (node/dns): what a Service says
  // of that port needs no rule, and one would only lead away from there.
  std::optional<Ip> cluster_dns = {};
};
// ExternalName and headless Services and those whose address is not IPv4 have no rows.
ServiceTable service_table(const ServiceView& view);

}  // namespace coracle::proxy
