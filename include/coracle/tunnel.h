// A node's end of its tunnel: the agent opens a connection to the server, and over it the server
// asks: HTTP/2 (RFC 9113) with the roles turned round. So nothing ever connects to a node. Each
// request is a stream with a window of its own: one that is read slowly makes only its own source
// wait. Logs and metrics are asked for today; what else the server may want of a node travels the
// same way.
#pragma once

#include <coracle/byte_stream.h>
#include <coracle/result.h>

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

namespace coracle {

inline constexpr int kTunnelPort = 6444;
// Of the Service `kubernetes` in `default`: the port where the server awaits tunnels.
inline constexpr const char* kTunnelPortAnnotation = "coracle.dev/tunnel-port";

struct TunnelRequest {
  std::string path;     // "/v1/logs"; node/outlet.h has them all
  std::string options;  // JSON, "" = none
};

// The answer's body, made as there is room for it. Called by the tunnel's thread only.
class TunnelSource {
 public:
  enum class State { More, Waiting, End };

  // Destroyed once it has ended, the server wants no more of it, or the connection is gone.
  virtual ~TunnelSource() = default;
  // Once, before anything else. `wake` brings a call of produce soon; any thread may call it until
  // the source is destroyed.
  virtual void start(std::function<void()> wake) = 0;
  // Appends what there is by now, about `room` bytes at most, and works for a few milliseconds at
  // most. More: to be called again soon; Waiting: not until `wake`; End: these were the last.
  virtual State produce(std::string& out, std::size_t room) = 0;
};

class TunnelEnd {
 public:
  struct Options {
    // Opens a connection to the server; may take some seconds, fewer when stop is requested.
    std::function<Result<std::unique_ptr<ByteStream>>(const std::stop_token&)> connect;
    // Answers a request. Called by the tunnel's thread; must not wait. NotFound, BadRequest,
    // Unavailable and TooManyRequests come out as they are at the server, others as Internal.
    std::function<Result<std::unique_ptr<TunnelSource>>(const TunnelRequest&)> serve;
    // A descriptor that the thread looks at too, and what to do when it is readable; -1: none.
    int also_fd = -1;
    std::function<void()> also = {};
    // A connection that ends is made again at once, then after growing pauses.
    std::chrono::milliseconds retry_min{100}, retry_max{5000};
  };

  // Internal: no descriptors left.
  static Result<std::unique_ptr<TunnelEnd>> create(Options options);
  virtual ~TunnelEnd() = default;  // stops
  // Begins to connect, and does so again whenever the connection ends. To be called once.
  virtual void start() = 0;
  // Ends the connection and with it what is being answered. Idempotent.
  virtual void stop() = 0;
};

}  // namespace coracle
