// The resource table: every kind the API serves, one descriptor each, in the order discovery shows
// them.
#pragma once

#include <coracle/net.h>

#include <vector>

#include "../registry.h"

namespace coracle {

struct ResourceOptions {
  Cidr service_cidr;  // ClusterIPs come from here; IPv4
  Ip cluster_dns;     // kept free for the cluster's DNS Service
  Port node_port_first = 30000;
  Port node_port_last = 32767;
};

// Allocators live in the descriptors' hooks: one call per registry.
std::vector<ResourceKind> all_kinds(const ResourceOptions& options);

}  // namespace coracle
