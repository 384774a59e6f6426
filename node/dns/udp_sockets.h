// DNS over UDP on some sockets: packets are read and answered in batches, one system call for many.
// Not thread-safe: one thread, the loop's.
#pragma once

#include <coracle/result.h>

#include <memory>
#include <vector>

#include "dns/responder.h"

namespace coracle::dns {

class UdpSockets {
 public:
  // Takes the bound sockets, which do not block.
  static Result<std::unique_ptr<UdpSockets>> create(Responder& responder, std::vector<int> sockets);
  ~UdpSockets();
  UdpSockets(const UdpSockets&) = delete;
  UdpSockets& operator=(const UdpSockets&) = delete;

  int fd() const { return epoll_; }
  void run();  // a bounded number of packets

 private:
  class Batch;
  UdpSockets(Responder& responder, std::vector<int> sockets, int epoll);
  bool serve(int socket);

  Responder& responder_;
  const std::vector<int> sockets_;
  const int epoll_;
  std::unique_ptr<Batch> batch_;
};

}  // namespace coracle::dns
