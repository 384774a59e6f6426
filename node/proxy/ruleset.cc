#include "proxy/ruleset.h"

#include <set>

namespace coracle::proxy {
namespace {

void declare(std::string& out, const std::string& chain) {
  out += ":" + chain + " - [0:0]\n";
}

void append(std::string& out, const std::string& chain, const std::vector<std::string>& rules) {
  for (const std::string& rule : rules) out += "-A " + chain + " " + rule + "\n";
}

}  // namespace

RulesetDiff diff(const Ruleset& applied, const Ruleset& wanted) {
  RulesetDiff out;
  for (const auto& [id, rules] : wanted.chains) {
    const auto old = applied.chains.find(id);
    if (old == applied.chains.end() || old->second != rules) out.written.emplace(id, rules);
  }
  for (const auto& [id, rules] : applied.chains) {
    if (!wanted.chains.contains(id)) out.removed.push_back(id);
  }
  return out;
}

std::string to_string(const RulesetDiff& diff) {
  std::set<std::string> tables;
  for (const auto& [id, rules] : diff.written) tables.insert(id.table);
  for (const ChainId& id : diff.removed) tables.insert(id.table);
  std::string out;
  for (const std::string& table : tables) {
    out += "*" + table + "\n";
    for (const auto& [id, rules] : diff.written) {
      if (id.table == table) declare(out, id.chain);
    }
    // A chain is emptied before it is removed: -X refuses others.
    for (const ChainId& id : diff.removed) {
      if (id.table == table) declare(out, id.chain);
    }
    for (const auto& [id, rules] : diff.written) {
      if (id.table == table) append(out, id.chain, rules);
    }
    for (const ChainId& id : diff.removed) {
      if (id.table == table) out += "-X " + id.chain + "\n";
    }
    out += "COMMIT\n";
  }
  return out;
}

std::string to_string(const Ruleset& ruleset) {
  std::string out = to_string(RulesetDiff{ruleset.chains, {}});
  for (const Jump& jump : ruleset.jumps) {
    out += "# " + jump.table + ": -I " + jump.chain + " " + jump.rule + "\n";
  }
  return out;
}

}  // namespace coracle::proxy
