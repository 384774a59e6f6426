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

// In a desired state, an empty kind or master, an absent MAC and an MTU of 0 mean "as it is".
struct Link {
  std::string name;
  std::string kind;  // "bridge", "veth", "" (a device)
  std::string master;
  std::optional<Mac> mac = {};
  std::uint32_t mtu = 0;
  bool up = false;
  bool hairpin = false;  // of a bridge port
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
  auto operator<=>(const Route&) const = default;
};

// A permanent neighbour entry.
struct Neighbor {
  std::string link;
  Ip ip;
  Mac mac;
  auto operator<=>(const Neighbor&) const = default;
};

struct KernelState {
  std::vector<Link> links;
  std::vector<Address> addresses;
  std::vector<Route> routes;
  std::vector<Neighbor> neighbors;

  const Link* find_link(const std::string& name) const {
    for (const Link& link : links) {
      if (link.name == name) return &link;
    }
    return nullptr;
  }
  bool operator==(const KernelState&) const = default;
};

}  // namespace coracle
