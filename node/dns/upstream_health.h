// Which of several upstream servers to ask first: those that answer, in the order given; then those
// that do not, of which each is given a try when its time has come. And which of them take no EDNS,
// for a while, as servers are replaced. Pure but for its memory, a few words of each server.
#pragma once

#include <coracle/net.h>

#include <chrono>
#include <compare>
#include <cstddef>
#include <optional>
#include <vector>

namespace coracle::dns {

struct UpstreamServer {
  Ip ip;
  Port port = 53;
  auto operator<=>(const UpstreamServer&) const = default;
};

class UpstreamHealth {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // Those that were known already keep their health.
  void set_servers(const std::vector<UpstreamServer>& servers);
  bool empty() const { return states_.empty(); }
  // All of them, each once.
  std::vector<UpstreamServer> order(Time now) const;
  // It has answered, whatever it said.
  void answered(const UpstreamServer& server);
  // Silence or an error of the network: back-off from 1 to 30 seconds.
  void failed(const UpstreamServer& server, Time now);
  // It has answered well only without EDNS: for 15 minutes it is asked so.
  void refused_edns(const UpstreamServer& server, Time now);
  bool takes_edns(const UpstreamServer& server, Time now) const;

 private:
  struct State {
    UpstreamServer server;
    std::size_t failures = 0;  // in a row
    Time retry{};
    std::optional<Time> plain_until = {};  // without EDNS
  };
  State* find(const UpstreamServer& server);
  const State* find(const UpstreamServer& server) const;
  std::vector<State> states_;
};

}  // namespace coracle::dns
