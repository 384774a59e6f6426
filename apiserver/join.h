// POST /coracle/v1/join: a machine becomes a node of the cluster, or a node renews its certificate.
// Body {"nodeName", "csr" (PEM), "addresses" [...], "replace"}; answer {"certificate" (PEM),
// "cluster": {"podCIDR", "serviceCIDR", "clusterDomain", "clusterDNS", "proxyMode", "backend",
// "port"}}. Who may ask is authorizer.h's; here is decided which name they get: a name belongs to
// the key that joined with it first (annotation kNodeKeyAnnotation of its Node), until it is
// replaced.
#pragma once

#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "auth.h"
#include "registry.h"
#include "signer.h"

namespace coracle {

// What every node must know to build its part of the cluster.
struct ClusterFacts {
  Cidr pod_cidr, service_cidr;
  std::string cluster_domain;
  Ip cluster_dns;
  std::string proxy_mode = "iptables", backend = "vxlan";
};
Json cluster_facts_json(const ClusterFacts& facts, int port);

struct JoinOptions {
  Registry& registry;
  const Clock& clock;
  const CertificateSigner& signer;
  ClusterFacts facts;
  int port = 0;
  std::chrono::hours certificate_life{24 * 365};
};

// BadRequest and Invalid for what is wrong with the body, Conflict when the name is another's,
// Forbidden for a name that this credential cannot have. Thread-safe: of two that join at a time
// with one name, one gets it.
Result<Json> join_node(const JoinOptions& options, const Identity& who, const std::string& body);

}  // namespace coracle
