// The server's end of all nodes' tunnels, see coracle/tunnel.h: accepts their connections, and asks
// over them. One thread for all; a stream that is read slowly costs its window and holds up nobody.
#pragma once

#include <coracle/byte_stream.h>
#include <coracle/net.h>
#include <coracle/result.h>
#include <coracle/tunnel.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace coracle {

// A connection whose other end has to prove which node it is.
class TunnelPeer : public ByteStream {
 public:
  // To be called again after what it wants, until it is Done or Broken.
  virtual Step shake_hands() = 0;
  // Whose it is, once that is Done. An error says why it is nobody's; it is logged.
  virtual Result<std::string> node() const = 0;
};

namespace tunnel {
struct Exchange;
class Desk;
}  // namespace tunnel

// One request and its answer. Used from one thread at a time. Destroyed, it ends at the node, too.
class TunnelStream {
 public:
  enum class Progress { Open, Ended, Broken };

  TunnelStream(std::shared_ptr<tunnel::Exchange> exchange, std::shared_ptr<tunnel::Desk> desk)
      : exchange_(std::move(exchange)), desk_(std::move(desk)) {}
  TunnelStream(const TunnelStream&) = delete;
  TunnelStream& operator=(const TunnelStream&) = delete;
  ~TunnelStream();

  // Waits until the node has begun to answer. Its error if that is one; Unavailable when the
  // connection broke; Timeout.
  Result<void> wait_answer(std::chrono::steady_clock::time_point deadline);
  // `wake` is called when take() has something to give that it had not before, and at once if it
  // has; from any thread, under locks: it must only take note. None once this is destroyed.
  void on_news(std::function<void()> wake);
  // Appends at most `room` bytes of the answer's body. Open: more may come, and Ended and Broken
  // are told when nothing is left to take. Never waits.
  Progress take(std::string& out, std::size_t room);

 private:
  const std::shared_ptr<tunnel::Exchange> exchange_;
  const std::shared_ptr<tunnel::Desk> desk_;
};

class TunnelHub {
 public:
  struct Options {
    int listener = -1;  // a listening socket, the hub's from now on; -1: none
    // Makes a peer of a connection that was accepted, which becomes its own.
    std::function<std::unique_ptr<TunnelPeer>(int fd)> accept = {};
    std::chrono::milliseconds handshake_timeout{5000};
    // What has been silent so long is asked for a sign of life, and given up without one.
    std::chrono::milliseconds ping_after{15'000}, ping_timeout{10'000};
    std::size_t max_strangers = 128;           // connections that have not proved who they are
    std::size_t max_strangers_per_source = 8;  // of them, by address
  };

  // Internal: no descriptors left; the listener is closed then.
  static Result<std::unique_ptr<TunnelHub>> create(Options options);
  virtual ~TunnelHub() = default;
  // The port of the listener, 0 without.
  virtual int port() const = 0;
  // Asks the node, whose connection is awaited until the deadline: Unavailable when there is none.
  // Thread-safe.
  virtual Result<std::unique_ptr<TunnelStream>> open(
      const std::string& node, const TunnelRequest& request,
      std::chrono::steady_clock::time_point deadline) = 0;
  // A connection of the node that runs in this process. Thread-safe.
  virtual Result<std::unique_ptr<ByteStream>> connect(const std::string& node) = 0;
  // How many nodes are connected. Thread-safe.
  virtual std::size_t size() const = 0;
  // Ends all connections; later requests are Unavailable. Idempotent.
  virtual void stop() = 0;
};

}  // namespace coracle
