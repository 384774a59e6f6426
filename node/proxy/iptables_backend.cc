#include "proxy/iptables_backend.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "proxy/conntrack.h"

namespace coracle::proxy {
namespace {

// About 300 Services of three endpoints.
constexpr std::size_t kChunkChains = 1500;
constexpr std::array<const char*, 2> kTables{"filter", "nat"};

// The chain a rule jumps to.
std::string target_of(const std::string& rule) {
  const std::size_t at = rule.find("-j ");
  if (at == std::string::npos) return "";
  return rule.substr(at + 3, rule.find(' ', at + 3) - at - 3);
}

// Endpoints first, then what refers to them, dispatch last: no packet meets a half-built Service.
int stage(const std::string& chain) {
  if (chain.starts_with("KUBE-SEP-") || chain == "KUBE-MARK-MASQ" || chain == "KUBE-POSTROUTING")
    return 0;
  if (chain.starts_with("KUBE-SVC-") || chain.starts_with("KUBE-SVL-")) return 1;
  if (chain.starts_with("KUBE-EXT-")) return 2;
  if (chain.starts_with("KUBE-FW-")) return 3;
  return 4;
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
  Ruleset wanted = iptables_rules(table, config_);
  Result<void> done;
  if (!applied_) {
    done = sync_fully(wanted);
  } else {
    const RulesetDiff changes = diff(*applied_, wanted);
    if (changes.empty()) return {};
    done = tool_.restore(to_string(changes));
  }
  if (!done) {
    applied_.reset();
    return done.error().context("Service rules");
  }
  applied_ = std::move(wanted);
  forget_udp_flows(table);
  last_table_ = table;
  return {};
}

// Best effort: the rules are right, and flows that stay wrong end by themselves.
void IptablesBackend::forget_udp_flows(const ServiceTable& table) {
  const StaleUdpFlows stale(last_table_, table);
  if (stale.empty()) return;
  const auto removed = remove_udp_flows([&](const UdpFlow& flow) { return stale.contains(flow); });
  if (!removed) spdlog::warn("service rules: {}", removed.error().message);
}

Result<void> IptablesBackend::sync_fully(const Ruleset& wanted) {
  std::map<std::string, FoundRules> found;
  for (const char* table : kTables) found[table] = find_own_rules(table, TRY(tool_.save(table)));

  std::map<int, std::vector<ChainId>> stages;
  for (const auto& [id, rules] : wanted.chains) stages[stage(id.chain)].push_back(id);
  RulesetDiff chunk;
  for (auto& [number, ids] : stages) {
    const bool last = number == 4;
    for (const ChainId& id : ids) {
      chunk.written.emplace(id, wanted.chains.at(id));
      if (chunk.written.size() < kChunkChains || last) continue;
      TRY(tool_.restore(to_string(chunk)));
      chunk = {};
    }
  }
  TRY(tool_.restore(to_string(chunk)));

  RulesetDiff stale;
  for (const auto& [table, rules] : found) {
    for (const ChainId& id : rules.chains) {
      if (!wanted.chains.contains(id)) stale.removed.push_back(id);
    }
  }
  if (!stale.empty()) TRY(tool_.restore(to_string(stale)));
  std::string text;
  for (const auto& [table, commands] : missing_jumps(wanted, found)) {
    text += "*" + table + "\n" + commands + "COMMIT\n";
  }
  if (text.empty()) return {};
  return tool_.restore(text);
}

Result<bool> IptablesBackend::intact() {
  if (!applied_) return false;
  std::string text;
  for (const char* table : kTables) {
    text += std::string("*") + table + "\n-C " + kCanaryChain + " " + kCanaryRule + "\n";
    for (const Jump& jump : applied_->jumps) {
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
  applied_.reset();
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
  return std::unique_ptr<ProxyBackend>(
      std::make_unique<IptablesBackend>(TRY(IptablesTool::detect()), config));
}

}  // namespace coracle::proxy
