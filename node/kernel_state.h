// What the kernel's network configuration is, as values: names instead of indexes, so that desired
// and actual state compare directly.
#pragma once

#include <coracle/net.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coracle {

// The mark of our routes (rtnetlink's rtm_protocol); an unassigned number, see
// /etc/iproute2/rt_protos.
inline constexpr std::uint8_t kRouteProtocol = 67;
// The mark of our links.
inline constexpr const char* kLinkPrefix = "cora";
inline constexpr const char* kBridgeName = "cora0";
inline constexpr const char* kVxlanName = "cora.vx";
inline constexpr std::uint16_t kVxlanPort = 8472;  // Linux' own, older than IANA's 4789
inline constexpr std::uint32_t kVxlanId = 67;      // flannel and k3s have 1
// What VXLAN adds to a packet: outer IPv4, UDP, VXLAN, inner Ethernet (RFC 7348).
inline constexpr std::uint32_t kVxlanOverhead = 50;

// What a link of kind "vxlan" is made of. Only `learning` can change while it lives.
struct Vxlan {
  std::uint32_t id = kVxlanId;
  std::uint16_t port = kVxlanPort;
  std::optional<Ip> local = {};  // absent: the kernel chooses
  std::string underlay;
  bool learning = false;
  auto operator<=>(const Vxlan&) const = default;
};

// In a desired state, an empty kind or master, an absent MAC and an MTU of 0 mean "as it is".
struct Link {
  std::string name;
  std::string kind;  // "bridge", "veth", "vxlan", "" (a device)
  std::string master;
  std::optional<Mac> mac = {};
  std::uint32_t mtu = 0;
  bool up = false;
  bool hairpin = false;             // of a bridge port
  std::optional<Vxlan> vxlan = {};  // of kind "vxlan"
  auto operator<=>(const Link&) const = default;
};

struct Address {
  std::string link;
  Cidr address;
  // No route to the prefix comes with it.
  bool no_prefix_route = false;
  auto operator<=>(const Address&) const = default;
};

// A unicast route of the main table.
struct Route {
  Cidr destination;  // 0.0.0.0/0 is the default route
  std::string link;
  std::optional<Ip> gateway = {};  // absent: on the link itself
  std::uint8_t protocol = kRouteProtocol;
  bool onlink = false;  // the gateway is on the link, whatever its address
  auto operator<=>(const Route&) const = default;
};

// A permanent neighbour entry.
struct Neighbor {
  std::string link;
  Ip ip;
  Mac mac;
  auto operator<=>(const Neighbor&) const = default;
};

// Which node has a MAC, of a VXLAN link (an AF_BRIDGE neighbour, permanent).
struct FdbEntry {
  std::string link;
  Mac mac;
  Ip remote;
  auto operator<=>(const FdbEntry&) const = default;
};

struct KernelState {
  std::vector<Link> links;
  std::vector<Address> addresses;
  std::vector<Route> routes;
  std::vector<Neighbor> neighbors;
  std::vector<FdbEntry> fdb;

  const Link* find_link(const std::string& name) const {
    for (const Link& link : links) {
      if (link.name == name) return &link;
    }
    return nullptr;
  }
  bool operator==(const KernelState&) const = default;
};

}  // namespace coracle
