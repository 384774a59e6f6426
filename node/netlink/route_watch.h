// What happens to links, IPv4 addresses, routes, forwarding and the neighbours and FDB entries of
// the overlay in a network namespace, as rtnetlink tells it. Used from one thread at a time.
#pragma once

#include <coracle/result.h>

#include "kernel_state.h"
#include "netlink/route_socket.h"

namespace coracle {

class RouteWatch {
 public:
  // Of the calling thread's network namespace, from now on.
  static Result<RouteWatch> open();

  struct Seen {
    // A link, an address, a route that we or the kernel made, an entry of the overlay.
    bool network = false;
    bool forwarding = false;  // net.ipv4.ip_forward
    bool operator==(const Seen&) const = default;
  };
  // Readable when there is something to read.
  int fd() const { return socket_.fd(); }
  // What has come since the last call, whoever did it; everything, when the kernel had to drop
  // some. Routes of other programs are left out: a router may change many a second. So are routes
  // and entries of ours that have become, and are, as `expected` has them: our own changes need no
  // look. Never waits.
  Seen read(const KernelState* expected = nullptr);

 private:
  explicit RouteWatch(netlink::Socket socket) : socket_(std::move(socket)) {}
  void note(nlmsghdr* head, const KernelState* expected, Seen& seen);
  void note_link(nlmsghdr* head);

  netlink::Socket socket_;
  int overlay_ = 0;  // the index of the VXLAN link, 0 when there is none
};

}  // namespace coracle
