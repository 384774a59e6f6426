#include "netlink/route_watch.h"

#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "kernel_state.h"

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
  alignas(nlmsghdr) std::array<unsigned char, 16384> buffer;  // NOLINT(*-member-init): recv's
  for (;;) {
    const ssize_t size = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && errno == EINTR) continue;
    const bool lost = (size < 0 && errno == ENOBUFS) ||
                      (size > 0 && static_cast<std::size_t>(size) > buffer.size());
    if (lost) {
      seen = {.network = true, .forwarding = true};
      continue;
    }
    if (size <= 0) return seen;
    int left = static_cast<int>(size);
    for (auto* head = reinterpret_cast<nlmsghdr*>(buffer.data()); nlmsg_ok(head, left) != 0;
         head = nlmsg_next(head, &left))
      note(head, seen);
  }
}

}  // namespace coracle
