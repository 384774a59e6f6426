#include "proxy/iptables_rules.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

namespace coracle::proxy {
namespace {

constexpr const char* kMark = "0x4000";

// RFC 4648 base32 of the first ten bytes, which are just its first 16 characters.
std::string short_hash(const std::string& text) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  // NOLINTNEXTLINE(*-reinterpret-cast): OpenSSL hashes unsigned bytes
  ::SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::string out;
  std::uint32_t bits = 0;
  unsigned have = 0;
  for (std::size_t i = 0; out.size() < 16; ++i) {
    bits = (bits << 8U) | digest.at(i);
    for (have += 8; have >= 5 && out.size() < 16; have -= 5) {
      out += kAlphabet[(bits >> (have - 5)) & 31U];
    }
  }
  return out;
}

// Names come validated from the API server, but a rule file is no place to rely on that.
std::string comment(std::string text) {
  for (char& c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view(" ./:->").find(c) != std::string_view::npos;
    if (!plain) c = '?';
  }
  if (text.size() > 250) text.resize(250);
  return "-m comment --comment \"" + text + "\"";
}

std::string to_port(Protocol protocol, Port port) {
  const std::string name = to_string(protocol);
  return "-p " + name + " -m " + name + " --dport " + std::to_string(port);
}
std::string to_address(const Ip& ip, Protocol protocol, Port port) {
  return "-d " + ip.to_string() + "/32 " + to_port(protocol, port);
}

class Builder {
 public:
  enum class Chains { All, Shared };
  Builder(const IptablesConfig& config, Chains chains) : config_(config), chains_(chains) {
    base();
  }

  void add(const ServicePort& port);
  Ruleset finish();

 private:
  std::vector<std::string>& nat(const std::string& chain) { return rules_.chains[{"nat", chain}]; }
  std::vector<std::string>& filter(const std::string& chain) {
    return rules_.chains[{"filter", chain}];
  }
  void base();
  void jumps();
  void add_without_endpoints(const ServicePort& port);
  void add_external_filter(const ServicePort& port, const std::string& why,
                           const std::string& verdict);
  void add_dispatch(const ServicePort& port);
  void add_load_balancer(const ServicePort& port);
  void add_external_chain(const ServicePort& port);
  void add_balancing(const ServicePort& port, const std::string& chain,
                     const std::vector<ServiceEndpoint>& to);
  void add_endpoint(const ServicePort& port, const ServiceEndpoint& endpoint);

  const IptablesConfig& config_;
  const Chains chains_;
  Ruleset rules_;
};

void Builder::base() {
  nat("KUBE-SERVICES");
  nat("KUBE-NODEPORTS");
  nat("KUBE-MARK-MASQ") = {std::string("-j MARK --or-mark ") + kMark};
  // The mark is taken off again, as a packet may pass POSTROUTING twice (tunnels).
  nat("KUBE-POSTROUTING") = {
      std::string("-m mark ! --mark ") + kMark + "/" + kMark + " -j RETURN",
      std::string("-j MARK --xor-mark ") + kMark,
      comment("kubernetes service traffic requiring SNAT") + " -j MASQUERADE --random-fully",
  };
  filter("KUBE-SERVICES");
  filter("KUBE-EXTERNAL-SERVICES");
  filter("KUBE-PROXY-FIREWALL");
  if (config_.localhost_node_ports) {
    // route_localnet lets neighbours address our loopback: CVE-2020-8558.
    filter("KUBE-PROXY-FIREWALL")
        .push_back(comment("block incoming localnet connections") +
                   " ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate "
                   "RELATED,ESTABLISHED,DNAT -j DROP");
  }
  // INVALID packets have had no NAT undone: let through, they make the peer reset the connection.
  filter("KUBE-FORWARD") = {
      "-m conntrack --ctstate INVALID -j DROP",
      comment("kubernetes forwarding rules") + " -m mark --mark " + kMark + "/" + kMark +
          " -j ACCEPT",
      comment("kubernetes forwarding conntrack rule") +
          " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
  };
  jumps();
}

void Builder::jumps() {
  const std::string portals = comment("kubernetes service portals") + " -j KUBE-SERVICES";
  const std::string fresh = "-m conntrack --ctstate NEW ";
  rules_.jumps = {
      {"nat", "PREROUTING", portals},
      {"nat", "OUTPUT", portals},
      {"nat", "POSTROUTING", comment("kubernetes postrouting rules") + " -j KUBE-POSTROUTING"},
  };
  for (const char* chain : {"INPUT", "FORWARD", "OUTPUT"}) {
    rules_.jumps.push_back(
        {"filter", chain,
         fresh + comment("kubernetes load balancer firewall") + " -j KUBE-PROXY-FIREWALL"});
    rules_.jumps.push_back({"filter", chain,
                            fresh + comment("kubernetes externally-visible service portals") +
                                " -j KUBE-EXTERNAL-SERVICES"});
  }
  for (const char* chain : {"FORWARD", "OUTPUT"}) {
    rules_.jumps.push_back({"filter", chain, fresh + portals});
  }
  rules_.jumps.push_back(
      {"filter", "FORWARD", comment("kubernetes forwarding rules") + " -j KUBE-FORWARD"});
}

void Builder::add(const ServicePort& port) {
  add_without_endpoints(port);
  if (port.cluster_endpoints.empty() && port.local_endpoints.empty()) return;
  add_dispatch(port);
  if (chains_ == Chains::Shared) return;
  const std::string cluster_chain = service_chain("KUBE-SVC-", port.id(), port.protocol);
  const bool uses_local =
      port.internal_local || (port.external_local && port.externally_reachable());
  if (!port.cluster_endpoints.empty() && (!port.internal_local || port.externally_reachable())) {
    // Replies to a source outside the cluster must come back through this node.
    nat(cluster_chain)
        .push_back("! -s " + config_.pod_cidr.to_string() + " " +
                   to_address(port.cluster_ip, port.protocol, port.port) + " " +
                   comment(port.id() + " cluster IP") + " -j KUBE-MARK-MASQ");
    add_balancing(port, cluster_chain, port.cluster_endpoints);
  }
  if (uses_local && !port.local_endpoints.empty()) {
    add_balancing(port, service_chain("KUBE-SVL-", port.id(), port.protocol), port.local_endpoints);
  }
}

// Upstream's words: REJECT when nobody anywhere answers, DROP when the policy is Local and only
// others do. For TCP it is a reset: the kernel sends a host one ICMP error a second
// (net.ipv4.icmp_ratelimit), and who tries again within that second would hang.
void Builder::add_without_endpoints(const ServicePort& port) {
  const bool none = port.cluster_endpoints.empty() && port.local_endpoints.empty();
  const bool no_internal =
      none || (port.internal_local ? port.local_endpoints : port.cluster_endpoints).empty();
  const bool no_external =
      none || (port.external_local ? port.local_endpoints : port.cluster_endpoints).empty();
  const std::string why = none ? " has no endpoints" : " has no local endpoints";
  const std::string reject =
      port.protocol == Protocol::Tcp ? "-j REJECT --reject-with tcp-reset" : "-j REJECT";
  const std::string verdict = none ? reject : "-j DROP";
  if (no_internal) {
    filter("KUBE-SERVICES")
        .push_back(to_address(port.cluster_ip, port.protocol, port.port) + " " +
                   comment(port.id() + why) + " " + verdict);
  }
  if (no_external) add_external_filter(port, why, verdict);
}

void Builder::add_external_filter(const ServicePort& port, const std::string& why,
                                  const std::string& verdict) {
  auto& out = filter("KUBE-EXTERNAL-SERVICES");
  const std::string tail = " " + comment(port.id() + why) + " " + verdict;
  for (const auto* ips : {&port.external_ips, &port.load_balancer_ips}) {
    for (const Ip& ip : *ips) out.push_back(to_address(ip, port.protocol, port.port) + tail);
  }
  if (port.node_port != 0) {
    out.push_back("-m addrtype --dst-type LOCAL " + to_port(port.protocol, port.node_port) + tail);
  }
}

void Builder::add_dispatch(const ServicePort& port) {
  const auto& internal = port.internal_local ? port.local_endpoints : port.cluster_endpoints;
  if (!internal.empty()) {
    const char* prefix = port.internal_local ? "KUBE-SVL-" : "KUBE-SVC-";
    nat("KUBE-SERVICES")
        .push_back(to_address(port.cluster_ip, port.protocol, port.port) + " " +
                   comment(port.id() + " cluster IP") + " -j " +
                   service_chain(prefix, port.id(), port.protocol));
  }
  if (!port.externally_reachable()) return;
  const std::string external = service_chain("KUBE-EXT-", port.id(), port.protocol);
  for (const Ip& ip : port.external_ips) {
    nat("KUBE-SERVICES")
        .push_back(to_address(ip, port.protocol, port.port) + " " +
                   comment(port.id() + " external IP") + " -j " + external);
  }
  add_load_balancer(port);
  if (port.node_port != 0) {
    nat("KUBE-NODEPORTS")
        .push_back(to_port(port.protocol, port.node_port) + " " + comment(port.id()) + " -j " +
                   external);
  }
  if (chains_ == Chains::All) add_external_chain(port);
}

// With source ranges the packets of everybody else keep their destination and meet a DROP in
// filter.
void Builder::add_load_balancer(const ServicePort& port) {
  const std::string external = service_chain("KUBE-EXT-", port.id(), port.protocol);
  const std::string firewall = service_chain("KUBE-FW-", port.id(), port.protocol);
  const bool guarded = !port.source_ranges.empty();
  for (const Ip& ip : port.load_balancer_ips) {
    nat("KUBE-SERVICES")
        .push_back(to_address(ip, port.protocol, port.port) + " " +
                   comment(port.id() + " loadbalancer IP") + " -j " +
                   (guarded ? firewall : external));
    if (!guarded) continue;
    filter("KUBE-PROXY-FIREWALL")
        .push_back(to_address(ip, port.protocol, port.port) + " " +
                   comment(port.id() + " traffic not accepted by " + firewall) + " -j DROP");
  }
  if (!guarded || port.load_balancer_ips.empty() || chains_ == Chains::Shared) return;
  for (const Cidr& range : port.source_ranges) {
    nat(firewall).push_back("-s " + Cidr{range.network(), range.prefix}.to_string() + " " +
                            comment(port.id() + " loadbalancer IP") + " -j " + external);
  }
}

void Builder::add_external_chain(const ServicePort& port) {
  const std::string cluster_chain = service_chain("KUBE-SVC-", port.id(), port.protocol);
  auto& out = nat(service_chain("KUBE-EXT-", port.id(), port.protocol));
  if (!port.external_local) {
    out.push_back(comment("masquerade traffic for " + port.id() + " external destinations") +
                  " -j KUBE-MARK-MASQ");
    if (!port.cluster_endpoints.empty()) out.push_back("-j " + cluster_chain);
    return;
  }
  if (!port.cluster_endpoints.empty()) {
    // From inside, an external address is a short cut to the Service, policy or not.
    out.push_back("-s " + config_.pod_cidr.to_string() + " " +
                  comment("pod traffic for " + port.id() + " external destinations") + " -j " +
                  cluster_chain);
    out.push_back(comment("masquerade LOCAL traffic for " + port.id() + " external destinations") +
                  " -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ");
    out.push_back(comment("route LOCAL traffic for " + port.id() + " external destinations") +
                  " -m addrtype --src-type LOCAL -j " + cluster_chain);
  }
  if (!port.local_endpoints.empty()) {
    out.push_back("-j " + service_chain("KUBE-SVL-", port.id(), port.protocol));
  }
}

void Builder::add_balancing(const ServicePort& port, const std::string& chain,
                            const std::vector<ServiceEndpoint>& to) {
  auto& out = nat(chain);
  for (const ServiceEndpoint& e : to) add_endpoint(port, e);
  if (port.affinity_seconds > 0) {
    for (const ServiceEndpoint& e : to) {
      const std::string target = endpoint_chain(port.id(), port.protocol, e);
      std::string rule =
          comment(port.id() + " -> " + e.ip.to_string() + ":" + std::to_string(e.port));
      rule.append(" -m recent --name ").append(target).append(" --rcheck --seconds ");
      rule.append(std::to_string(port.affinity_seconds)).append(" --reap -j ").append(target);
      out.push_back(std::move(rule));
    }
  }
  // Each rule takes the first of every n packets that reach it and leaves n-1 shares to the rules
  // after it.
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::size_t left = to.size() - i;
    const std::string every =
        left > 1 ? " -m statistic --mode nth --every " + std::to_string(left) + " --packet 0" : "";
    out.push_back(
        comment(port.id() + " -> " + to[i].ip.to_string() + ":" + std::to_string(to[i].port)) +
        every + " -j " + endpoint_chain(port.id(), port.protocol, to[i]));
  }
}

void Builder::add_endpoint(const ServicePort& port, const ServiceEndpoint& endpoint) {
  const std::string chain = endpoint_chain(port.id(), port.protocol, endpoint);
  const std::string address = endpoint.ip.to_string();
  const std::string name = to_string(port.protocol);
  const std::string recent =
      port.affinity_seconds > 0 ? "-m recent --name " + chain + " --set " : "";
  nat(chain) = {
      // Hairpin: a Pod that reaches itself must not see its own address as the source.
      "-s " + address + "/32 " + comment(port.id()) + " -j KUBE-MARK-MASQ",
      "-p " + name + " " + comment(port.id()) + " " + recent + "-m " + name +
          " -j DNAT --to-destination " + address + ":" + std::to_string(endpoint.port),
  };
}

Ruleset Builder::finish() {
  const std::string not_loopback = config_.localhost_node_ports ? "" : "! -d 127.0.0.0/8 ";
  nat("KUBE-SERVICES")
      .push_back(not_loopback +
                 comment("kubernetes service nodeports: this must be the last rule in this chain") +
                 " -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS");
  return std::move(rules_);
}

}  // namespace

std::string service_chain(const char* prefix, const std::string& id, Protocol protocol) {
  return prefix + short_hash(id + to_string(protocol));
}

std::string endpoint_chain(const std::string& id, Protocol protocol,
                           const ServiceEndpoint& endpoint) {
  return "KUBE-SEP-" + short_hash(id + to_string(protocol) + endpoint.ip.to_string() + ":" +
                                  std::to_string(endpoint.port));
}

bool is_own_chain(const std::string& chain) {
  static constexpr std::array<std::string_view, 8> kNames{
      "KUBE-SERVICES",     "KUBE-NODEPORTS",         "KUBE-MARK-MASQ",      "KUBE-POSTROUTING",
      "KUBE-PROXY-CANARY", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL", "KUBE-FORWARD"};
  return std::find(kNames.begin(), kNames.end(), chain) != kNames.end() || is_port_chain(chain);
}

bool is_port_chain(const std::string& chain) {
  static constexpr std::array<std::string_view, 5> kPrefixes{"KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-",
                                                             "KUBE-SEP-", "KUBE-FW-"};
  return std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](auto prefix) { return chain.starts_with(prefix); });
}

Ruleset iptables_rules(const ServiceTable& table, const IptablesConfig& config) {
  Builder builder(config, Builder::Chains::All);
  for (const ServicePort& port : table.ports) builder.add(port);
  return builder.finish();
}

RulesetDiff iptables_changes(const ServiceTable& from, const ServiceTable& to,
                             const IptablesConfig& config) {
  const auto key = [](const ServicePort& p) {
    return std::tie(p.service, p.port_name, p.protocol);
  };
  ServiceTable before, after;  // the ports that differ
  auto old = from.ports.begin();
  auto now = to.ports.begin();
  while (old != from.ports.end() || now != to.ports.end()) {
    const bool old_is_next =
        now == to.ports.end() || (old != from.ports.end() && key(*old) < key(*now));
    const bool now_is_next =
        old == from.ports.end() || (now != to.ports.end() && key(*now) < key(*old));
    const bool differ = old_is_next || now_is_next || !(*old == *now);
    if (differ && !now_is_next) before.ports.push_back(*old);
    if (differ && !old_is_next) after.ports.push_back(*now);
    if (!now_is_next) ++old;
    if (!old_is_next) ++now;
  }
  RulesetDiff out = diff(iptables_rules(before, config), iptables_rules(after, config));
  // What differs in a shared chain's lines of these ports differs in the chain.
  std::optional<Ruleset> shared;
  for (auto& [id, rules] : out.written) {
    if (is_port_chain(id.chain)) continue;
    if (!shared) shared = shared_rules(to, config);
    rules = std::move(shared->chains.at(id));
  }
  return out;
}

Ruleset shared_rules(const ServiceTable& table, const IptablesConfig& config) {
  Builder builder(config, Builder::Chains::Shared);
  for (const ServicePort& port : table.ports) builder.add(port);
  return builder.finish();
}

}  // namespace coracle::proxy
