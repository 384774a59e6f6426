#include "stream_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>
#include <vector>

namespace coracle {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kRoom = std::size_t{256} * 1024;  // made at a time
constexpr std::size_t kKept =
    std::size_t{16} * 1024;  // a larger buffer is given back once it is sent
constexpr std::size_t kMostHeard =
    std::size_t{64} * 1024;  // a client has nothing to say during a stream
constexpr int kTurns = 16;   // of one stream before the others have theirs
constexpr std::uint64_t kWakeId = 0;
constexpr std::size_t kDigits = 8;  // of a chunk's size

enum class Progress { Sent, Blocked, Broken };

struct Stream {
  TlsSocket socket;
  std::shared_ptr<StreamSource> source;
  bool chunked = true;
  std::string out = {};  // framed
  std::size_t sent = 0;
  std::size_t heard = 0;
  bool ending = false;
  bool blocked = false;
  steady_clock::time_point due = {};
};

// Frames what the source makes in place. False: nothing was made.
bool fill(Stream& stream) {
  stream.out.clear();
  stream.sent = 0;
  if (stream.chunked) stream.out.assign(kDigits, '0').append("\r\n");
  const std::size_t head = stream.out.size();
  stream.ending = !stream.source->produce(stream.out, kRoom);
  const std::size_t size = stream.out.size() - head;
  if (!stream.chunked) return size != 0;
  if (size == 0) stream.out.clear();
  if (size != 0) {
    for (std::size_t i = 0; i < kDigits; ++i)
      stream.out[kDigits - 1 - i] = "0123456789abcdef"[(size >> (4 * i)) & 0xf];
    stream.out += "\r\n";
  }
  if (stream.ending && !stream.source->broken()) stream.out += "0\r\n\r\n";
  return !stream.out.empty();
}

Progress flush(Stream& stream) {
  const auto moved = stream.socket.write(std::string_view(stream.out).substr(stream.sent));
  stream.sent += moved.bytes;
  if (moved.step == TlsSocket::Step::Broken) return Progress::Broken;
  if (moved.step != TlsSocket::Step::Done) return Progress::Blocked;
  if (stream.out.capacity() > kKept) std::string().swap(stream.out);
  stream.out.clear();
  stream.sent = 0;
  return Progress::Sent;
}

// What the client sends is nothing to us but its end. False: it is gone.
bool listen_to(Stream& stream) {
  std::array<char, 4096> scrap{};
  while (stream.heard < kMostHeard) {
    const auto moved = stream.socket.read(scrap.data(), scrap.size());
    if (moved.step != TlsSocket::Step::Done) return moved.step != TlsSocket::Step::Broken;
    stream.heard += moved.bytes;
  }
  return false;
}

class Loop final : public StreamLoop {
 public:
  Loop(int epoll, int wake, std::chrono::milliseconds write_timeout)
      : epoll_(epoll), wake_(wake), write_timeout_(write_timeout), thread_([this] { run(); }) {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() override {
    stop();
    close(wake_);
    close(epoll_);
  }

  void add(TlsSocket socket, std::shared_ptr<StreamSource> source, bool chunked) override {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    ++size_;
    arrived_.push_back(Stream{std::move(socket), std::move(source), chunked});
    ring();
  }
  std::size_t size() const override { return size_; }
  void stop() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      ring();
    }
    const std::lock_guard lock(stop_mutex_);
    if (thread_.joinable()) thread_.join();
  }

 private:
  using Id = std::uint64_t;

  void ring() const {
    const std::uint64_t one = 1;
    (void)!write(wake_, &one, sizeof(one));  // full means rung
  }
  void wake(Id id) {
    const std::lock_guard lock(mutex_);
    if (woken_.empty()) ring();
    woken_.push_back(id);
  }

  void run() {
    std::array<epoll_event, 128> events{};
    for (;;) {
      const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), patience());
      for (int i = 0; i < n; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        if (event.data.u64 != kWakeId) heard(event.data.u64);
      }
      if (!take_news()) break;
      serve_due();
    }
    while (!streams_.empty()) {
      Stream& stream = streams_.begin()->second;
      if (stream.out.empty() && stream.chunked && !stream.ending) {
        stream.out = "0\r\n\r\n";
        (void)flush(stream);
      }
      drop(streams_.begin()->first);
    }
  }

  // Milliseconds until the next stream is due; -1: only an event brings work.
  int patience() const {
    if (due_.empty()) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(due_.begin()->first - steady_clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
  }

  // False: the loop is over.
  bool take_news() {
    std::vector<Stream> arrived;
    std::vector<Id> woken;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) {
        size_ -= arrived_.size();
        arrived_.clear();
        return false;
      }
      std::uint64_t rung = 0;
      (void)!read(wake_, &rung, sizeof(rung));
      arrived.swap(arrived_);
      woken.swap(woken_);
    }
    for (Stream& stream : arrived) begin(std::move(stream));
    for (const Id id : woken)
      if (const auto it = streams_.find(id); it != streams_.end() && !it->second.blocked)
        serve(id, it->second);
    return true;
  }

  void begin(Stream&& arrived) {
    const Id id = ++last_id_;
    Stream& stream = streams_.emplace(id, std::move(arrived)).first->second;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP;
    event.data.u64 = id;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, stream.socket.fd(), &event) != 0) return drop(id);
    stream.due = steady_clock::time_point::max();
    stream.source->start([this, id] { wake(id); });
    serve(id, stream);
  }

  void heard(Id id) {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return;
    if (!listen_to(it->second)) return drop(id);
    if (it->second.blocked) serve(id, it->second);
  }

  void serve_due() {
    const auto now = steady_clock::now();
    for (int i = 0; i < 64 && !due_.empty() && due_.begin()->first <= now; ++i) {
      const Id id = due_.begin()->second;
      Stream& stream = streams_.at(id);
      if (stream.blocked) {
        drop(id);  // took nothing for too long
      } else {
        serve(id, stream);
      }
    }
  }

  // Sends until nothing is left or the client takes no more.
  void serve(Id id, Stream& stream) {
    for (int turn = 0; turn < kTurns; ++turn) {
      const std::size_t before = stream.sent;
      switch (flush(stream)) {
        case Progress::Broken:
          return drop(id);
        case Progress::Blocked:
          if (!stream.blocked || stream.sent != before) wait_for(id, stream);
          return;
        case Progress::Sent:
          break;
      }
      unblock(id, stream);
      if (stream.ending) return drop(id);
      if (!fill(stream)) {
        if (stream.ending) return drop(id);
        return set_due(id, stream, stream.source->due());
      }
    }
    set_due(id, stream, steady_clock::now());
  }

  void wait_for(Id id, Stream& stream) {
    if (!stream.blocked) listen_for(id, stream, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
    stream.blocked = true;
    set_due(id, stream,
            stream.source->patient() ? steady_clock::time_point::max()
                                     : steady_clock::now() + write_timeout_);
  }
  void unblock(Id id, Stream& stream) {
    if (stream.blocked) listen_for(id, stream, EPOLLIN | EPOLLRDHUP);
    stream.blocked = false;
  }
  void listen_for(Id id, const Stream& stream, std::uint32_t what) const {
    epoll_event event{};
    event.events = what;
    event.data.u64 = id;
    (void)epoll_ctl(epoll_, EPOLL_CTL_MOD, stream.socket.fd(), &event);
  }
  void set_due(Id id, Stream& stream, steady_clock::time_point when) {
    if (stream.due == when) return;
    due_.erase({stream.due, id});
    stream.due = when;
    if (when != steady_clock::time_point::max()) due_.emplace(when, id);
  }
  void drop(Id id) {
    const auto it = streams_.find(id);
    due_.erase({it->second.due, id});
    it->second.source.reset();  // wakes nobody from here on
    it->second.socket.say_goodbye();
    streams_.erase(it);
    --size_;
  }

  const int epoll_, wake_;
  const std::chrono::milliseconds write_timeout_;
  // The thread's own.
  std::unordered_map<Id, Stream> streams_;
  std::set<std::pair<steady_clock::time_point, Id>> due_;
  Id last_id_ = kWakeId;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<Stream> arrived_;
  std::vector<Id> woken_;
  bool stopping_ = false;

  std::atomic<std::size_t> size_{0};
  std::mutex stop_mutex_;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace

Result<std::unique_ptr<StreamLoop>> StreamLoop::create(std::chrono::milliseconds write_timeout) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return Error::from_errno(errno, "epoll");
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) {
    const Error error = Error::from_errno(errno, "eventfd");
    close(epoll);
    return error;
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeId;
  (void)epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &event);
  return std::unique_ptr<StreamLoop>(std::make_unique<Loop>(epoll, wake, write_timeout));
}

}  // namespace coracle
