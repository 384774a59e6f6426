// A node's end of its tunnel: one thread, which connects, and then answers what the server asks.
#include <coracle/log.h>
#include <coracle/tunnel.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "session.h"

namespace coracle {
namespace tunnel {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Id = std::int32_t;

constexpr std::size_t kLongestField = std::size_t{60} * 1024;
constexpr std::uint64_t kMostResets = 100'000, kResetsPerSecond = 10'000;
// A connection that lasted so long was a good one: the next is made at once.
constexpr auto kGood = std::chrono::seconds(5);

// An error's text as an answer.
class TextSource final : public TunnelSource {
 public:
  explicit TextSource(std::string text) : text_(std::move(text)) {}
  void start(std::function<void()> /*wake*/) override {}
  State produce(std::string& out, std::size_t /*room*/) override {
    out += text_;
    return State::End;
  }

 private:
  const std::string text_;
};

struct Stream {
  TunnelRequest request;
  std::unique_ptr<TunnelSource> source = {};
  TunnelSource::State state = TunnelSource::State::More;
  std::string out = {};  // made, not yet taken by the session
  std::size_t taken = 0;
};

// Streams that were woken, by any thread.
class Woken {
 public:
  explicit Woken(int fd) : fd_(fd) {}
  Woken(const Woken&) = delete;
  Woken& operator=(const Woken&) = delete;
  ~Woken() { close(fd_); }
  void add(Id id) {
    const std::lock_guard lock(mutex_);
    ids_.insert(id);
    ring();
  }
  void ring() const {
    const std::uint64_t one = 1;
    (void)!write(fd_, &one, sizeof(one));  // full means rung
  }
  std::set<Id> take() {
    const std::lock_guard lock(mutex_);
    std::uint64_t rung = 0;
    (void)!read(fd_, &rung, sizeof(rung));
    return std::exchange(ids_, {});
  }
  int fd() const { return fd_; }

 private:
  const int fd_;
  std::mutex mutex_;
  std::set<Id> ids_;  // guarded by mutex_
};

// One connection's life.
class Link {
 public:
  Link(ByteStream& stream, const TunnelEnd::Options& options, Woken& woken)
      : stream_(stream), options_(options), woken_(woken), pump_(stream) {
    const Callbacks callbacks = make_callbacks();
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks.get(), on_begin);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks.get(), on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks.get(), on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks.get(), on_close);
    nghttp2_session* session = nullptr;
    // The server is trusted, and its readers leave when they like.
    const SessionOptions limits = make_session_options();
    nghttp2_option_set_stream_reset_rate_limit(limits.get(), kMostResets, kResetsPerSecond);
    // Fails for want of memory only.
    nghttp2_session_server_new2(&session, callbacks.get(), this, limits.get());
    session_.reset(session);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxStreams}};
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 1);
  }

  // Until the connection ends.
  void run(const std::stop_token& stop) {
    while (!stop.stop_requested() && pump_.receive(session_.get()) && resume() &&
           pump_.send(session_.get()))
      wait();
  }
  // The other end has been heard.
  bool spoke() const { return spoke_; }

 private:
  static Link& self(void* data) { return *static_cast<Link*>(data); }

  void wait() const {
    const auto what = static_cast<short>(POLLIN | (pump_.blocked() ? POLLOUT : 0));
    std::array<pollfd, 3> fds = {pollfd{stream_.fd(), what, 0}, pollfd{woken_.fd(), POLLIN, 0},
                                 pollfd{options_.also_fd, POLLIN, 0}};
    const bool at_once = pump_.more() || (!again_.empty() && !pump_.blocked());
    (void)poll(fds.data(), fds.size(), at_once ? 0 : -1);
    if ((fds[2].revents & POLLIN) != 0) options_.also();
  }
  bool resume() {
    std::set<Id> ids = woken_.take();
    ids.merge(std::exchange(again_, {}));
    for (const Id id : ids)
      if (streams_.contains(id)) (void)nghttp2_session_resume_data(session_.get(), id);
    return true;
  }

  static int on_begin(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* data) {
    if (frame->hd.type == NGHTTP2_HEADERS) self(data).streams_[frame->hd.stream_id] = {};
    return 0;
  }
  static int on_header(nghttp2_session* /*session*/, const nghttp2_frame* frame,
                       nghttp2_rcbuf* name, nghttp2_rcbuf* value, std::uint8_t /*flags*/,
                       void* data) {
    const auto it = self(data).streams_.find(frame->hd.stream_id);
    const std::string_view text = text_of(value);
    if (it == self(data).streams_.end() || text.size() > kLongestField) return 0;
    if (text_of(name) == ":path") it->second.request.path = text;
    if (text_of(name) == kOptionsHeader) it->second.request.options = text;
    return 0;
  }
  static int on_frame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* data) {
    self(data).spoke_ = true;
    const bool whole = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && whole) self(data).serve(frame->hd.stream_id);
    return 0;
  }
  static int on_close(nghttp2_session* /*session*/, Id id, std::uint32_t /*code*/, void* data) {
    self(data).streams_.erase(id);
    self(data).again_.erase(id);
    return 0;
  }
  static ssize_t on_read(nghttp2_session* /*session*/, Id id, std::uint8_t* to, std::size_t room,
                         std::uint32_t* flags, nghttp2_data_source* /*source*/, void* data) {
    return self(data).read(id, to, room, *flags);
  }

  void serve(Id id) {
    const auto it = streams_.find(id);
    if (it == streams_.end() || it->second.source) return;
    Stream& stream = it->second;
    auto answer = options_.serve(stream.request);
    Fields head;
    head.add(":status", std::to_string(answer ? 200 : code_of(answer.error())));
    stream.source = answer ? std::move(*answer)
                           : std::make_unique<TextSource>(std::move(answer.error().message));
    stream.source->start([this, id] { woken_.add(id); });
    nghttp2_data_provider provider{};
    provider.read_callback = on_read;
    const auto fields = head.list();
    (void)nghttp2_submit_response(session_.get(), id, fields.data(), fields.size(), &provider);
  }

  // Called when the stream's window and the connection have room.
  ssize_t read(Id id, std::uint8_t* to, std::size_t room, std::uint32_t& flags) {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    Stream& stream = it->second;
    if (stream.taken == stream.out.size() && stream.state != TunnelSource::State::End) {
      std::string().swap(stream.out);  // one that waits keeps no buffer
      stream.taken = 0;
      stream.state = stream.source->produce(stream.out, room);
    }
    const std::size_t size = std::min(room, stream.out.size() - stream.taken);
    std::copy_n(stream.out.data() + stream.taken, size, to);
    stream.taken += size;
    const bool last = stream.taken == stream.out.size() && stream.state == TunnelSource::State::End;
    if (last) flags |= NGHTTP2_DATA_FLAG_EOF;
    if (size > 0 || last) return static_cast<ssize_t>(size);
    if (stream.state == TunnelSource::State::More) again_.insert(id);
    return NGHTTP2_ERR_DEFERRED;
  }

  ByteStream& stream_;
  const TunnelEnd::Options& options_;
  Woken& woken_;
  Pump pump_;
  Session session_;
  std::map<Id, Stream> streams_;
  std::set<Id> again_;  // have more to say
  bool spoke_ = false;
};

class End final : public TunnelEnd {
 public:
  End(Options options, int wake) : options_(std::move(options)), woken_(wake) {}
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  ~End() override { halt(); }

  void start() override {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  void stop() override { halt(); }

 private:
  void halt() {
    const std::lock_guard lock(stop_mutex_);
    thread_.request_stop();
    woken_.ring();
    if (thread_.joinable()) thread_.join();
  }

  void run(const std::stop_token& stop) {
    auto pause = milliseconds(0);
    while (!stop.stop_requested()) {
      const auto begin = steady_clock::now();
      const bool good = connect_once(stop) && steady_clock::now() - begin > kGood;
      pause =
          good ? milliseconds(0) : std::clamp(pause * 2, options_.retry_min, options_.retry_max);
      rest(stop, pause);
    }
  }

  // True when there was a connection.
  bool connect_once(const std::stop_token& stop) {
    const auto stream = options_.connect(stop);
    if (!stream) {
      if (!stop.stop_requested()) tell(stream.error().message);
      return false;
    }
    Link link(**stream, options_, woken_);
    link.run(stop);
    if (!link.spoke() && !stop.stop_requested()) {
      tell("the server closes it at once");
      return false;
    }
    told_.clear();
    return true;
  }

  // Once, not at each try.
  void tell(const std::string& what) {
    if (what == told_) return;
    log::warn("tunnel", "no tunnel to the server, trying again", {{"error", what}});
    told_ = what;
  }

  void rest(const std::stop_token& stop, milliseconds pause) {
    const auto end = steady_clock::now() + pause;
    for (;;) {
      const auto left = std::chrono::ceil<milliseconds>(end - steady_clock::now());
      if (left.count() <= 0 || stop.stop_requested()) return;
      std::array<pollfd, 2> fds = {pollfd{woken_.fd(), POLLIN, 0},
                                   pollfd{options_.also_fd, POLLIN, 0}};
      (void)poll(fds.data(), fds.size(), static_cast<int>(left.count()));
      if (stop.stop_requested()) return;
      (void)woken_.take();
      if ((fds[1].revents & POLLIN) != 0) options_.also();
    }
  }

  const Options options_;
  Woken woken_;
  std::string told_;  // what is wrong, as it was logged
  std::mutex stop_mutex_;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace
}  // namespace tunnel

Result<std::unique_ptr<TunnelEnd>> TunnelEnd::create(Options options) {
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) return Error::from_errno(errno, "eventfd");
  return std::unique_ptr<TunnelEnd>(std::make_unique<tunnel::End>(std::move(options), wake));
}

}  // namespace coracle
