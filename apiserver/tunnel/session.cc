#include "session.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

namespace coracle::tunnel {
namespace {

constexpr std::size_t kBlock = std::size_t{16} * 1024;
constexpr std::size_t kKept = std::size_t{4} * 1024;  // more is given back once it is sent
constexpr int kTurns = 16;                            // of reading before others have theirs

constexpr std::pair<Code, int> kCodes[] = {{Code::BadRequest, 400},
                                           {Code::NotFound, 404},
                                           {Code::TooManyRequests, 429},
                                           {Code::Unavailable, 503}};

class Socket final : public ByteStream {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() override { close(fd_); }
  int fd() const override { return fd_; }
  Moved read(char* into, std::size_t size) override {
    const ssize_t n = recv(fd_, into, size, MSG_DONTWAIT);
    if (n > 0) return {Step::Done, static_cast<std::size_t>(n)};
    const bool wait = n < 0 && (errno == EAGAIN || errno == EINTR);
    return {wait ? Step::WantsRead : Step::Broken, 0};
  }
  Moved write(std::string_view bytes) override {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n =
          ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return {errno == EAGAIN ? Step::WantsWrite : Step::Broken, sent};
      sent += static_cast<std::size_t>(n);
    }
    return {Step::Done, sent};
  }

 private:
  const int fd_;
};

}  // namespace

Callbacks make_callbacks() {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);  // fails for want of memory only
  return Callbacks(callbacks);
}

SessionOptions make_session_options() {
  nghttp2_option* options = nullptr;
  nghttp2_option_new(&options);  // fails for want of memory only
  return SessionOptions(options);
}

void Fields::add(std::string_view name, std::string value) {
  fields_.push_back({std::string(name), std::move(value)});
}

std::vector<nghttp2_nv> Fields::list() const {
  std::vector<nghttp2_nv> out;
  out.reserve(fields_.size());
  const auto bytes = [](const std::string& text) {
    // nghttp2 copies, but its signature is old.
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));  // NOLINT
  };
  for (const auto& [name, value] : fields_)
    out.push_back({bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
  return out;
}

std::string_view text_of(nghttp2_rcbuf* buffer) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};  // NOLINT
}

int code_of(const Error& error) {
  for (const auto& [code, status] : kCodes)
    if (error.code == code) return status;
  return 500;
}

Code error_code(int status) {
  for (const auto& [code, number] : kCodes)
    if (status == number) return code;
  return Code::Internal;
}

bool Pump::receive(nghttp2_session* session) {
  std::array<char, kBlock> block{};
  more_ = false;
  for (int turn = 0; turn < kTurns; ++turn) {
    const auto moved = stream_.read(block.data(), block.size());
    if (moved.step == ByteStream::Step::Broken) return false;
    if (moved.step != ByteStream::Step::Done) return true;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(block.data());  // NOLINT
    if (nghttp2_session_mem_recv(session, bytes, moved.bytes) < 0) return false;
  }
  more_ = true;
  return true;
}

// Takes what the session has to say, as large blocks. False: it is over.
bool Pump::fill(nghttp2_session* session) {
  if (out_.capacity() > kKept) std::string().swap(out_);
  out_.clear();
  sent_ = 0;
  while (out_.size() < kBlock) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t n = nghttp2_session_mem_send(session, &bytes);
    if (n < 0) return false;
    if (n == 0) break;
    out_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(n));  // NOLINT
  }
  return true;
}

bool Pump::send(nghttp2_session* session) {
  for (;;) {
    if (sent_ == out_.size() && !fill(session)) return false;
    blocked_ = false;
    if (out_.empty())
      return nghttp2_session_want_read(session) != 0 || nghttp2_session_want_write(session) != 0;
    const auto moved = stream_.write(std::string_view(out_).substr(sent_));
    sent_ += moved.bytes;
    if (moved.step == ByteStream::Step::Broken) return false;
    if (moved.step == ByteStream::Step::Done) continue;
    blocked_ = true;
    return true;
  }
}

Result<SocketPair> socket_pair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
    return Error::from_errno(errno, "socketpair");
  return SocketPair{std::make_unique<Socket>(fds[0]), std::make_unique<Socket>(fds[1])};
}

}  // namespace coracle::tunnel
