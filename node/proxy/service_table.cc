#include "proxy/service_table.h"

#include <coracle/api/endpoint_slice.h>
#include <coracle/api/service.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace coracle::proxy {
namespace {

constexpr const char* kServiceNameLabel = "kubernetes.io/service-name";
constexpr Port kDnsPort = 53;
constexpr std::int64_t kMaxAffinitySeconds = 86'400;
constexpr std::int64_t kDefaultAffinitySeconds = 10'800;

std::optional<Protocol> parse_protocol(const std::string& text) {
  if (text.empty() || text == "TCP") return Protocol::Tcp;
  if (text == "UDP") return Protocol::Udp;
  if (text == "SCTP") return Protocol::Sctp;
  return std::nullopt;
}

std::optional<Port> parse_port(std::int64_t number) {
  if (number < 1 || number > 65535) return std::nullopt;
  return static_cast<Port>(number);
}

std::vector<Ip> parse_ips(const std::vector<std::string>& texts) {
  std::vector<Ip> out;
  for (const std::string& text : texts) {
    const auto ip = Ip::parse(text);
    if (ip && ip->is_v4() && !ip->is_unspecified()) out.push_back(*ip);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<Cidr> parse_ranges(const std::vector<std::string>& texts) {
  std::vector<Cidr> out;
  for (const std::string& text : texts) {
    const auto range = Cidr::parse(text);
    if (range && range->ip.is_v4()) out.push_back({range->network(), range->prefix});
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

struct Conditions {
  bool ready = false;
  bool serving = false;
  bool terminating = false;
};

// The endpoints of one port name and protocol, each address once: two slices may both name one
// while it moves between them, and then the better word counts.
using PortKey = std::tuple<ObjectKey, std::string, Protocol>;
using Endpoints = std::map<ServiceEndpoint, Conditions>;

Conditions conditions_of(const Endpoint& endpoint) {
  // Absent means: ready, serving as ready says, not terminating (discovery.k8s.io/v1).
  const bool ready = endpoint.ready.value_or(true);
  return {ready, endpoint.serving.value_or(ready), endpoint.terminating.value_or(false)};
}

void collect(const EndpointSlice& slice, const std::string& node_name,
             std::map<PortKey, Endpoints>& into) {
  const auto service = slice.meta.labels.find(kServiceNameLabel);
  if (slice.address_type != "IPv4" || service == slice.meta.labels.end() || slice.meta.deleting())
    return;
  for (const EndpointPort& port : slice.ports) {
    const auto number = parse_port(port.port.value_or(0));
    const auto protocol = parse_protocol(port.protocol);
    if (!number || !protocol) continue;
    Endpoints& endpoints = into[{{slice.meta.ns, service->second}, port.name, *protocol}];
    for (const Endpoint& endpoint : slice.endpoints) {
      // Addresses beyond the first are fungible aliases, which upstream ignores too.
      const auto ip =
          endpoint.addresses.empty() ? Result<Ip>(Error{}) : Ip::parse(endpoint.addresses.front());
      if (!ip || !ip->is_v4()) continue;
      const bool local = !node_name.empty() && endpoint.node_name == node_name;
      const Conditions word = conditions_of(endpoint);
      auto [at, fresh] = endpoints.try_emplace({*ip, *number, local}, word);
      if (!fresh && word.ready) at->second = word;
    }
  }
}

// Ready ones; without any, those that are terminating and still serve: better than nobody while
// Pods roll.
std::vector<ServiceEndpoint> usable(const Endpoints& endpoints, bool local_only) {
  std::vector<ServiceEndpoint> ready;
  std::vector<ServiceEndpoint> fallback;
  for (const auto& [endpoint, conditions] : endpoints) {
    if (local_only && !endpoint.local) continue;
    if (conditions.ready) ready.push_back(endpoint);
    if (!conditions.ready && conditions.serving && conditions.terminating)
      fallback.push_back(endpoint);
  }
  return ready.empty() ? fallback : ready;
}

// The parts that all ports of a Service share; nothing for Services without rules.
std::optional<ServicePort> common_part(const Service& service) {
  if (service.type == "ExternalName") return std::nullopt;
  const auto cluster_ip = Ip::parse(service.cluster_ip);  // "None" and "" are no addresses
  if (!cluster_ip || !cluster_ip->is_v4()) return std::nullopt;
  ServicePort out;
  out.service = service.meta.key();
  out.cluster_ip = *cluster_ip;
  out.external_ips = parse_ips(service.external_ips);
  if (service.type == "LoadBalancer") {
    out.load_balancer_ips = parse_ips(service.load_balancer_ips);
    out.source_ranges = parse_ranges(service.load_balancer_source_ranges);
  }
  out.external_local = service.external_traffic_policy == "Local";
  out.internal_local = service.internal_traffic_policy == "Local";
  if (service.session_affinity == "ClientIP") {
    const std::int64_t seconds = service.session_affinity_timeout_seconds;
    out.affinity_seconds =
        seconds > 0 && seconds <= kMaxAffinitySeconds ? seconds : kDefaultAffinitySeconds;
  }
  return out;
}

}  // namespace

const char* to_string(Protocol protocol) {
  switch (protocol) {
    case Protocol::Tcp:
      return "tcp";
    case Protocol::Udp:
      return "udp";
    case Protocol::Sctp:
      return "sctp";
  }
  return "tcp";
}

std::string ServicePort::id() const {
  return port_name.empty() ? service.to_string() : service.to_string() + ":" + port_name;
}

ServiceTable service_table(const ServiceView& view) {
  std::map<PortKey, Endpoints> endpoints;
  for (const auto& slice : view.slices) collect(*slice, view.node_name, endpoints);

  ServiceTable table;
  for (const auto& service : view.services) {
    const auto common = common_part(*service);
    if (!common) continue;
    for (const auto& spec : service->ports) {
      const auto protocol = parse_protocol(spec.protocol);
      const auto port = parse_port(spec.port);
      if (!protocol || !port) continue;
      if (common->cluster_ip == view.cluster_dns && *port == kDnsPort) continue;
      ServicePort row = *common;
      row.port_name = spec.name;
      row.protocol = *protocol;
      row.port = *port;
      row.node_port = parse_port(spec.node_port).value_or(0);
      const auto found = endpoints.find({row.service, row.port_name, row.protocol});
      if (found != endpoints.end()) {
        row.cluster_endpoints = usable(found->second, false);
        row.local_endpoints = usable(found->second, true);
      }
      table.ports.push_back(std::move(row));
    }
  }
  std::sort(table.ports.begin(), table.ports.end(), [](const ServicePort& a, const ServicePort& b) {
    return std::tie(a.service, a.port_name, a.protocol, a.port) <
           std::tie(b.service, b.port_name, b.protocol, b.port);
  });
  return table;
}

}  // namespace coracle::proxy
