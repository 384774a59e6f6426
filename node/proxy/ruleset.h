// Chains as values: what the kernel should hold, as text that iptables-restore takes, and the
// difference between two such states. Knows nothing of Services and runs nothing.
#pragma once

#include <compare>
#include <map>
#include <string>
#include <vector>

namespace coracle::proxy {

// A rule of ours in a chain that belongs to the system, as "FORWARD" and "-j KUBE-FORWARD".
struct Jump {
  std::string table;
  std::string chain;
  std::string rule;
  auto operator<=>(const Jump&) const = default;
};

struct ChainId {
  std::string table;
  std::string chain;
  auto operator<=>(const ChainId&) const = default;
};

struct Ruleset {
  std::map<ChainId, std::vector<std::string>> chains;  // our chains; rules without "-A CHAIN"
  std::vector<Jump> jumps;                             // in the order in which packets meet them

  bool operator==(const Ruleset&) const = default;
};

struct RulesetDiff {
  std::map<ChainId, std::vector<std::string>>
      written;  // new or changed chains, with their whole content
  std::vector<ChainId> removed;
  bool empty() const { return written.empty() && removed.empty(); }
};
RulesetDiff diff(const Ruleset& applied, const Ruleset& wanted);

// One transaction for `iptables-restore --noflush`. Chains come first, then their rules, then
// removals, so that any rule may name any chain.
std::string to_string(const RulesetDiff& diff);
// The whole set, jumps last, for people and golden files.
std::string to_string(const Ruleset& ruleset);

}  // namespace coracle::proxy
