// What a cluster has from the start: the built-in namespaces and the `kubernetes` Service with its
// endpoints.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

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

}  // namespace coracle
