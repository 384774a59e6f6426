// The UDP socket of the peers' tests, in the network namespace of the thread that opens it. Nothing
// is ever fragmented on this node's links. Not thread-safe.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "probe_packet.h"
#include "runtime/sandbox_files.h"

namespace coracle {

class ProbeSocket {
 public:
  struct Endpoint {
    Ip ip;
    Port port = 0;
  };
  struct Received {
    Endpoint from;
    std::span<const std::uint8_t> bytes;  // until the next receive()
  };

  // An address of this machine.
  static Result<ProbeSocket> open(const Endpoint& local);
  int fd() const { return fd_.get(); }
  // Never waits; that it could not be sent shows in that nothing comes back.
  void send(const Endpoint& to, ProbeKind kind, std::span<const std::uint8_t> bytes);
  // Never waits: nothing when nothing has come.
  std::optional<Received> receive();

 private:
  explicit ProbeSocket(runtime::Fd fd);
  void set_checksum(bool on);

  runtime::Fd fd_;
  bool checksum_ = true;
  std::unique_ptr<std::uint8_t[]> buffer_;
};

// Of a link in the calling thread's network namespace.
Result<std::uint32_t> link_mtu(const std::string& link);

}  // namespace coracle
