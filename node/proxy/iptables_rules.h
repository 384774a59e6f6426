// ServiceTable -> the iptables rules of kube-proxy: the same chain names, hashes and marks, so that
// what people read elsewhere holds here. The one difference is exact round robin (`statistic --mode
// nth`) where upstream throws dice. Pure.
//
// An nth counter is state of a kernel rule. Rewriting a chain starts it anew; nothing else does
// with the nft variant, whereas the legacy variant replaces the whole table at each change and so
// starts all of them anew.
#pragma once

#include <coracle/net.h>

#include <optional>
#include <string>

#include "proxy/ruleset.h"
#include "proxy/service_table.h"

namespace coracle::proxy {

struct IptablesConfig {
  Cidr pod_cidr;  // the cluster's: sources outside it are masqueraded on their way to a ClusterIP
  // NodePorts on 127.0.0.1. Needs net.ipv4.conf.all.route_localnet=1, without which the kernel
  // would drop the rewritten packets: off, such a connection is refused at once instead.
  bool localhost_node_ports = false;
};

// "KUBE-SVC-NPX46M4PTMTKRN6Y" for ("KUBE-SVC-", "default/kubernetes:https", Tcp).
std::string service_chain(const char* prefix, const std::string& id, Protocol protocol);
std::string endpoint_chain(const std::string& id, Protocol protocol,
                           const ServiceEndpoint& endpoint);

Ruleset iptables_rules(const ServiceTable& table, const IptablesConfig& config);
// diff() of the rules of two tables, at the cost of the ports that differ. REQUIRES: sorted tables.
RulesetDiff iptables_changes(const ServiceTable& from, const ServiceTable& to,
                             const IptablesConfig& config);
// Of these, only the chains in which every Service has its lines. The others belong to one Service
// port each: what they hold depends on that port alone.
Ruleset shared_rules(const ServiceTable& table, const IptablesConfig& config);
bool is_port_chain(const std::string& chain);

// Whether a chain of this name may be ours alone, so that a previous run's can be recognised and
// removed. KUBE-FIREWALL, KUBE-KUBELET-CANARY and the like belong to others.
bool is_own_chain(const std::string& chain);

}  // namespace coracle::proxy
