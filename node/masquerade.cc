#include "masquerade.h"

#include <string_view>

#include "kernel_state.h"
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
  for (const OwnChain& chain : chains) {
    const auto saved = firewall.save(chain.table);
    const std::string text = saved ? text_of(chain, *saved) : "";
    const auto done = text.empty() ? Result<void>() : firewall.restore(text);
    if (!saved) problems += saved.error().message + "; ";
    if (!done) problems += chain.chain + ": " + done.error().message + "; ";
  }
  if (!problems.empty()) return Error{Code::Internal, problems};
  return {};
}

}  // namespace

Result<std::unique_ptr<Firewall>> open_firewall() {
  return make_firewall(TRY(IptablesTool::detect()));
}

std::unique_ptr<Firewall> make_firewall(IptablesTool tool) {
  return std::make_unique<IptablesFirewall>(std::move(tool));
}

std::vector<OwnChain> pod_chains(const Cidr& pod_cidr, const Cidr& cluster_cidr) {
  const std::string pods = Cidr{pod_cidr.network(), pod_cidr.prefix}.to_string();
  const std::string cluster = Cidr{cluster_cidr.network(), cluster_cidr.prefix}.to_string();
  return {{"nat",
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
           {"-s " + pods + " -j ACCEPT", "-d " + pods + " -j ACCEPT"}}};
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
