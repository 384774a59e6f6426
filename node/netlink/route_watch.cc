#include "netlink/route_watch.h"

#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <cstdint>

#include "kernel_state.h"
#include "netlink/notifications.h"

namespace coracle {
namespace {

bool is_route_of_interest(nlmsghdr* head) {
  if (nlmsg_datalen(head) < static_cast<int>(sizeof(rtmsg))) return false;
  const auto* route = static_cast<const rtmsg*>(nlmsg_data(head));
  if (route->rtm_family != AF_INET || route->rtm_type != RTN_UNICAST) return false;
  return route->rtm_protocol == kRouteProtocol || route->rtm_protocol == RTPROT_KERNEL ||
         route->rtm_dst_len == 0;  // the default route names the underlay
}

bool is_forwarding_of_all(nlmsghdr* head) {
  const nlattr* link = nlmsg_find_attr(head, sizeof(netconfmsg), NETCONFA_IFINDEX);
  const nlattr* forwarding = nlmsg_find_attr(head, sizeof(netconfmsg), NETCONFA_FORWARDING);
  return link != nullptr && forwarding != nullptr && nla_len(link) >= 4 &&
         static_cast<std::int32_t>(nla_get_u32(link)) == NETCONFA_IFINDEX_ALL;
}

void note(nlmsghdr* head, RouteWatch::Seen& seen) {
  switch (head->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_NEWADDR:
    case RTM_DELADDR:
      seen.network = true;
      return;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      seen.network |= is_route_of_interest(head);
      return;
    case RTM_NEWNETCONF:
      seen.forwarding |= is_forwarding_of_all(head);
      return;
    default:
      return;
  }
}

}  // namespace

Result<RouteWatch> RouteWatch::open() {
  RouteWatch watch(TRY(netlink::Socket::open()));
  for (const int group :
       {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_NETCONF})
    TRY(watch.socket_.join(group));
  return watch;
}

RouteWatch::Seen RouteWatch::read() {
  Seen seen;
  const bool complete =
      netlink::read_notifications(fd(), [&](nlmsghdr* head) { note(head, seen); });
  if (!complete) seen = {.network = true, .forwarding = true};
  return seen;
}

}  // namespace coracle
