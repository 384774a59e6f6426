// What a cluster has from the start: the built-in namespaces, the `kubernetes` Service with its
// endpoints, and the Service that names the cluster's DNS.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <string>

#include "registry.h"

namespace coracle {

struct BootstrapOptions {
  Ip server_address;  // where the API server is reached
  Port server_port = 6443;
  Cidr service_cidr;           // its first address is the `kubernetes` Service's
  std::string node_name = {};  // of the server's own node; "": it has none
};

// Creates what is missing and brings the `kubernetes` endpoints up to date. Idempotent: runs at
// every start.
Result<void> bootstrap(Registry& registry, const BootstrapOptions& options);

// Of kube-system/kube-dns: what the cluster's names end in.
inline constexpr const char* kClusterDomainAnnotation = "coracle.io/cluster-domain";
// The Service kube-system/kube-dns with that address, for people and programs to find: the nodes
// answer there themselves, so it has no endpoints. Conflict, saying which, when another Service has
// the address or this one has another.
Result<void> ensure_dns_service(Registry& registry, const Ip& address, const std::string& domain);

// Tells the nodes where their tunnels go: an annotation of the `kubernetes` Service, see
// coracle/tunnel.h.
Result<void> publish_tunnel(Registry& registry, int port);

// The `kubernetes` endpoints alone, when the server's address has changed.
Result<void> publish_server(Registry& registry, const BootstrapOptions& options);

}  // namespace coracle
