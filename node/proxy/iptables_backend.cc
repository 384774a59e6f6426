#include "proxy/iptables_backend.h"

#include <coracle/log.h>
#include <coracle/metrics.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

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

std::vector<std::string> targets_of(const std::vector<std::string>& rules) {
  std::vector<std::string> out(rules.size());
  std::transform(rules.begin(), rules.end(), out.begin(), target_of);
  return out;
}

// The rules of one system's chain that jump to our chains.
std::vector<std::string> jumps_of(const Ruleset& wanted, const ChainId& parent) {
  std::vector<std::string> out;
  for (const Jump& jump : wanted.jumps) {
    if (jump.table == parent.table && jump.chain == parent.chain) out.push_back(jump.rule);
  }
  return out;
}

std::set<ChainId> parents_of(const Ruleset& wanted) {
  std::set<ChainId> out;
  for (const Jump& jump : wanted.jumps) out.insert({jump.table, jump.chain});
  return out;
}

int transactions_of(const std::string& text) {
  int count = 0;
  for (std::size_t at = 0; (at = text.find("COMMIT\n", at)) != std::string::npos; ++at) ++count;
  return count;
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

std::string jump_repairs(const Ruleset& wanted, const std::map<std::string, FoundRules>& found) {
  std::map<std::string, std::string> commands;
  for (const ChainId& parent : parents_of(wanted)) {
    const auto& jumps = found.at(parent.table).jumps;
    const auto here = jumps.find(parent.chain);
    const auto actual = here == jumps.end() ? std::vector<std::string>() : here->second;
    auto rules = jumps_of(wanted, parent);
    if (targets_of(actual) == targets_of(rules)) continue;
    std::string& text = commands[parent.table];
    for (const std::string& rule : actual)
      text.append("-D ").append(parent.chain).append(" ").append(rule).append("\n");
    std::reverse(rules.begin(), rules.end());
    for (const std::string& rule : rules)
      text.append("-I ").append(parent.chain).append(" 1 ").append(rule).append("\n");
  }
  std::string out;
  for (const auto& [table, text] : commands)
    out.append("*").append(table).append("\n").append(text).append("COMMIT\n");
  return out;
}

std::map<ChainId, std::vector<std::string>> contents_of(const std::set<ChainId>& wanted,
                                                        const ServiceTable& table,
                                                        const IptablesConfig& config) {
  std::map<ChainId, std::vector<std::string>> out;
  const auto take = [&](const Ruleset& rules, bool of_ports) {
    for (const auto& [id, content] : rules.chains) {
      if (wanted.contains(id) && is_port_chain(id.chain) == of_ports) out.emplace(id, content);
    }
  };
  if (wanted.empty()) return out;
  take(shared_rules(table, config), false);
  // One port at a time: all rules at once would be tens of megabytes.
  for (const ServicePort& port : table.ports) {
    if (out.size() == wanted.size()) break;
    take(iptables_rules({{port}}, config), true);
  }
  return out;
}

Result<void> IptablesBackend::sync(const ServiceTable& table) {
  reap(false);
  if (std::exchange(doubted_, false)) applied_ = false;
  const Result<void> done = applied_ ? sync_changes(table) : sync_fully(table);
  applied_ = done.has_value();
  if (!done) return done.error().context("Service rules");
  const bool were_missing = !std::exchange(damage_, {}).empty() || !last_table_;
  forget_flows(table, were_missing);
  last_table_ = table;
  return {};
}

Result<void> IptablesBackend::sync_changes(const ServiceTable& table) {
  RulesetDiff changes = iptables_changes(*last_table_, table, config_);
  auto repairs = contents_of(damage_.chains, table, config_);
  // A chain of ours that we do not want: only a full sync knows what else there is.
  if (damage_.unknown || repairs.size() != damage_.chains.size()) return sync_fully(table);
  changes.written.merge(repairs);
  if (!changes.empty()) TRY(restore(to_string(changes)));
  if (damage_.parents.empty()) return {};
  return restore_jumps();
}

// Every change of ours goes through here, so that the watch knows it for ours.
Result<void> IptablesBackend::restore(const std::string& text) {
  reap(false);
  if (!watch_) return tool_.restore(text);
  const int transactions = transactions_of(text);
  TRY(watch_->before_own_change());
  ToolRun run{.events = watch_->commits(),
              .in_force = [&](pid_t pid) { return watch_->in_force(pid, transactions); }};
  auto done = tool_.restore(text, run);
  if (!run.ended) ending_.push_back(run.pid);
  TRY(watch_->after_own_change(run.pid, transactions));
  return done;
}

void IptablesBackend::reap(bool all) {
  std::erase_if(ending_, [&](pid_t pid) {
    const Ending ending = wait_for_process(pid, all);
    if (ending == Ending::Badly && !std::exchange(doubted_, true))
      log::warn("proxy",
                "the tool ended badly after its changes were in force: all Service rules are "
                "looked at",
                {{"tool", tool_.name()}});
    return ending != Ending::Running;
  });
}

Result<void> IptablesBackend::open_watch() {
  if (watch_) return {};
  watch_ =
      TRY(RuleWatch::open(tool_.variant(), {.tables = {kTables.begin(), kTables.end()},
                                            .own = is_own_chain,
                                            .parents = parents_of(shared_rules({}, config_))}));
  return {};
}

// Best effort: the rules are right, and flows that stay wrong end by themselves.
void IptablesBackend::forget_flows(const ServiceTable& table, bool were_missing) {
  const auto stale = last_table_ ? StaleUdpFlows(*last_table_, table) : StaleUdpFlows(table);
  const UnservedFlows unserved(were_missing ? table : ServiceTable{});
  if (stale.empty() && unserved.empty()) return;
  const auto removed = remove_flows(
      [&](const Flow& flow) { return stale.contains(flow) || unserved.contains(flow); });
  if (!removed)
    log::warn("proxy", "flows that do not meet the new rules stay until they end",
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
    TRY(restore(to_string(chunk)));
    chunk = {};
  }
  for (auto& [id, rules] : shared_rules(table, config_).chains) {
    wanted.insert(id);
    chunk.written.insert_or_assign(id, std::move(rules));
  }
  return restore(to_string(chunk));
}

Result<void> IptablesBackend::sync_fully(const ServiceTable& table) {
  TRY(open_watch());
  (void)TRY(watch_->look());  // what is read from here on includes it
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
  if (!stale.empty()) TRY(restore(to_string(stale)));
  const std::string jumps = jump_repairs(shared_rules({}, config_), found);
  if (jumps.empty()) return {};
  return restore(jumps);
}

Result<bool> IptablesBackend::intact() {
  reap(true);
  if (!applied_ || doubted_) return false;
  RuleDamage seen = TRY(watch_->look());
  damage_.unknown |= seen.unknown;
  damage_.chains.merge(seen.chains);
  // The system's chains are everybody's: most changes there are none of our business.
  for (const ChainId& parent : seen.parents) {
    if (!TRY(jumps_are_right(parent))) damage_.parents.insert(parent);
  }
  return damage_.empty();
}

Result<bool> IptablesBackend::jumps_are_right(const ChainId& parent) {
  const auto found = find_own_rules(parent.table, TRY(tool_.rules_of(parent.table, parent.chain)));
  const auto here = found.jumps.find(parent.chain);
  const auto actual = here == found.jumps.end() ? std::vector<std::string>() : here->second;
  return targets_of(actual) == targets_of(jumps_of(shared_rules({}, config_), parent));
}

// Of the chains that are damaged.
Result<void> IptablesBackend::restore_jumps() {
  Ruleset wanted = shared_rules({}, config_);
  std::erase_if(wanted.jumps, [this](const Jump& jump) {
    return !damage_.parents.contains({jump.table, jump.chain});
  });
  std::map<std::string, FoundRules> found;
  for (const ChainId& parent : damage_.parents) {
    auto here = find_own_rules(parent.table, TRY(tool_.rules_of(parent.table, parent.chain)));
    found[parent.table].jumps.merge(here.jumps);
  }
  const std::string text = jump_repairs(wanted, found);
  if (text.empty()) return {};
  return restore(text);
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
      for (const std::string& rule : rules)
        text.append("-D ").append(chain).append(" ").append(rule).append("\n");
    }
    for (const ChainId& id : found.chains) text += "-X " + id.chain + "\n";
    text += "COMMIT\n";
  }
  if (text.empty()) return {};
  return restore(text);
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
