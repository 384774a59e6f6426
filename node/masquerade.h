// Our own iptables chains beside those of the Service rules: masquerading of what leaves the Pod
// network, letting the Pods' packets through a FORWARD chain that drops by default, the nodes'
// tests and questions to the cluster's DNS through such an INPUT chain, and keeping those questions
// out of conntrack. Others' rules are never touched.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/iptables_tool.h"

namespace coracle {

// A chain of ours and the one jump to it, which goes to the end of a built-in chain: so that
// the Service rules, which go to its start, decide first.
struct OwnChain {
  std::string table, chain, parent;
  std::vector<std::string> rules;  // without "-A chain"
  bool operator==(const OwnChain&) const = default;
};

// iptables as an interface, so that tests need none.
class Firewall {
 public:
  virtual ~Firewall() = default;
  virtual Result<std::string> save(const std::string& table) = 0;
  virtual Result<void> restore(const std::string& text) = 0;
};
// The machine's, in the network namespace of the thread that calls its methods.
Result<std::unique_ptr<Firewall>> open_firewall();
std::unique_ptr<Firewall> make_firewall(IptablesTool tool);
// Those of all variants that are installed: to remove what may be in either.
std::vector<std::unique_ptr<Firewall>> open_firewalls();

// Masquerades what this node's Pods send to outside the cluster's Pod network; Pod to Pod is never
// NATed. Also the other rules of this file's head.
std::vector<OwnChain> pod_chains(const Cidr& pod_cidr, const Cidr& cluster_cidr,
                                 const std::optional<Ip>& cluster_dns = {});

// Pure: what iptables-restore --noflush has to read so that the table with that iptables-save text
// holds the chain, or holds it no more. Empty when it is so already.
std::string install_text(const OwnChain& chain, const std::string& saved);
std::string remove_text(const OwnChain& chain, const std::string& saved);

Result<void> install_chains(Firewall& firewall, const std::vector<OwnChain>& chains);
Result<void> remove_chains(Firewall& firewall, const std::vector<OwnChain>& chains);

}  // namespace coracle
