#include "proxy/iptables_backend.h"

#include <coracle/log.h>
#include <coracle/metrics.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "netlink/nft_generation.h"
#include "proxy/conntrack.h"

namespace coracle::proxy {
namespace {

metrics::Counter starts("coracle_proxy_backend_starts_total",
                        "Which tool the Service rules go through.");

// About 300 Services of three endpoints.
constexpr std::size_t kChunkChains = 1500;
constexpr std::array<const char*, 2> kTables{"filter", "nat"};

// The chain a rule jumps to.
std::string target_of(const std::string& rule) {
  const std::size_t at = rule.find("-j ");
  if (at == std::string::npos) return "";
  return rule.substr(at + 3, rule.find(' ', at + 3) - at - 3);
}

// The jumps of `wanted` that a chain of the system lacks, as commands per table. They go on top, in
// order.
std::map<std::string, std::string> missing_jumps(const Ruleset& wanted,
                                                 const std::map<std::string, FoundRules>& found) {
  std::map<std::string, std::string> commands;
  for (auto jump = wanted.jumps.rbegin(); jump != wanted.jumps.rend(); ++jump) {
    const auto& jumps = found.at(jump->table).jumps;
    const auto here = jumps.find(jump->chain);
    const std::string target = target_of(jump->rule);
    const bool present =
        here != jumps.end() &&
        std::any_of(here->second.begin(), here->second.end(),
                    [&](const std::string& rule) { return target_of(rule) == target; });
    if (!present) commands[jump->table] += "-I " + jump->chain + " 1 " + jump->rule + "\n";
  }
  return commands;
}

}  // namespace

FoundRules find_own_rules(const std::string& table, const std::string& save_text) {
  FoundRules found;
  for (std::size_t at = 0; at < save_text.size();) {
    const std::size_t end = std::min(save_text.find('\n', at), save_text.size());
    const std::string line = save_text.substr(at, end - at);
    at = end + 1;
    const std::size_t begin = line.starts_with(":") ? 1 : 3;
    if (begin == 3 && !line.starts_with("-A ")) continue;
    const std::string chain = line.substr(begin, line.find(' ', begin) - begin);
    if (begin == 1) {
      if (is_own_chain(chain)) found.chains.insert({table, chain});
    } else if (!is_own_chain(chain) && is_own_chain(target_of(line))) {
      found.jumps[chain].push_back(line.substr(std::min(line.size(), begin + chain.size() + 1)));
    }
  }
  return found;
}

Result<void> IptablesBackend::sync(const ServiceTable& table) {
  Result<void> done;
  if (!applied_) {
    done = sync_fully(table);
  } else {
    const RulesetDiff changes = iptables_changes(last_table_, table, config_);
    if (!changes.empty()) done = tool_.restore(to_string(changes));
  }
  applied_ = done.has_value();
  if (!done) return done.error().context("Service rules");
  forget_udp_flows(table);
  last_table_ = table;
  return {};
}

// Best effort: the rules are right, and flows that stay wrong end by themselves.
void IptablesBackend::forget_udp_flows(const ServiceTable& table) {
  const StaleUdpFlows stale(last_table_, table);
  if (stale.empty()) return;
  const auto removed = remove_udp_flows([&](const UdpFlow& flow) { return stale.contains(flow); });
  if (!removed)
    log::warn("proxy", "UDP flows to endpoints that are gone stay until they end",
              {{"error", removed.error().message}});
}

// A Service's own chains in one transaction each, the shared chains last: no packet meets a
// half-built Service. `wanted` gets every chain's name.
Result<void> IptablesBackend::write_chains(const ServiceTable& table, std::set<ChainId>& wanted) {
  RulesetDiff chunk;
  const ChainId mark{"nat", "KUBE-MARK-MASQ"};  // Services' chains jump to it
  chunk.written.emplace(mark, shared_rules({}, config_).chains.at(mark));
  for (const ServicePort& port : table.ports) {
    for (auto& [id, rules] : iptables_rules({{port}}, config_).chains) {
      if (!is_port_chain(id.chain)) continue;
      wanted.insert(id);
      chunk.written.emplace(id, std::move(rules));
    }
    if (chunk.written.size() < kChunkChains) continue;
    TRY(tool_.restore(to_string(chunk)));
    chunk = {};
  }
  for (auto& [id, rules] : shared_rules(table, config_).chains) {
    wanted.insert(id);
    chunk.written.insert_or_assign(id, std::move(rules));
  }
  return tool_.restore(to_string(chunk));
}

Result<void> IptablesBackend::sync_fully(const ServiceTable& table) {
  std::map<std::string, FoundRules> found;
  for (const char* name : kTables) found[name] = find_own_rules(name, TRY(tool_.save(name)));
  std::set<ChainId> wanted;
  TRY(write_chains(table, wanted));
  RulesetDiff stale;
  for (const auto& [name, rules] : found) {
    for (const ChainId& id : rules.chains) {
      if (!wanted.contains(id)) stale.removed.push_back(id);
    }
  }
  if (!stale.empty()) TRY(tool_.restore(to_string(stale)));
  std::string text;
  for (const auto& [name, commands] : missing_jumps(iptables_rules({}, config_), found)) {
    text += "*" + name + "\n" + commands + "COMMIT\n";
  }
  if (text.empty()) return {};
  return tool_.restore(text);
}

// Running the tool costs milliseconds; asking whether anybody has changed any rule, microseconds.
Result<bool> IptablesBackend::intact() {
  if (!applied_) return false;
  std::optional<std::uint32_t> generation;
  if (tool_.variant() == IptablesVariant::Nft)
    if (const auto now = nft_generation()) generation = *now;
  if (generation && generation == found_intact_at_) return true;
  const auto found = jumps_are_there();
  // Asked before the rules were looked at: a change meanwhile has another generation.
  found_intact_at_ = found && *found ? generation : std::nullopt;
  return found;
}

Result<bool> IptablesBackend::jumps_are_there() {
  const Ruleset fixed = iptables_rules({}, config_);
  std::string text;
  for (const char* table : kTables) {
    text += std::string("*") + table + "\n-C " + kCanaryChain + " " + kCanaryRule + "\n";
    for (const Jump& jump : fixed.jumps) {
      if (jump.table == table) text += "-C " + jump.chain + " " + jump.rule + "\n";
    }
    text += "COMMIT\n";
  }
  const auto checked = tool_.restore(text);
  if (checked) return true;
  if (checked.error().code == Code::Internal) return false;  // the tool ran and said no
  return checked.error();
}

Result<void> IptablesBackend::cleanup() {
  applied_ = false;
  std::string text;
  for (const char* table : kTables) {
    const FoundRules found = find_own_rules(table, TRY(tool_.save(table)));
    if (found.chains.empty() && found.jumps.empty()) continue;
    text += std::string("*") + table + "\n";
    for (const ChainId& id : found.chains) text += ":" + id.chain + " - [0:0]\n";
    for (const auto& [chain, rules] : found.jumps) {
      for (const std::string& rule : rules) text += "-D " + chain + " " + rule + "\n";
    }
    for (const ChainId& id : found.chains) text += "-X " + id.chain + "\n";
    text += "COMMIT\n";
  }
  if (text.empty()) return {};
  return tool_.restore(text);
}

Result<std::unique_ptr<ProxyBackend>> make_backend(const std::string& mode,
                                                   const IptablesConfig& config) {
  if (mode != "iptables") {
    return Error{Code::BadRequest,
                 "proxy mode \"" + mode + "\" is not built: the modes that work are: iptables"};
  }
  auto tool = TRY(IptablesTool::detect());
  starts.add(1, {{"backend", tool.name()}});
  return std::unique_ptr<ProxyBackend>(std::make_unique<IptablesBackend>(std::move(tool), config));
}

}  // namespace coracle::proxy
