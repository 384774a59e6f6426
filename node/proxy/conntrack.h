// UDP has no end of connection: a flow that conntrack knows keeps its rewrite for as long as the
// client sends, also to an endpoint that is gone. So after a change such flows are forgotten, and
// their next packet meets the rules again. TCP needs none of this.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <compare>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "proxy/service_table.h"

namespace coracle::proxy {

struct UdpFlow {
  Ip to;  // where the client sent it
  Port to_port = 0;
  Ip target;  // who answers
  Port target_port = 0;
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
  bool contains(const UdpFlow& flow) const;

 private:
  using Address = std::pair<Ip, Port>;
  // Served address -> endpoints it lost; node ports have the IPv4 any address.
  std::map<Address, std::set<Address>> lost_;
  std::set<Address> gained_;                     // had no endpoint before
  std::map<Address, std::set<Address>> served_;  // what is not named here is wrong
};

// Removes those IPv4 UDP flows from the conntrack table of the thread's network namespace of which
// `stale` says so, and returns how many.
Result<int> remove_udp_flows(const std::function<bool(const UdpFlow&)>& stale);

}  // namespace coracle::proxy
