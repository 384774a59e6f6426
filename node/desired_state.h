// What this node's network should be, computed purely from what is known of the cluster.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <optional>
#include <string>
#include <vector>

#include "kernel_state.h"

namespace coracle {

// How packets reach the other nodes' Pods: in VXLAN, by plain routes over a segment that all nodes
// share, or by the second where a peer is on our segment and by the first elsewhere.
enum class OverlayBackend { Vxlan, HostGateway, Auto };
// "vxlan", "host-gw", "auto"; BadRequest names them.
Result<OverlayBackend> parse_backend(const std::string& name);

// Another node.
struct RemoteNode {
  Cidr pod_cidr;
  Ip ip;
  auto operator<=>(const RemoteNode&) const = default;
};

struct NodeView {
  Cidr pod_cidr;                       // this node's
  std::uint32_t mtu = 1500;            // the underlay's
  std::string underlay;                // the device that reaches the other nodes; "": none now
  std::vector<std::string> pod_links;  // the host ends of this node's Pods
  std::vector<RemoteNode> remotes;
  OverlayBackend backend = OverlayBackend::Vxlan;
  std::optional<Ip> local = {};     // the node's address, when the underlay has it
  std::vector<Cidr> segments = {};  // the underlay's addresses, with their prefixes
  // Where this node answers DNS, as every node of the cluster does.
  std::optional<Ip> cluster_dns = {};
};

// The bridge with the Pod CIDR's first address, every Pod's host end on it with hairpin on, and for
// each remote node a route: through its address, or through its end of the VXLAN, for which there
// are also a permanent neighbour and an FDB entry, so that nothing is ever asked or flooded. With
// no remotes there is no VXLAN link. A peer that `host-gw` cannot reach directly is left out. The
// bridge has the cluster's DNS address too.
KernelState desired_state(const NodeView& view);
bool on_segment(const NodeView& view, const Ip& ip);

// The MTU of bridge and Pods: what is left of the underlay's in VXLAN.
std::uint32_t pod_mtu(OverlayBackend backend, std::uint32_t underlay_mtu);
// A node's end of the VXLAN has the address before the bridge's, the Pod CIDR's own, which no Pod
// can get. It is what a node's own packets to remote Pods come from, so that replies go the way the
// packets came and pass a strict rp_filter; masquerading on that link chooses it too. Its MAC is
// mac_of() it: nobody has to publish anything but the Node. Linux takes that address for a
// broadcast before 5.14.
Ip vtep_address(const Cidr& pod_cidr);

// The first address of a Pod CIDR, with the CIDR's prefix.
Cidr bridge_address(const Cidr& pod_cidr);
// 0a:58 and the address: stable over restarts, and a reused address never meets a stale neighbour
// entry. Of an IPv6 address the last four bytes.
Mac mac_of(const Ip& ip);
// The name of a Pod's host end: the prefix and ten hex digits of a hash of its uid.
std::string pod_link_name(const std::string& pod_uid);
// The device of the default route and its MTU, as the underlay; 1500 when there is none.
struct Underlay {
  std::string link;
  std::uint32_t mtu = 1500;
  std::vector<Cidr> segments = {};  // its IPv4 addresses
  bool has_node_ip = false;
};
// The device that holds `node_ip`, else that of the default route.
Underlay find_underlay(const KernelState& state, const Ip& node_ip);

}  // namespace coracle
