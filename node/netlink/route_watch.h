// What happens to links, IPv4 addresses, routes and forwarding in a network namespace, as rtnetlink
// tells it. Used from one thread at a time.
#pragma once

#include <coracle/result.h>

#include "netlink/route_socket.h"

namespace coracle {

class RouteWatch {
 public:
  // Of the calling thread's network namespace, from now on.
  static Result<RouteWatch> open();

  struct Seen {
    bool network = false;     // a link, an address, or a route that we or the kernel made
    bool forwarding = false;  // net.ipv4.ip_forward
    bool operator==(const Seen&) const = default;
  };
  // Readable when there is something to read.
  int fd() const { return socket_.fd(); }
  // What has come since the last call, whoever did it; everything, when the kernel had to drop
  // some. Routes of other programs are left out: a router may change many a second. Never waits.
  Seen read();

 private:
  explicit RouteWatch(netlink::Socket socket) : socket_(std::move(socket)) {}
  netlink::Socket socket_;
};

}  // namespace coracle
