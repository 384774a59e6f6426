// The TLS side of http_server.cc: sets up the context civetweb accepts with, and tells the
// connection a thread works on.
#pragma once

#include <coracle/result.h>

#include <string>
#include <utility>

struct ssl_st;
struct ssl_ctx_st;

namespace coracle {

// TLS 1.2 or newer, the server's certificate, and a client certificate asked for but not demanded.
// Who it names is checked per request (a stranger's gets a 401 that says so, not a broken
// handshake).
bool configure_tls(ssl_ctx_st* context, const std::string& certificate_pem,
                   const std::string& key_pem, const std::string& client_ca_pem);

// The connection this thread accepted last, which civetweb does not show: -1 and "" without one.
int current_socket();
const std::string& current_peer_certificate();  // DER

// A TLS connection and its descriptor, both closed with it. Not thread-safe.
class TlsSocket {
 public:
  TlsSocket() = default;
  TlsSocket(ssl_st* ssl, int fd) : ssl_(ssl), fd_(fd) {}
  TlsSocket(TlsSocket&& other) noexcept
      : ssl_(std::exchange(other.ssl_, nullptr)), fd_(std::exchange(other.fd_, -1)) {}
  TlsSocket& operator=(TlsSocket&& other) noexcept;
  TlsSocket(const TlsSocket&) = delete;
  TlsSocket& operator=(const TlsSocket&) = delete;
  ~TlsSocket();
  ssl_st* ssl() const { return ssl_; }
  int fd() const { return fd_; }
  // Tells the peer that nothing more comes. Does not wait.
  void say_goodbye();
  // To be called once civetweb has closed what detach_current_connection() left it.
  void revive();

 private:
  ssl_st* ssl_ = nullptr;
  int fd_ = -1;
};

// Takes the connection this thread works on away from civetweb, which from then on closes nothing
// but a stand-in. Nothing may be read from or written to it before civetweb has done so and
// revive() was called. Internal: no descriptors left.
Result<TlsSocket> detach_current_connection();

// False when the peer has closed its side or the connection broke.
bool socket_alive(int fd);
// Lets the kernel keep connections that sent nothing: of the listening sockets of this process,
// those on `port`.
void defer_silent_connections(int port);

}  // namespace coracle
