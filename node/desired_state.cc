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
  Underlay underlay{name};
  for (const Address& address : state.addresses) {
    if (address.link != name || !address.address.ip.is_v4()) continue;
    underlay.segments.push_back(address.address);
    underlay.has_node_ip |= address.address.ip == node_ip;
  }
  const Link* link = state.find_link(name);
  // Loopback's 65536 says nothing about the wire.
  if (link != nullptr && link->mtu != 0 && link->mtu <= 65535) underlay.mtu = link->mtu;
  return underlay;
}

Result<OverlayBackend> parse_backend(const std::string& name) {
  if (name == "vxlan") return OverlayBackend::Vxlan;
  if (name == "host-gw") return OverlayBackend::HostGateway;
  if (name == "auto") return OverlayBackend::Auto;
  return Error{Code::BadRequest,
               "there is no backend \"" + name + "\"; these work: vxlan, host-gw, auto"};
}

std::uint32_t pod_mtu(OverlayBackend backend, std::uint32_t underlay_mtu) {
  if (backend == OverlayBackend::HostGateway || underlay_mtu <= kVxlanOverhead) return underlay_mtu;
  return underlay_mtu - kVxlanOverhead;
}

Ip vtep_address(const Cidr& pod_cidr) {
  return pod_cidr.network();
}

bool on_segment(const NodeView& view, const Ip& ip) {
  return std::any_of(view.segments.begin(), view.segments.end(),
                     [&](const Cidr& segment) { return segment.contains(ip); });
}

namespace {

bool through_vxlan(const NodeView& view, const RemoteNode& remote) {
  return view.backend == OverlayBackend::Vxlan ||
         (view.backend == OverlayBackend::Auto && !on_segment(view, remote.ip));
}

void add_vxlan_link(const NodeView& view, KernelState& state) {
  const Ip vtep = vtep_address(view.pod_cidr);
  state.links.push_back({.name = kVxlanName,
                         .kind = "vxlan",
                         .master = "",
                         .mac = mac_of(vtep),
                         .mtu = pod_mtu(view.backend, view.mtu),
                         .up = true,
                         .vxlan = Vxlan{.local = view.local, .underlay = view.underlay}});
  state.addresses.push_back({kVxlanName, {vtep, 32}});
}

void add_remote(const NodeView& view, const RemoteNode& remote, KernelState& state) {
  const Cidr destination{remote.pod_cidr.network(), remote.pod_cidr.prefix};
  if (!through_vxlan(view, remote)) {
    if (on_segment(view, remote.ip))
      state.routes.push_back({destination, view.underlay, remote.ip});
    return;
  }
  const Ip vtep = vtep_address(remote.pod_cidr);
  state.neighbors.push_back({kVxlanName, vtep, mac_of(vtep)});
  state.fdb.push_back({kVxlanName, mac_of(vtep), remote.ip});
  state.routes.push_back({destination, kVxlanName, vtep, kRouteProtocol, true});
}

}  // namespace

KernelState desired_state(const NodeView& view) {
  KernelState state;
  const Cidr bridge = bridge_address(view.pod_cidr);
  state.links.push_back({.name = kBridgeName,
                         .kind = "bridge",
                         .master = "",
                         .mac = mac_of(bridge.ip),
                         .mtu = pod_mtu(view.backend, view.mtu),
                         .up = true});
  for (const std::string& name : view.pod_links) {
    state.links.push_back({.name = name,
                           .kind = "veth",
                           .master = kBridgeName,
                           .mac = {},
                           .mtu = pod_mtu(view.backend, view.mtu),
                           .up = true,
                           .hairpin = true});
  }
  state.addresses.push_back({kBridgeName, bridge});
  // After the bridge's own, which is what this node's packets to its Pods come from. The kernel
  // puts an address of host scope, which would say that, first.
  if (view.cluster_dns)
    state.addresses.push_back(
        {kBridgeName, {*view.cluster_dns, view.cluster_dns->is_v4() ? 32 : 128}});
  if (view.underlay.empty() || view.remotes.empty()) return state;
  // A node on our segment for us may think otherwise of us, and then sends VXLAN.
  if (view.backend != OverlayBackend::HostGateway) add_vxlan_link(view, state);
  for (const RemoteNode& remote : view.remotes) add_remote(view, remote, state);
  std::sort(state.routes.begin(), state.routes.end());
  std::sort(state.neighbors.begin(), state.neighbors.end());
  std::sort(state.fdb.begin(), state.fdb.end());
  return state;
}

}  // namespace coracle
