// TLS for http_gate, http_server and stream_loop: the context they accept with, and connections
// that never block.
#pragma once

#include <coracle/byte_stream.h>
#include <coracle/result.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

struct ssl_st;
struct ssl_ctx_st;

namespace coracle {

struct TlsContextDeleter {
  void operator()(ssl_ctx_st* context) const;
};
using TlsContext = std::unique_ptr<ssl_ctx_st, TlsContextDeleter>;

// TLS 1.2 or newer, the server's certificate, and a client certificate asked for but not demanded.
// Who it names is checked per request (a stranger's gets a 401 that says so, not a broken
// handshake). Internal for keys that do not fit.
Result<TlsContext> tls_context(const std::string& certificate_pem, const std::string& key_pem,
                               const std::string& client_ca_pem);

// The context that new connections take, replaced while others use it: those that have begun keep
// theirs. Thread-safe.
class SharedTlsContext {
 public:
  void set(TlsContext context);
  TlsContext get() const;  // shares it; null before the first set()

 private:
  mutable std::mutex mutex_;
  TlsContext context_;
};

// A connection and its descriptor, both closed with it. Nothing here waits. Not thread-safe.
class TlsSocket {
 public:
  using Step = ByteStream::Step;
  using Moved = ByteStream::Moved;

  TlsSocket() = default;
  explicit TlsSocket(int fd) : fd_(fd) {}  // non-blocking; TLS begins with shake_hands()
  TlsSocket(TlsSocket&& other) noexcept
      : ssl_(std::exchange(other.ssl_, nullptr)), fd_(std::exchange(other.fd_, -1)) {}
  TlsSocket& operator=(TlsSocket&& other) noexcept;
  TlsSocket(const TlsSocket&) = delete;
  TlsSocket& operator=(const TlsSocket&) = delete;
  ~TlsSocket();

  ssl_st* ssl() const { return ssl_; }
  int fd() const { return fd_; }

  // To be called again after what it wants, until it is Done or Broken.
  Step shake_hands(const SharedTlsContext& contexts);
  // The peer spoke HTTP without TLS, which broke shake_hands().
  bool spoke_plain_http() const { return plain_http_; }
  std::string peer_certificate() const;  // DER; "" = none

  // Some bytes, then Done; Broken at the end, too.
  Moved read(char* into, std::size_t size);
  // As many bytes as go; Done when all went.
  Moved write(std::string_view bytes);
  // Tells the peer that nothing more comes.
  void say_goodbye();

 private:
  Step step_of(int result) const;

  ssl_st* ssl_ = nullptr;
  int fd_ = -1;
  bool plain_http_ = false;
};

}  // namespace coracle
