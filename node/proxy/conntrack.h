// A flow that conntrack knows keeps its rewrite, or its lack of one, for as long as the client
// sends. UDP has no end of connection, so flows to endpoints that are gone are forgotten after a
// change, and their next packet meets the rules again. TCP needs that only where a first packet
// came while the rules were missing: it is sent again, and would not meet them either.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <compare>
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "proxy/service_table.h"

namespace coracle::proxy {

struct Flow {
  Ip to;  // where the client sent it
  Port to_port = 0;
  Ip target;  // who answers
  Port target_port = 0;
  Protocol protocol = Protocol::Udp;
  bool answered = true;
};

// Which flows a change of the table has made wrong: those to an endpoint that its Service lost, and
// those that met the Service when nobody rewrote them. Pure.
class StaleUdpFlows {
 public:
  StaleUdpFlows(const ServiceTable& before, const ServiceTable& now);
  // When it is not known what was before, as after a start: those to an endpoint that their Service
  // does not have.
  explicit StaleUdpFlows(const ServiceTable& now);
  bool empty() const { return lost_.empty() && gained_.empty() && served_.empty(); }
  bool contains(const Flow& flow) const;

 private:
  using Address = std::pair<Ip, Port>;
  // Served address -> endpoints it lost; node ports have the IPv4 any address.
  std::map<Address, std::set<Address>> lost_;
  std::set<Address> gained_;                     // had no endpoint before
  std::map<Address, std::set<Address>> served_;  // what is not named here is wrong
};

// Flows that met a Service port with endpoints while its rules were missing: nobody rewrote them.
// Of TCP only those that nobody has answered. Pure.
class UnservedFlows {
 public:
  explicit UnservedFlows(const ServiceTable& table);
  bool empty() const { return served_.empty(); }
  bool contains(const Flow& flow) const;

 private:
  std::set<std::tuple<Protocol, Ip, Port>> served_;
};

// Removes those IPv4 TCP and UDP flows from the conntrack table of the thread's network namespace
// of which `stale` says so, and returns how many.
Result<int> remove_flows(const std::function<bool(const Flow&)>& stale);

}  // namespace coracle::proxy
