// DNS over UDP on some sockets: packets are read and answered in batches, one system call for many.
// Not thread-safe: one thread, the loop's.
#pragma once

#include <memory>
#include <vector>

#include "dns/responder.h"

namespace coracle::dns {

class UdpSockets {
 public:
  // Takes the bound sockets, which do not block.
  UdpSockets(Responder& responder, std::vector<int> sockets);
  ~UdpSockets();
  UdpSockets(const UdpSockets&) = delete;
  UdpSockets& operator=(const UdpSockets&) = delete;

  const std::vector<int>& sockets() const { return sockets_; }
  // Reads a batch of packets from one of them. True when there may be more.
  bool serve(int socket);

 private:
  class Batch;

  Responder& responder_;
  const std::vector<int> sockets_;
  std::unique_ptr<Batch> batch_;
};

}  // namespace coracle::dns
