// A zone with every kind of Service, for the tests of the DNS.
#pragma once

#include <coracle/api/endpoint_slice.h>
#include <coracle/api/service.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "node/dns/zone.h"

namespace coracle::dns::test {

inline Name name(const std::string& text) {
  return *Name::parse(text);
}

inline ZoneConfig config() {
  return {.domain = name("cluster.local"),
          .dns_address = *Ip::parse("10.96.0.10"),
          .pod_cidr = *Cidr::parse("10.42.0.0/16"),
          .service_cidr = *Cidr::parse("10.96.0.0/16")};
}

inline Service service(const std::string& ns, const std::string& service_name,
                       const std::string& ip = "None") {
  Service out;
  out.meta.ns = ns;
  out.meta.name = service_name;
  out.cluster_ip = ip;
  return out;
}

inline Service with_ports(Service service,
                          const std::vector<std::pair<std::string, std::int64_t>>& ports,
                          const std::string& protocol = "TCP") {
  for (const auto& [port_name, number] : ports) {
    coracle::ServicePort port;
    port.name = port_name;
    port.protocol = protocol;
    port.port = number;
    service.ports.push_back(port);
  }
  return service;
}

inline Service external(const std::string& ns, const std::string& service_name,
                        const std::string& target) {
  Service out = service(ns, service_name, "");
  out.type = "ExternalName";
  out.external_name = target;
  return out;
}

inline Endpoint endpoint(const std::string& ip, const std::string& hostname = "",
                         std::optional<bool> ready = std::nullopt) {
  Endpoint out;
  out.addresses = {ip};
  out.hostname = hostname;
  out.ready = ready;
  return out;
}

inline std::shared_ptr<const EndpointSlice> slice(
    std::vector<Endpoint> endpoints, const std::vector<std::pair<std::string, int>>& ports = {},
    const std::string& family = "IPv4") {
  EndpointSlice out;
  out.address_type = family;
  out.endpoints = std::move(endpoints);
  for (const auto& [port_name, number] : ports) {
    EndpointPort port;
    port.name = port_name;
    port.port = number;
    out.ports.push_back(port);
  }
  return std::make_shared<const EndpointSlice>(std::move(out));
}

inline bool put(ZoneTable& table, const Service& service, const EndpointSlices& slices = {}) {
  return table.set(service.meta.key(), &service, slices);
}

// default: kubernetes (ClusterIP, https), dual (both families, two protocols of one port name),
//   bare (no port), set (headless: hostnames, named port), six (the same, IPv6), ext (ExternalName
//   outside)
// prod: web (headless: addresses, two slices), none (headless, nobody ready), hidden (the same, but
//   published), alias -> default/kubernetes, chain -> alias, round -> round, lost -> no such
//   Service, elsewhere (headless: an address outside the cluster)
// gone: only Services that say nothing
inline void fill(ZoneTable& table) {
  put(table, with_ports(service("default", "kubernetes", "10.96.0.1"), {{"https", 443}}));
  Service dual = with_ports(service("default", "dual", "10.96.0.20"), {{"dns", 53}}, "UDP");
  dual = with_ports(dual, {{"dns", 5353}, {"", 8080}});
  dual.cluster_ips = {"10.96.0.20", "fd00::20"};
  put(table, dual);
  put(table, service("default", "bare", "10.96.7.30"));
  put(table, service("default", "set"),
      {slice({endpoint("10.42.0.5", "set-0"), endpoint("10.42.1.6", "set-1"),
              endpoint("10.42.1.7", "set-2", false)},
             {{"db", 5432}})});
  put(table, service("default", "six"),
      {slice({endpoint("fd00:10::1", "six-0"), endpoint("fd00:10::2")}, {{"db", 5432}}, "IPv6")});
  put(table, external("default", "ext", "www.example.com"));
  put(table, service("prod", "web"),
      {slice({endpoint("10.42.2.1"), endpoint("10.42.2.2")}, {{"http", 8080}}),
       slice({endpoint("10.42.2.2"), endpoint("10.42.2.3")}, {{"http", 8081}})});
  const Endpoint waiting = endpoint("10.42.3.3", "", false);
  put(table, service("prod", "none"), {slice({waiting}, {{"http", 80}})});
  Service hidden = service("prod", "hidden");
  hidden.publish_not_ready_addresses = true;
  put(table, hidden, {slice({waiting}, {{"http", 80}})});
  put(table, external("prod", "alias", "kubernetes.default.svc.cluster.local."));
  put(table, external("prod", "chain", "alias.prod.svc.cluster.local"));
  put(table, external("prod", "round", "round.prod.svc.cluster.local"));
  put(table, external("prod", "lost", "nobody.default.svc.cluster.local"));
  put(table, service("prod", "elsewhere"), {slice({endpoint("192.0.2.7")})});
  put(table, service("gone", "none"), {slice({waiting})});
  put(table, service("gone", "unallocated", ""));
}

}  // namespace coracle::dns::test
