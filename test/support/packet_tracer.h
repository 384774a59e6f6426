// PacketTracer: takes a connection's first packet through a Ruleset the way netfilter would: nat
// PREROUTING or OUTPUT, then filter INPUT, FORWARD or OUTPUT, then nat POSTROUTING. It knows
// exactly the matches that our rules use and throws on any other, so that a rule it can't judge
// fails the test. Keeps the nth counters and affinity lists between packets, as the kernel does.
// IPv4.
#pragma once

#include <coracle/net.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "node/proxy/ruleset.h"

namespace coracle::test {

using proxy::ChainId;
using proxy::Jump;
using proxy::Ruleset;

struct Packet {
  std::string from;  // an address; a node address or loopback is sent by the node itself
  std::string to;
  Port port = 0;
  std::string protocol = "tcp";
};

class PacketTracer {
 public:
  PacketTracer(Ruleset rules, std::set<std::string> node_addresses)
      : rules_(std::move(rules)), node_addresses_(std::move(node_addresses)) {}

  // "10.42.0.5:80" (rewritten), "ACCEPT" (left alone), "DROP" or "REJECT"; " masq" follows where
  // the source is rewritten.
  std::string trace(const Packet& packet);
  void advance(int seconds) { now_ += seconds; }

 private:
  struct State {
    std::string from, to, protocol;
    Port port = 0;
    bool rewritten = false;
    unsigned mark = 0;
    bool masquerade = false;
  };
  enum class Verdict { Continue, Return, Accept, Drop, Reject };
  Verdict run_base(const std::string& table, const std::string& chain, State& state);
  Verdict run_chain(const ChainId& id, State& state, int depth);
  Verdict run_rule(const ChainId& id, std::size_t index, const std::string& rule, State& state,
                   int depth);
  bool is_local(const std::string& address) const;

  Ruleset rules_;
  std::set<std::string> node_addresses_;
  std::map<std::pair<ChainId, std::size_t>, unsigned> counters_;
  std::map<std::string, std::map<std::string, int>> recent_;  // list -> source -> last seen
  int now_ = 0;
};

}  // namespace coracle::test
