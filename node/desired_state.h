// What this node's network should be, computed purely from what is known of the cluster.
#pragma once

#include <coracle/net.h>

#include <map>
#include <string>
#include <vector>

#include "kernel_state.h"

namespace coracle {

// Another node, reached directly: it shares a segment with us.
struct RemoteNode {
  Cidr pod_cidr;
  Ip ip;
  auto operator<=>(const RemoteNode&) const = default;
};

struct NodeView {
  Cidr pod_cidr;                       // this node's
  std::uint32_t mtu = 1500;            // the underlay's
  std::string underlay;                // the device that reaches the other nodes
  std::vector<std::string> pod_links;  // the host ends of this node's Pods
  std::vector<RemoteNode> remotes;
};

// The bridge with the Pod CIDR's first address, every Pod's host end on it with hairpin on, and one
// route per remote node.
KernelState desired_state(const NodeView& view);

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
};
// The device that holds `node_ip`, else that of the default route.
Underlay find_underlay(const KernelState& state, const Ip& node_ip);

}  // namespace coracle
