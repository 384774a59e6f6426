// Where connections wait. One thread accepts, shakes hands and reads until the head of a request is
// there: only then does a connection cost a thread. It comes back for its next request. So clients
// that are silent, slow or many hold up nobody: they meet deadlines and limits, and of too many
// connections those nearest to their deadline are closed, of the source that has the most. Knows
// nothing of HTTP but where a head ends.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "http_tls.h"

namespace coracle {

// A client's connection. The gate's while it waits, its server's from `serve` until give_back(),
// close() or take().
struct GateConnection {
  std::uint64_t id = 0;
  TlsSocket socket;
  sockaddr_storage local{}, remote{};
  std::string received;         // decrypted, not yet used
  std::string certificate_der;  // the client's, not verified; "" = none
};

class HttpGate {
 public:
  struct Options {
    std::string bind_address;  // "" or an unspecified address: every address, IPv4 and IPv6
    int port = 0;              // 0: any free one
    const SharedTlsContext* tls = nullptr;  // outlives the gate
    std::size_t max_connections = 1024;     // waiting and served
    std::size_t max_per_source = 512;       // by address
    std::size_t max_head = std::size_t{64} * 1024;
    std::chrono::milliseconds header_timeout{10'000};  // handshake and head together
    std::chrono::milliseconds idle_timeout{180'000};   // between requests
    // `received` holds a head, or max_head bytes without one. Called by the gate's thread; must not
    // wait.
    std::function<void(GateConnection&)> serve;
  };
  // Listens; connections wait for start(). Internal when the port is taken, naming it.
  static Result<std::unique_ptr<HttpGate>> create(Options options);
  virtual ~HttpGate() = default;
  // Begins to accept, and so to call `serve`. To be called once.
  virtual void start() = 0;
  virtual int port() const = 0;
  // Waits for the next request, whose first bytes may be in `received`. Thread-safe, as what
  // follows.
  virtual void give_back(GateConnection& connection) = 0;
  // Says goodbye and closes once the client has read what was sent, or soon.
  virtual void close(GateConnection& connection) = 0;
  // The connection is the caller's for good.
  virtual TlsSocket take(GateConnection& connection) = 0;
  // Accepts and reads no more; connections stay as they are until the gate is destroyed.
  // Idempotent.
  virtual void stop() = 0;
};

// True when `received` holds a whole head: up to an empty line. `from`: where to begin to look, for
// a caller that has looked before.
bool holds_head(std::string_view received, std::size_t from = 0);

}  // namespace coracle
