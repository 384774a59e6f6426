#include "desired_state.h"

#include <algorithm>
#include <cstdio>

namespace coracle {

Cidr bridge_address(const Cidr& pod_cidr) {
  return {pod_cidr.network().plus(1), pod_cidr.prefix};
}

Mac mac_of(const Ip& ip) {
  const std::uint8_t* last = ip.bytes() + ip.size() - 4;
  return Mac{{0x0a, 0x58, last[0], last[1], last[2], last[3]}};
}

std::string pod_link_name(const std::string& pod_uid) {
  // FNV-1a, 64 bits. The server makes uids, so nobody can choose two that collide.
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : pod_uid) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211ULL;
  }
  hash ^= hash >> 40U;
  char text[11];
  (void)std::snprintf(text, sizeof(text), "%010llx",
                      static_cast<unsigned long long>(hash & 0xffffffffffULL));
  return std::string(kLinkPrefix) + text;
}

Underlay find_underlay(const KernelState& state, const Ip& node_ip) {
  std::string name;
  for (const Route& route : state.routes) {
    if (route.destination.prefix == 0 && name.empty()) name = route.link;
  }
  for (const Address& address : state.addresses) {
    if (address.address.ip == node_ip) name = address.link;
  }
  const Link* link = state.find_link(name);
  // Loopback's 65536 says nothing about the wire.
  if (link == nullptr || link->mtu == 0 || link->mtu > 65535) return {name, 1500};
  return {name, link->mtu};
}

KernelState desired_state(const NodeView& view) {
  KernelState state;
  const Cidr bridge = bridge_address(view.pod_cidr);
  state.links.push_back({.name = kBridgeName,
                         .kind = "bridge",
                         .master = "",
                         .mac = mac_of(bridge.ip),
                         .mtu = view.mtu,
                         .up = true});
  for (const std::string& name : view.pod_links) {
    state.links.push_back({.name = name,
                           .kind = "veth",
                           .master = kBridgeName,
                           .mac = {},
                           .mtu = view.mtu,
                           .up = true,
                           .hairpin = true});
  }
  state.addresses.push_back({kBridgeName, bridge});
  for (const RemoteNode& remote : view.remotes) {
    const Cidr destination{remote.pod_cidr.network(), remote.pod_cidr.prefix};
    state.routes.push_back({destination, view.underlay, remote.ip});
  }
  std::sort(state.routes.begin(), state.routes.end());
  return state;
}

}  // namespace coracle
