#include "masquerade.h"

#include <map>
#include <string_view>
#include <utility>

#include "desired_state.h"
#include "kernel_state.h"
#include "probe_packet.h"
#include "proxy/iptables_tool.h"

namespace coracle {
namespace {

constexpr const char* kClamp =
    " -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu";

class IptablesFirewall final : public Firewall {
 public:
  explicit IptablesFirewall(IptablesTool tool) : tool_(std::move(tool)) {}
  Result<std::string> save(const std::string& table) override { return tool_.save(table); }
  Result<void> restore(const std::string& text) override { return tool_.restore(text); }

 private:
  IptablesTool tool_;
};

std::vector<std::string> lines_with_prefix(const std::string& text, const std::string& prefix) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    const std::string_view line = std::string_view(text).substr(at, end - at);
    if (line.starts_with(prefix)) lines.emplace_back(line);
    at = end + 1;
  }
  return lines;
}

struct Present {
  bool chain = false;
  std::vector<std::string> rules, jumps;  // whole lines
};
Present find(const OwnChain& chain, const std::string& saved) {
  Present present;
  present.chain = !lines_with_prefix(saved, ":" + chain.chain + " ").empty();
  present.rules = lines_with_prefix(saved, "-A " + chain.chain + " ");
  for (std::string& line : lines_with_prefix(saved, "-A " + chain.parent + " ")) {
    if (line.ends_with(" -j " + chain.chain)) present.jumps.push_back(std::move(line));
  }
  return present;
}

Result<void> run(Firewall& firewall, const std::vector<OwnChain>& chains,
                 std::string (*text_of)(const OwnChain&, const std::string&)) {
  std::string problems;
  std::map<std::string, Result<std::string>> tables;  // none of the chains is in another's text
  for (const OwnChain& chain : chains) {
    if (!tables.contains(chain.table)) tables.emplace(chain.table, firewall.save(chain.table));
    const auto& saved = tables.at(chain.table);
    const std::string text = saved ? text_of(chain, *saved) : "";
    const auto done = text.empty() ? Result<void>() : firewall.restore(text);
    if (!saved) problems += saved.error().message + "; ";
    if (!done) problems += chain.chain + ": " + done.error().message + "; ";
  }
  if (!problems.empty()) return Error{Code::Internal, problems};
  return {};
}

struct DnsRules {
  std::vector<std::string> prerouting, output, input;
};
void add_dns_rules(const std::string& protocol, const std::string& cluster,
                   const std::string& address, DnsRules& out) {
  const std::string match = " -p " + protocol + " -m " + protocol;
  const std::string asked = "-d " + address + match + " --dport 53 -j CT --notrack";
  out.prerouting.push_back(asked);
  out.output.push_back(asked);
  out.output.push_back("-s " + address + match + " --sport 53 -j CT --notrack");
  out.input.push_back("-s " + cluster + " -d " + address + " -i " + kBridgeName + match +
                      " --dport 53 -j ACCEPT");
  out.input.push_back("-d " + address + " -i lo" + match + " --dport 53 -j ACCEPT");
  out.input.push_back("-s " + address + " -i lo" + match + " --sport 53 -j ACCEPT");
}

// Conntrack is of no use to what is answered on this node, and costs an entry for each question;
// and what is not tracked is not rewritten either. Answers to the node itself are untracked from
// OUTPUT on, also where they come in again.
DnsRules dns_rules(const std::string& cluster, const std::optional<Ip>& dns) {
  DnsRules out;
  if (!dns) return out;
  const std::string address = Cidr{*dns, 32}.to_string();
  for (const char* protocol : {"udp", "tcp"}) add_dns_rules(protocol, cluster, address, out);
  return out;
}

}  // namespace

Result<std::unique_ptr<Firewall>> open_firewall() {
  return make_firewall(TRY(IptablesTool::detect()));
}

std::unique_ptr<Firewall> make_firewall(IptablesTool tool) {
  return std::make_unique<IptablesFirewall>(std::move(tool));
}

std::vector<std::unique_ptr<Firewall>> open_firewalls() {
  std::vector<std::unique_ptr<Firewall>> all;
  for (const IptablesVariant variant : {IptablesVariant::Nft, IptablesVariant::Legacy}) {
    if (auto tool = IptablesTool::open(variant)) all.push_back(make_firewall(std::move(*tool)));
  }
  return all;
}

std::vector<OwnChain> pod_chains(const Cidr& pod_cidr, const Cidr& cluster_cidr,
                                 const std::optional<Ip>& cluster_dns) {
  const std::string pods = Cidr{pod_cidr.network(), pod_cidr.prefix}.to_string();
  const std::string cluster = Cidr{cluster_cidr.network(), cluster_cidr.prefix}.to_string();
  const std::string bridge = Cidr{bridge_address(pod_cidr).ip, 32}.to_string();
  const DnsRules dns = dns_rules(cluster, cluster_dns);
  std::vector<std::string> input = {"-s " + cluster + " -d " + bridge + " -p udp -m udp --dport " +
                                    std::to_string(kProbePort) + " -j ACCEPT"};
  input.insert(input.end(), dns.input.begin(), dns.input.end());
  return {{"raw", "CORACLE-PREROUTING", "PREROUTING", dns.prerouting},
          {"raw", "CORACLE-OUTPUT", "OUTPUT", dns.output},
          {"nat",
           "CORACLE-POSTROUTING",
           "POSTROUTING",
           {"-s " + pods + " -d 224.0.0.0/4 -j RETURN",
            "-s " + pods + " ! -d " + cluster + " -j MASQUERADE --random-fully"}},
          // A client of a node port may have a larger MTU than the overlay, and nobody to tell it:
          // its connections and the answers agree on what fits.
          {"mangle",
           "CORACLE-MSS",
           "FORWARD",
           {std::string("-o ") + kVxlanName + kClamp, std::string("-i ") + kVxlanName + kClamp}},
          {"filter",
           "CORACLE-FORWARD",
           "FORWARD",
           {"-s " + pods + " -j ACCEPT", "-d " + pods + " -j ACCEPT"}},
          // The other nodes' tests of the way to us, where INPUT drops by default: else they would
          // take this node for unreachable. And questions to the DNS.
          {"filter", "CORACLE-INPUT", "INPUT", std::move(input)}};
}

std::string install_text(const OwnChain& chain, const std::string& saved) {
  const Present present = find(chain, saved);
  std::string rules;
  bool same = present.chain && present.rules.size() == chain.rules.size();
  for (std::size_t i = 0; i < chain.rules.size(); ++i) {
    const std::string line = "-A " + chain.chain + " " + chain.rules[i];
    same = same && line == present.rules[i];
    rules += line + "\n";
  }
  if (same && present.jumps.size() == 1) return "";
  std::string text = "*" + chain.table + "\n:" + chain.chain + " - [0:0]\n" + rules;
  for (std::size_t i = 1; i < present.jumps.size(); ++i)
    text += "-D" + present.jumps[i].substr(2) + "\n";
  if (present.jumps.empty())
    text += "-A " + chain.parent + " -m comment --comment coracle -j " + chain.chain + "\n";
  return text + "COMMIT\n";
}

std::string remove_text(const OwnChain& chain, const std::string& saved) {
  const Present present = find(chain, saved);
  if (!present.chain) return "";  // then nothing can jump to it
  std::string text = "*" + chain.table + "\n:" + chain.chain + " - [0:0]\n";
  for (const std::string& jump : present.jumps) text += "-D" + jump.substr(2) + "\n";
  return text + "-X " + chain.chain + "\nCOMMIT\n";
}

Result<void> install_chains(Firewall& firewall, const std::vector<OwnChain>& chains) {
  return run(firewall, chains, install_text);
}

Result<void> remove_chains(Firewall& firewall, const std::vector<OwnChain>& chains) {
  return run(firewall, chains, remove_text);
}

}  // namespace coracle
