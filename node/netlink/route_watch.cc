#include "netlink/route_watch.h"

#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel_state.h"
#include "netlink/messages.h"
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

std::string link_name(int index) {
  char name[IF_NAMESIZE] = "";
  return if_indextoname(static_cast<unsigned>(index), name) != nullptr ? name : "";
}

template <typename T>
bool contains(const std::vector<T>& values, const T& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

bool is_expected_route(nlmsghdr* head, const KernelState& expected) {
  auto message = netlink::decode_route(head);
  if (!message || message->route.protocol != kRouteProtocol) return false;
  message->route.link = link_name(message->link);
  return contains(expected.routes, message->route) == (head->nlmsg_type == RTM_NEWROUTE);
}

// One that has failed is told as new, with neither MAC nor permanence.
bool is_expected_neighbor(nlmsghdr* head, const KernelState& expected) {
  if (auto message = netlink::decode_neighbor(head)) {
    message->neighbor.link = kVxlanName;
    return contains(expected.neighbors, message->neighbor) == (head->nlmsg_type == RTM_NEWNEIGH);
  }
  const nlattr* address = nlmsg_find_attr(head, sizeof(ndmsg), NDA_DST);
  if (address == nullptr || nla_len(address) != 4) return true;  // IPv6's own
  const Ip ip = Ip::from_bytes(static_cast<const std::uint8_t*>(nla_data(address)), 4);
  return std::none_of(expected.neighbors.begin(), expected.neighbors.end(),
                      [&](const Neighbor& n) { return n.ip == ip; });
}

bool is_expected_entry(nlmsghdr* head, const KernelState* expected) {
  const auto* entry = static_cast<const ndmsg*>(nlmsg_data(head));
  if (entry->ndm_family == AF_INET) return expected && is_expected_neighbor(head, *expected);
  if (entry->ndm_family != AF_BRIDGE) return true;
  auto message = netlink::decode_fdb(head);
  if (!message || expected == nullptr) return !message;
  message->entry.link = kVxlanName;
  return contains(expected->fdb, message->entry) == (head->nlmsg_type == RTM_NEWNEIGH);
}

}  // namespace

void RouteWatch::note_link(nlmsghdr* head) {
  const auto message = netlink::decode_link(head);
  if (!message) return;
  if (head->nlmsg_type == RTM_NEWLINK && message->link.name == kVxlanName)
    overlay_ = message->index;
  else if (message->index == overlay_)
    overlay_ = 0;
}

void RouteWatch::note(nlmsghdr* head, const KernelState* expected, Seen& seen) {
  switch (head->nlmsg_type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      if (nlmsg_datalen(head) < static_cast<int>(sizeof(ndmsg)) || overlay_ == 0) return;
      if (static_cast<const ndmsg*>(nlmsg_data(head))->ndm_ifindex != overlay_) return;
      seen.network |= !is_expected_entry(head, expected);
      return;
    case RTM_NEWLINK:
    case RTM_DELLINK:
      note_link(head);
      seen.network = true;
      return;
    case RTM_NEWADDR:
    case RTM_DELADDR:
      seen.network = true;
      return;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      seen.network |= is_route_of_interest(head) &&
                      (expected == nullptr || !is_expected_route(head, *expected));
      return;
    case RTM_NEWNETCONF:
      seen.forwarding |= is_forwarding_of_all(head);
      return;
    default:
      return;
  }
}

Result<RouteWatch> RouteWatch::open() {
  RouteWatch watch(TRY(netlink::Socket::open()));
  for (const int group :
       {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_NETCONF, RTNLGRP_NEIGH})
    TRY(watch.socket_.join(group));
  watch.overlay_ = static_cast<int>(if_nametoindex(kVxlanName));
  return watch;
}

RouteWatch::Seen RouteWatch::read(const KernelState* expected) {
  Seen seen;
  const bool complete =
      netlink::read_notifications(fd(), [&](nlmsghdr* head) { note(head, expected, seen); });
  if (!complete) seen = {.network = true, .forwarding = true};
  return seen;
}

}  // namespace coracle
