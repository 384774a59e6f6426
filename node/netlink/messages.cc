#include "netlink/messages.h"

#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

namespace coracle::netlink {
namespace {

// Appends attributes to a message; any that does not fit makes the message null.
class Builder {
 public:
  template <typename Header>
  Builder(int type, int flags, Header header) : message_(nlmsg_alloc_simple(type, flags)) {
    check(message_ != nullptr && nlmsg_append(get(), &header, sizeof(header), NLMSG_ALIGNTO) == 0);
  }
  Builder& text(int type, const std::string& value) {
    return raw(type, value.c_str(), value.size() + 1);
  }
  Builder& number(int type, std::uint32_t value) { return raw(type, &value, sizeof(value)); }
  Builder& port(int type, std::uint16_t value) {
    const std::uint16_t wire = htons(value);
    return raw(type, &wire, sizeof(wire));
  }
  Builder& byte(int type, std::uint8_t value) { return raw(type, &value, sizeof(value)); }
  Builder& ip(int type, const Ip& ip) { return raw(type, ip.bytes(), ip.size()); }
  Builder& mac(int type, const Mac& mac) { return raw(type, mac.bytes.data(), mac.bytes.size()); }
  // Everything `inner` adds lies inside an attribute of that type.
  template <typename F>
  Builder& nest(int type, const F& inner) {
    if (!ok_) return *this;
    nlattr* start = nla_nest_start(get(), type);
    check(start != nullptr);
    if (!ok_) return *this;
    inner();
    if (ok_) nla_nest_end(get(), start);
    return *this;
  }
  template <typename Header>
  Builder& header(const Header& value) {
    check(ok_ && nlmsg_append(get(), const_cast<Header*>(&value),  // NOLINT(*-const-cast): old API
                              sizeof(value), NLMSG_ALIGNTO) == 0);
    return *this;
  }
  Message take() { return ok_ ? std::move(message_) : nullptr; }

 private:
  nl_msg* get() { return message_.get(); }
  void check(bool good) { ok_ = ok_ && good; }
  Builder& raw(int type, const void* data, std::size_t size) {
    check(ok_ && nla_put(get(), type, static_cast<int>(size), data) == 0);
    return *this;
  }

  Message message_;
  bool ok_ = true;
};

unsigned char family_of(const Ip& ip) {
  return ip.is_v4() ? AF_INET : AF_INET6;
}

std::optional<Ip> ip_of(const nlattr* attribute) {
  if (attribute == nullptr) return std::nullopt;
  const int size = nla_len(attribute);
  if (size != 4 && size != 16) return std::nullopt;
  return Ip::from_bytes(static_cast<const std::uint8_t*>(nla_data(attribute)),
                        static_cast<std::size_t>(size));
}

std::optional<Mac> mac_of_attribute(const nlattr* attribute) {
  if (attribute == nullptr || nla_len(attribute) != 6) return std::nullopt;
  Mac mac;
  std::memcpy(mac.bytes.data(), nla_data(attribute), 6);
  return mac;
}

std::string text_of(const nlattr* attribute) {
  if (attribute == nullptr || nla_len(attribute) <= 0) return "";
  const std::string all(static_cast<const char*>(nla_data(attribute)),
                        static_cast<std::size_t>(nla_len(attribute)));
  return all.substr(0, all.find('\0'));
}

std::uint32_t number_of(const nlattr* attribute) {
  return attribute != nullptr && nla_len(attribute) >= 4 ? nla_get_u32(attribute) : 0;
}

// The header and the attributes of a message of that type or of the one that tells the removal
// (RTM_DELx follows RTM_NEWx); null when it is another or malformed.
template <typename Header, std::size_t N>
const Header* parse(const nlmsghdr* message, int type, std::array<nlattr*, N>& attributes) {
  if (message->nlmsg_type != type && message->nlmsg_type != type + 1) return nullptr;
  if (nlmsg_datalen(message) < static_cast<int>(sizeof(Header))) return nullptr;
  if (nlmsg_parse(const_cast<nlmsghdr*>(message),  // NOLINT(*-const-cast): old API, reads only
                  sizeof(Header), attributes.data(), static_cast<int>(N) - 1, nullptr) != 0)
    return nullptr;
  return static_cast<const Header*>(nlmsg_data(message));
}

template <typename Header>
Message dump_request(int type, unsigned char family) {
  Header header{};
  std::memcpy(&header, &family, 1);  // the first byte of each of them
  return Builder(type, 0, header).take();
}

void put_link(Builder& builder, const Link& link, int master) {
  if (link.mtu != 0) builder.number(IFLA_MTU, link.mtu);
  if (link.mac) builder.mac(IFLA_ADDRESS, *link.mac);
  if (master != 0) builder.number(IFLA_MASTER, static_cast<std::uint32_t>(master));
}

void put_peer(Builder& builder, const VethPeer& peer) {
  builder.nest(IFLA_INFO_DATA, [&] {
    builder.nest(VETH_INFO_PEER, [&] {
      builder.header(ifinfomsg{});  // it cannot come up before both ends are there
      builder.text(IFLA_IFNAME, peer.name);
      builder.number(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer.netns_fd));
      if (peer.mac) builder.mac(IFLA_ADDRESS, *peer.mac);
      if (peer.mtu != 0) builder.number(IFLA_MTU, peer.mtu);
    });
  });
}

void put_vxlan(Builder& builder, const Vxlan& vxlan, int underlay) {
  builder.nest(IFLA_INFO_DATA, [&] {
    builder.number(IFLA_VXLAN_ID, vxlan.id);
    builder.port(IFLA_VXLAN_PORT, vxlan.port);
    if (vxlan.local)
      builder.ip(vxlan.local->is_v4() ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, *vxlan.local);
    if (underlay != 0) builder.number(IFLA_VXLAN_LINK, static_cast<std::uint32_t>(underlay));
    builder.byte(IFLA_VXLAN_LEARNING, vxlan.learning ? 1 : 0);
  });
}

void read_vxlan(nlattr* data, LinkMessage& message) {
  std::array<nlattr*, IFLA_VXLAN_MAX + 1> attributes{};
  if (data == nullptr || nla_parse_nested(attributes.data(), IFLA_VXLAN_MAX, data, nullptr) != 0)
    return;
  Vxlan vxlan;
  vxlan.id = number_of(attributes[IFLA_VXLAN_ID]);
  const nlattr* port = attributes[IFLA_VXLAN_PORT];
  vxlan.port = port != nullptr && nla_len(port) >= 2 ? ntohs(nla_get_u16(port)) : 0;
  vxlan.local = ip_of(attributes[IFLA_VXLAN_LOCAL] != nullptr ? attributes[IFLA_VXLAN_LOCAL]
                                                              : attributes[IFLA_VXLAN_LOCAL6]);
  const nlattr* learning = attributes[IFLA_VXLAN_LEARNING];
  vxlan.learning = learning != nullptr && nla_len(learning) >= 1 && nla_get_u8(learning) != 0;
  message.underlay = static_cast<int>(number_of(attributes[IFLA_VXLAN_LINK]));
  message.link.vxlan = vxlan;
}

void read_link_info(nlattr* info, LinkMessage& message) {
  Link& link = message.link;
  std::array<nlattr*, IFLA_INFO_MAX + 1> attributes{};
  if (info == nullptr || nla_parse_nested(attributes.data(), IFLA_INFO_MAX, info, nullptr) != 0)
    return;
  link.kind = text_of(attributes[IFLA_INFO_KIND]);
  if (link.kind == "vxlan") read_vxlan(attributes[IFLA_INFO_DATA], message);
  nlattr* port = attributes[IFLA_INFO_SLAVE_DATA];
  if (port == nullptr || text_of(attributes[IFLA_INFO_SLAVE_KIND]) != "bridge") return;
  std::array<nlattr*, IFLA_BRPORT_MAX + 1> modes{};
  if (nla_parse_nested(modes.data(), IFLA_BRPORT_MAX, port, nullptr) != 0) return;
  const nlattr* mode = modes[IFLA_BRPORT_MODE];
  link.hairpin = mode != nullptr && nla_len(mode) >= 1 && nla_get_u8(mode) == 1;
}

}  // namespace

Message link_dump() {
  ifinfomsg header{};
  return Builder(RTM_GETLINK, 0, header).number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS).take();
}
Message address_dump() {
  return dump_request<ifaddrmsg>(RTM_GETADDR, AF_UNSPEC);
}
Message route_dump() {
  return dump_request<rtmsg>(RTM_GETROUTE, AF_INET);
}
Message neighbor_dump() {
  return dump_request<ndmsg>(RTM_GETNEIGH, AF_UNSPEC);
}

Message fdb_dump() {
  return dump_request<ndmsg>(RTM_GETNEIGH, AF_BRIDGE);
}

Message link_create(const AddLink& add, int master, int underlay) {
  ifinfomsg header{};
  header.ifi_flags = add.link.up ? IFF_UP : 0;
  header.ifi_change = IFF_UP;
  Builder builder(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, header);
  builder.text(IFLA_IFNAME, add.link.name);
  put_link(builder, add.link, master);
  builder.nest(IFLA_LINKINFO, [&] {
    builder.text(IFLA_INFO_KIND, add.link.kind);
    if (add.peer) put_peer(builder, *add.peer);
    if (add.link.vxlan) put_vxlan(builder, *add.link.vxlan, underlay);
  });
  return builder.take();
}

Message link_request(const std::string& name) {
  return Builder(RTM_GETLINK, 0, ifinfomsg{})
      .text(IFLA_IFNAME, name)
      .number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
      .take();
}

Message link_change(const Link& link, int master) {
  ifinfomsg header{};
  header.ifi_flags = link.up ? IFF_UP : 0;
  header.ifi_change = IFF_UP;
  Builder builder(RTM_NEWLINK, 0, header);
  builder.text(IFLA_IFNAME, link.name);
  put_link(builder, link, master);
  return builder.take();
}

Message learning_change(const std::string& name, bool learning) {
  Builder builder(RTM_NEWLINK, 0, ifinfomsg{});
  builder.text(IFLA_IFNAME, name);
  builder.nest(IFLA_LINKINFO, [&] {
    builder.text(IFLA_INFO_KIND, "vxlan");
    builder.nest(IFLA_INFO_DATA, [&] { builder.byte(IFLA_VXLAN_LEARNING, learning ? 1 : 0); });
  });
  return builder.take();
}

Message port_change(const std::string& name, bool hairpin) {
  Builder builder(RTM_NEWLINK, 0, ifinfomsg{});
  builder.text(IFLA_IFNAME, name);
  builder.nest(IFLA_LINKINFO, [&] {
    builder.text(IFLA_INFO_SLAVE_KIND, "bridge");
    builder.nest(IFLA_INFO_SLAVE_DATA, [&] { builder.byte(IFLA_BRPORT_MODE, hairpin ? 1 : 0); });
  });
  return builder.take();
}

Message link_remove(const std::string& name) {
  return Builder(RTM_DELLINK, 0, ifinfomsg{}).text(IFLA_IFNAME, name).take();
}

Message address_change(const Address& address, int link, bool add) {
  ifaddrmsg header{};
  header.ifa_family = family_of(address.address.ip);
  header.ifa_prefixlen = static_cast<unsigned char>(address.address.prefix);
  header.ifa_index = static_cast<unsigned>(link);
  Builder builder(add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, header);
  builder.ip(IFA_LOCAL, address.address.ip).ip(IFA_ADDRESS, address.address.ip);
  if (add && address.no_prefix_route) builder.number(IFA_FLAGS, IFA_F_NOPREFIXROUTE);
  return builder.take();
}

Message route_change(const Route& route, int link, bool add) {
  rtmsg header{};
  header.rtm_family = family_of(route.destination.ip);
  header.rtm_dst_len = static_cast<unsigned char>(route.destination.prefix);
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = route.protocol;
  header.rtm_scope = route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  header.rtm_type = RTN_UNICAST;
  header.rtm_flags = route.onlink ? RTNH_F_ONLINK : 0;
  Builder builder(add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
                  header);
  if (route.destination.prefix > 0) builder.ip(RTA_DST, route.destination.ip);
  if (route.gateway) builder.ip(RTA_GATEWAY, *route.gateway);
  builder.number(RTA_OIF, static_cast<std::uint32_t>(link));
  return builder.take();
}

Message neighbor_change(const Neighbor& neighbor, int link, bool add) {
  ndmsg header{};
  header.ndm_family = family_of(neighbor.ip);
  header.ndm_ifindex = link;
  header.ndm_state = NUD_PERMANENT;
  Builder builder(add ? RTM_NEWNEIGH : RTM_DELNEIGH, add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
                  header);
  builder.ip(NDA_DST, neighbor.ip);
  if (add) builder.mac(NDA_LLADDR, neighbor.mac);
  return builder.take();
}

Message fdb_change(const FdbEntry& entry, int link, bool add) {
  ndmsg header{};
  header.ndm_family = AF_BRIDGE;
  header.ndm_ifindex = link;
  header.ndm_state = NUD_PERMANENT;
  header.ndm_flags = NTF_SELF;
  Builder builder(add ? RTM_NEWNEIGH : RTM_DELNEIGH, add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
                  header);
  builder.mac(NDA_LLADDR, entry.mac).ip(NDA_DST, entry.remote);
  return builder.take();
}

std::optional<LinkMessage> decode_link(const nlmsghdr* header) {
  std::array<nlattr*, IFLA_MAX + 1> attributes{};
  const auto* info = parse<ifinfomsg>(header, RTM_NEWLINK, attributes);
  if (info == nullptr || info->ifi_family == AF_BRIDGE) return std::nullopt;
  LinkMessage message;
  message.index = info->ifi_index;
  message.master = static_cast<int>(number_of(attributes[IFLA_MASTER]));
  message.link.name = text_of(attributes[IFLA_IFNAME]);
  message.link.mtu = number_of(attributes[IFLA_MTU]);
  message.link.mac = mac_of_attribute(attributes[IFLA_ADDRESS]);
  message.link.up = (info->ifi_flags & IFF_UP) != 0;
  read_link_info(attributes[IFLA_LINKINFO], message);
  return message;
}

std::optional<AddressMessage> decode_address(const nlmsghdr* header) {
  std::array<nlattr*, IFA_MAX + 1> attributes{};
  const auto* info = parse<ifaddrmsg>(header, RTM_NEWADDR, attributes);
  if (info == nullptr) return std::nullopt;
  // The local address; of IPv6 without a peer only IFA_ADDRESS is there.
  const auto ip =
      ip_of(attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS]);
  if (!ip) return std::nullopt;
  AddressMessage message;
  message.address.address = {*ip, info->ifa_prefixlen};
  message.address.no_prefix_route = (number_of(attributes[IFA_FLAGS]) & IFA_F_NOPREFIXROUTE) != 0;
  message.link = static_cast<int>(info->ifa_index);
  return message;
}

std::optional<RouteMessage> decode_route(const nlmsghdr* header) {
  std::array<nlattr*, RTA_MAX + 1> attributes{};
  const auto* info = parse<rtmsg>(header, RTM_NEWROUTE, attributes);
  if (info == nullptr || info->rtm_type != RTN_UNICAST || attributes[RTA_OIF] == nullptr)
    return std::nullopt;
  const std::uint32_t table =
      attributes[RTA_TABLE] != nullptr ? number_of(attributes[RTA_TABLE]) : info->rtm_table;
  if (table != RT_TABLE_MAIN) return std::nullopt;
  RouteMessage message;
  const auto any = info->rtm_family == AF_INET6
                       ? Ip::from_bytes(std::array<std::uint8_t, 16>{}.data(), 16)
                       : Ip();
  message.route.destination = {ip_of(attributes[RTA_DST]).value_or(any), info->rtm_dst_len};
  message.route.gateway = ip_of(attributes[RTA_GATEWAY]);
  message.route.protocol = info->rtm_protocol;
  message.route.onlink = (info->rtm_flags & RTNH_F_ONLINK) != 0;
  message.link = static_cast<int>(number_of(attributes[RTA_OIF]));
  return message;
}

std::optional<NeighborMessage> decode_neighbor(const nlmsghdr* header) {
  std::array<nlattr*, NDA_MAX + 1> attributes{};
  const auto* info = parse<ndmsg>(header, RTM_NEWNEIGH, attributes);
  if (info == nullptr || (info->ndm_state & NUD_PERMANENT) == 0) return std::nullopt;
  if (info->ndm_family != AF_INET && info->ndm_family != AF_INET6) return std::nullopt;
  const auto ip = ip_of(attributes[NDA_DST]);
  const auto mac = mac_of_attribute(attributes[NDA_LLADDR]);
  if (!ip || !mac) return std::nullopt;
  return NeighborMessage{{"", *ip, *mac}, info->ndm_ifindex};
}

std::optional<FdbMessage> decode_fdb(const nlmsghdr* header) {
  std::array<nlattr*, NDA_MAX + 1> attributes{};
  const auto* info = parse<ndmsg>(header, RTM_NEWNEIGH, attributes);
  if (info == nullptr || info->ndm_family != AF_BRIDGE) return std::nullopt;
  // What a bridge's table knows has no remote address.
  const auto remote = ip_of(attributes[NDA_DST]);
  const auto mac = mac_of_attribute(attributes[NDA_LLADDR]);
  if (!remote || !mac) return std::nullopt;
  return FdbMessage{{"", *mac, *remote}, info->ndm_ifindex};
}

}  // namespace coracle::netlink
