// The sockets on which the node's DNS listens: made, or taken over from an earlier run.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <vector>

#include "socket_keeper.h"

namespace coracle::dns {

// Closes what it still has.
struct ListenSockets {
  std::vector<int> udp, tcp;
  Port port = 0;
  ListenSockets() = default;
  ListenSockets(ListenSockets&&) noexcept = default;
  ListenSockets& operator=(ListenSockets&&) = delete;
  ListenSockets(const ListenSockets&) = delete;
  ListenSockets& operator=(const ListenSockets&) = delete;
  ~ListenSockets() { clear(); }
  void clear();
};

// One of either protocol for each address, which need not be on the machine yet; none blocks. Those
// that are kept under their names and still fit are taken, others made and kept. Port 0: any, the
// same for all. AlreadyExists when somebody else has the address and port.
Result<ListenSockets> open_listen_sockets(const std::vector<Ip>& addresses, Port port,
                                          const SocketKeeper& keeper);

}  // namespace coracle::dns
