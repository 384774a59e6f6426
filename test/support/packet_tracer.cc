#include "support/packet_tracer.h"

#include <algorithm>
#include <stdexcept>

namespace coracle::test {
namespace {

std::vector<std::string> words(const std::string& rule) {
  std::vector<std::string> out;
  std::string word;
  bool quoted = false;
  for (const char c : rule) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ' ' && !quoted) {
      if (!word.empty()) out.push_back(word);
      word.clear();
    } else {
      word += c;
    }
  }
  if (!word.empty()) out.push_back(word);
  return out;
}

bool inside(const std::string& address, const std::string& cidr) {
  const auto parsed = Cidr::parse(cidr);
  const auto ip = Ip::parse(address);
  if (!parsed || !ip) throw std::runtime_error("no address: " + address + " in " + cidr);
  return parsed->contains(*ip);
}

}  // namespace

bool PacketTracer::is_local(const std::string& address) const {
  return node_addresses_.contains(address) || inside(address, "127.0.0.0/8");
}

std::string PacketTracer::trace(const Packet& packet) {
  State state{packet.from, packet.to, packet.protocol, packet.port};
  const bool outgoing = is_local(packet.from);
  run_base("nat", outgoing ? "OUTPUT" : "PREROUTING", state);
  std::vector<const char*> filters;
  if (outgoing) filters.push_back("OUTPUT");
  if (is_local(state.to)) filters.push_back("INPUT");
  if (filters.empty()) filters.push_back("FORWARD");
  for (const char* chain : filters) {
    const Verdict verdict = run_base("filter", chain, state);
    if (verdict == Verdict::Drop) return "DROP";
    if (verdict == Verdict::Reject) return "REJECT";
  }
  run_base("nat", "POSTROUTING", state);
  const std::string where =
      state.rewritten ? state.to + ":" + std::to_string(state.port) : "ACCEPT";
  return where + (state.masquerade ? " masq" : "");
}

PacketTracer::Verdict PacketTracer::run_base(const std::string& table, const std::string& chain,
                                             State& state) {
  for (std::size_t i = 0; i < rules_.jumps.size(); ++i) {
    const Jump& jump = rules_.jumps[i];
    if (jump.table != table || jump.chain != chain) continue;
    const Verdict verdict = run_rule({table, chain}, i, jump.rule, state, 0);
    if (verdict != Verdict::Continue) return verdict;
  }
  return Verdict::Accept;
}

PacketTracer::Verdict PacketTracer::run_chain(const ChainId& id, State& state, int depth) {
  const auto chain = rules_.chains.find(id);
  if (chain == rules_.chains.end())
    throw std::runtime_error("no chain " + id.table + "/" + id.chain);
  if (depth > 16) throw std::runtime_error("too deep at " + id.chain);
  for (std::size_t i = 0; i < chain->second.size(); ++i) {
    const Verdict verdict = run_rule(id, i, chain->second[i], state, depth);
    if (verdict == Verdict::Return) return Verdict::Continue;
    if (verdict != Verdict::Continue) return verdict;
  }
  return Verdict::Continue;
}

// NOLINTNEXTLINE(readability-function-size): one branch per iptables option
PacketTracer::Verdict PacketTracer::run_rule(const ChainId& id, std::size_t index,
                                             const std::string& rule, State& state, int depth) {
  const std::vector<std::string> w = words(rule);
  std::string list;
  std::string target;
  std::string to;
  int seconds = 0;
  unsigned every = 0;
  unsigned set_or = 0;
  unsigned set_xor = 0;
  bool negate = false;
  bool rcheck = false;
  bool set = false;
  bool reset = false;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::string& option = w[i];
    if (option == "!") {
      negate = true;
      continue;
    }
    if (option == "--rcheck" || option == "--set" || option == "--reap" ||
        option == "--random-fully") {
      rcheck = rcheck || option == "--rcheck";
      set = set || option == "--set";
      continue;
    }
    if (i + 1 >= w.size()) throw std::runtime_error("what is " + option + " in " + rule);
    const std::string& value = w[++i];
    bool matches = true;
    if (option == "-s")
      matches = inside(state.from, value);
    else if (option == "-d")
      matches = inside(state.to, value);
    else if (option == "-p")
      matches = state.protocol == value;
    else if (option == "--dport")
      matches = std::to_string(state.port) == value;
    else if (option == "--dst-type")
      matches = is_local(state.to);
    else if (option == "--src-type")
      matches = is_local(state.from);
    else if (option == "--mark")
      matches = (state.mark & 0x4000U) != 0;
    else if (option == "--ctstate")
      matches = ("," + value + ",").find(",NEW,") != std::string::npos ||
                (state.rewritten && value.find("DNAT") != std::string::npos);
    else if (option == "--name")
      list = value;
    else if (option == "--seconds")
      seconds = std::stoi(value);
    else if (option == "--every")
      every = static_cast<unsigned>(std::stoul(value));
    else if (option == "-j")
      target = value;
    else if (option == "--reject-with")
      reset = value == "tcp-reset";
    else if (option == "--to-destination")
      to = value;
    else if (option == "--or-mark")
      set_or = static_cast<unsigned>(std::stoul(value, nullptr, 0));
    else if (option == "--xor-mark")
      set_xor = static_cast<unsigned>(std::stoul(value, nullptr, 0));
    else if (option != "-m" && option != "--comment" && option != "--mode" && option != "--packet")
      throw std::runtime_error("unknown option " + option + " in " + rule);
    if (matches == negate) return Verdict::Continue;
    negate = false;
  }
  if (rcheck) {
    const auto seen = recent_[list].find(state.from);
    if (seen == recent_[list].end() || now_ - seen->second > seconds) return Verdict::Continue;
  }
  if (every > 0 && counters_[{id, index}]++ % every != 0) return Verdict::Continue;
  if (set) recent_[list][state.from] = now_;

  if (target == "MARK") {
    state.mark = (state.mark | set_or) ^ set_xor;
    return Verdict::Continue;
  }
  if (target == "DNAT") {
    state.to = to.substr(0, to.find(':'));
    state.port = static_cast<Port>(std::stoul(to.substr(to.find(':') + 1)));
    state.rewritten = true;
    return Verdict::Accept;
  }
  if (target == "MASQUERADE") {
    state.masquerade = true;
    return Verdict::Accept;
  }
  if (target == "RETURN") return Verdict::Return;
  if (target == "ACCEPT") return Verdict::Accept;
  if (target == "DROP") return Verdict::Drop;
  // Another way to refuse TCP would be heard of once a second.
  if (target == "REJECT") {
    if (reset != (state.protocol == "tcp")) throw std::runtime_error("how to refuse: " + rule);
    return Verdict::Reject;
  }
  return run_chain({id.table, target}, state, depth + 1);
}

}  // namespace coracle::test
