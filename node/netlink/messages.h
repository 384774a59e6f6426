// Our values as rtnetlink messages and back. Pure: no sockets. An encoder returns null when the
// message does not fit.
#pragma once

#include <coracle/net.h>

#include <optional>
#include <string>

#include "kernel.h"
#include "netlink/route_socket.h"

namespace coracle::netlink {

// What a message says, with the kernel's indexes; names are found once all links are known.
struct LinkMessage {
  Link link;
  int index = 0, master = 0, underlay = 0;
};
struct AddressMessage {
  Address address;
  int link = 0;
};
struct RouteMessage {
  Route route;
  int link = 0;
};
struct NeighborMessage {
  Neighbor neighbor;
  int link = 0;
};
struct FdbMessage {
  FdbEntry entry;
  int link = 0;
};

Message link_dump();
Message address_dump();
Message route_dump();
Message neighbor_dump();
Message fdb_dump();

Message link_create(const AddLink& add, int master, int underlay);
// By name, so that nobody has to look up an index before. `master` 0 leaves it.
Message link_request(const std::string& name);
Message link_change(const Link& link, int master);
Message port_change(const std::string& name, bool hairpin);
// Of a VXLAN link. The kernel takes no MTU along with it.
Message learning_change(const std::string& name, bool learning);
Message link_remove(const std::string& name);
Message address_change(const Address& address, int link, bool add);
Message route_change(const Route& route, int link, bool add);
Message neighbor_change(const Neighbor& neighbor, int link, bool add);
Message fdb_change(const FdbEntry& entry, int link, bool add);

// Of a dump or a notification, be it of something new or something removed.
// Nothing when the message is of another type, or of an object outside our model (local routes,
// other tables, multipath, neighbours that are not permanent).
std::optional<LinkMessage> decode_link(const nlmsghdr* header);
std::optional<AddressMessage> decode_address(const nlmsghdr* header);
std::optional<RouteMessage> decode_route(const nlmsghdr* header);
std::optional<NeighborMessage> decode_neighbor(const nlmsghdr* header);
std::optional<FdbMessage> decode_fdb(const nlmsghdr* header);

}  // namespace coracle::netlink
