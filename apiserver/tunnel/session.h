// What both ends of a tunnel share: an nghttp2 session over a ByteStream.
#pragma once

#include <coracle/byte_stream.h>
#include <coracle/result.h>
#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace coracle::tunnel {

struct SessionFree {
  void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
};
using Session = std::unique_ptr<nghttp2_session, SessionFree>;
struct CallbacksFree {
  void operator()(nghttp2_session_callbacks* callbacks) const {
    nghttp2_session_callbacks_del(callbacks);
  }
};
using Callbacks = std::unique_ptr<nghttp2_session_callbacks, CallbacksFree>;
Callbacks make_callbacks();
struct SessionOptionsFree {
  void operator()(nghttp2_option* options) const { nghttp2_option_del(options); }
};
using SessionOptions = std::unique_ptr<nghttp2_option, SessionOptionsFree>;
SessionOptions make_session_options();

inline constexpr std::uint32_t kMaxStreams = 1024;  // of a connection, at a time
// How much of a stream's answer may be under way or wait for its reader.
inline constexpr std::int32_t kStreamWindow = 64 * 1024;
// Of all streams of a connection together. What arrives is taken off it at once.
inline constexpr std::int32_t kConnectionWindow = 1024 * 1024;

// The header with a request's options.
inline constexpr std::string_view kOptionsHeader = "coracle-options";

// Header fields whose texts live as long as this.
class Fields {
 public:
  void add(std::string_view name, std::string value);
  std::vector<nghttp2_nv> list() const;

 private:
  struct Field {
    std::string name, value;
  };
  std::vector<Field> fields_;
};

// The HTTP code by which an error travels, and back.
int code_of(const Error& error);
Code error_code(int status);

// A header's name or value, as long as the buffer lives.
std::string_view text_of(nghttp2_rcbuf* buffer);

// Moves bytes between a session and its connection as far as they go. False: the connection is of
// no use any more.
class Pump {
 public:
  explicit Pump(ByteStream& stream) : stream_(stream) {}
  bool receive(nghttp2_session* session);
  bool send(nghttp2_session* session);
  bool blocked() const { return blocked_; }  // the connection takes no more for now
  bool more() const { return more_; }        // there may be more to receive, polled or not

 private:
  bool fill(nghttp2_session* session);

  ByteStream& stream_;
  std::string out_;
  std::size_t sent_ = 0;
  bool blocked_ = false, more_ = false;
};

// A connected pair of sockets within this process.
struct SocketPair {
  std::unique_ptr<ByteStream> a, b;
};
Result<SocketPair> socket_pair();

}  // namespace coracle::tunnel
