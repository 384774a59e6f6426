// The resource table: every kind the API serves, one descriptor each, in the order discovery shows
// them.
#pragma once

#include <coracle/net.h>

#include <vector>

#include "../registry.h"

namespace coracle {

// How long a Pod that does not say so itself stays bound to a node that is not ready, or silent.
struct TolerationSeconds {
  std::int64_t not_ready = 300;
  std::int64_t unreachable = 300;
};

struct ResourceOptions {
  Cidr service_cidr;  // ClusterIPs come from here; IPv4
  Ip cluster_dns;     // kept free for the cluster's DNS Service
  Port node_port_first = 30000;
  Port node_port_last = 32767;
  TolerationSeconds tolerations = {};
};

// Allocators live in the descriptors' hooks: one call per registry.
std::vector<ResourceKind> all_kinds(const ResourceOptions& options);

}  // namespace coracle
