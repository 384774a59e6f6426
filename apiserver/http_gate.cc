#include "http_gate.h"

#include <coracle/metrics.h>
#include <coracle/mutex.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <set>
#include <thread>
#include <unordered_map>
#include <vector>

#include "http_listener.h"

namespace coracle {
namespace {

using std::chrono::steady_clock;
using Id = std::uint64_t;

constexpr Id kWakeId = 0, kListenerId = 1, kFirstId = 2;
constexpr int kAcceptsAtOnce = 64;  // before those that wait are looked at again
constexpr std::size_t kBlock = std::size_t{4} * 1024;
// Heads up to this size always find room; longer ones share kLongHeads.
constexpr std::size_t kShortHead = std::size_t{4} * 1024;
constexpr std::size_t kLongHeads = std::size_t{8} * 1024 * 1024;
constexpr auto kGoodbye = std::chrono::seconds(5);  // for a client to read our last words
constexpr std::size_t kMostDropped = std::size_t{64} * 1024 * 1024;
constexpr std::string_view kSpeaksTls =
    "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    "\r\nClient sent an HTTP request to an HTTPS server.\n";

metrics::Counter closed("apiserver_connections_closed_early_total",
                        "Connections closed while they waited, by reason.");

struct Waiter : GateConnection {
  enum class State { Fresh, Idle, Served, Closing };
  State state = State::Fresh;
  Ip source;
  steady_clock::time_point due = steady_clock::time_point::max();
  std::size_t looked = 0;   // of `received`: no head ends there
  std::size_t dropped = 0;  // bytes, while closing
};

std::size_t long_part(std::size_t head) {
  return head > kShortHead ? head - kShortHead : 0;
}

Ip address_of(const sockaddr_storage& from) {
  if (from.ss_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&from);  // NOLINT: how sockets say it
    return Ip::v4(ntohl(in->sin_addr.s_addr));
  }
  const auto* in = reinterpret_cast<const sockaddr_in6*>(&from);  // NOLINT
  return Ip::from_bytes(in->sin6_addr.s6_addr, 16);
}

class Gate final : public HttpGate {
 public:
  Gate(Options options, int listener, int epoll, int wake)
      : options_(std::move(options)), listener_(listener), epoll_(epoll), wake_(wake) {
    watch(wake_, kWakeId, EPOLLIN, EPOLL_CTL_ADD);
    watch(listener_, kListenerId, EPOLLIN, EPOLL_CTL_ADD);
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() override {
    stop();
    waiters_.clear();
    ::close(wake_);
    ::close(epoll_);
    ::close(listener_);
  }

  void start() override {
    thread_ = std::thread([this] { run(); });
  }
  int port() const override { return bound_port(listener_); }
  void give_back(GateConnection& connection) override { tell({connection.id, News::Waits}); }
  void close(GateConnection& connection) override { tell({connection.id, News::Ends}); }
  TlsSocket take(GateConnection& connection) override {
    TlsSocket socket = std::move(connection.socket);
    (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, socket.fd(), nullptr);
    tell({connection.id, News::Left});
    return socket;
  }
  void stop() override {
    stopping_ = true;
    ring();
    const MutexLock lock(stop_mutex_);
    if (thread_.joinable()) thread_.join();
  }

 private:
  enum class News { Waits, Ends, Left };

  void watch(int fd, Id id, std::uint32_t what, int operation) const {
    epoll_event event{};
    event.events = what;
    event.data.u64 = id;
    (void)epoll_ctl(epoll_, operation, fd, &event);
  }
  void ring() const {
    const std::uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof(one));  // full means rung
  }
  void tell(std::pair<Id, News> news) {
    const MutexLock lock(mutex_);
    if (news_.empty()) ring();
    news_.push_back(news);
  }

  void run();
  int patience() const;
  void take_news();
  void wait_again(Waiter& waiter);
  void end_due();
  void accept_some();
  void admit(int fd, const sockaddr_storage& remote);
  bool make_room(const Ip& source);
  bool evict(const Ip* source);
  void progress(Waiter& waiter);
  void read_head(Waiter& waiter);
  bool may_grow(const Waiter& waiter, std::size_t bytes) const;
  void serve(Waiter& waiter);
  void listen_to_last_words(Waiter& waiter);
  void begin_goodbye(Waiter& waiter);
  void wait_for(Waiter& waiter, TlsSocket::Step step);
  void set_due(Waiter& waiter, steady_clock::time_point when);
  void remove(Waiter& waiter, const char* reason);

  const Options options_;
  const int listener_, epoll_, wake_;

  // The thread's own, but for connections that are served.
  std::unordered_map<Id, std::unique_ptr<Waiter>> waiters_;
  std::set<std::pair<steady_clock::time_point, Id>> due_;  // of those that are not served
  std::map<Ip, std::size_t> sources_;
  std::size_t held_ = 0;  // bytes in long heads
  Id last_id_ = kFirstId;

  Mutex mutex_;
  std::vector<std::pair<Id, News>> news_ CORACLE_GUARDED_BY(mutex_);
  std::atomic<bool> stopping_{false};
  Mutex stop_mutex_;
  std::thread thread_;
  std::atomic<std::size_t> size_{0};
  const metrics::Gauge gauge_{"apiserver_connections", "Connections that wait or are served.",
                              [this] { return static_cast<double>(size_.load()); }};
};

void Gate::run() {
  std::array<epoll_event, 128> events{};
  while (!stopping_) {
    const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), patience());
    for (int i = 0; i < n && !stopping_; ++i) {
      const Id id = events[static_cast<std::size_t>(i)].data.u64;
      if (id == kWakeId) {
        take_news();
      } else if (id == kListenerId) {
        accept_some();
      } else if (const auto it = waiters_.find(id); it != waiters_.end()) {
        progress(*it->second);
      }
    }
    end_due();
  }
}

int Gate::patience() const {
  if (due_.empty()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(due_.begin()->first - steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

void Gate::take_news() {
  std::uint64_t rung = 0;
  (void)!::read(wake_, &rung, sizeof(rung));
  std::vector<std::pair<Id, News>> news;
  {
    const MutexLock lock(mutex_);
    news.swap(news_);
  }
  for (const auto& [id, what] : news) {
    Waiter& waiter = *waiters_.at(id);
    switch (what) {
      case News::Left:
        remove(waiter, nullptr);
        break;
      case News::Ends:
        begin_goodbye(waiter);
        break;
      case News::Waits:
        wait_again(waiter);
        break;
    }
  }
}

void Gate::wait_again(Waiter& waiter) {
  const bool idle = waiter.received.empty();
  waiter.state = idle ? Waiter::State::Idle : Waiter::State::Fresh;
  held_ += long_part(waiter.received.size());
  set_due(waiter, steady_clock::now() + (idle ? options_.idle_timeout : options_.header_timeout));
  wait_for(waiter, TlsSocket::Step::WantsRead);
}

void Gate::end_due() {
  const auto now = steady_clock::now();
  while (!due_.empty() && due_.begin()->first <= now) {
    Waiter& waiter = *waiters_.at(due_.begin()->second);
    remove(waiter, waiter.state == Waiter::State::Fresh ? "timeout" : nullptr);
  }
}

void Gate::accept_some() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    sockaddr_storage remote{};
    socklen_t size = sizeof(remote);
    const int fd = accept4(listener_, reinterpret_cast<sockaddr*>(&remote), &size,  // NOLINT
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      admit(fd, remote);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      if (!evict(nullptr)) return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

void Gate::admit(int fd, const sockaddr_storage& remote) {
  const Ip source = address_of(remote);
  TlsSocket socket(fd);
  if (!make_room(source)) {
    closed.add(1, {{"reason", "surplus"}});
    return;
  }
  auto made = std::make_unique<Waiter>();
  made->id = ++last_id_;
  made->socket = std::move(socket);
  made->remote = remote;
  socklen_t size = sizeof(made->local);
  (void)getsockname(fd, reinterpret_cast<sockaddr*>(&made->local), &size);  // NOLINT
  made->source = source;
  Waiter& waiter = *made;
  waiters_.emplace(waiter.id, std::move(made));
  ++sources_[source];
  ++size_;
  set_due(waiter, steady_clock::now() + options_.header_timeout);
  watch(fd, waiter.id, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, EPOLL_CTL_ADD);
}

bool Gate::make_room(const Ip& source) {
  const auto mine = sources_.find(source);
  if (mine != sources_.end() && mine->second >= options_.max_per_source && !evict(&source))
    return false;
  if (waiters_.size() < options_.max_connections) return true;
  const auto most =
      std::max_element(sources_.begin(), sources_.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return evict(&most->first) || evict(nullptr);
}

// Closes the connection that is nearest to its deadline. False: all are being served.
bool Gate::evict(const Ip* source) {
  for (const auto& [when, id] : due_) {
    Waiter& waiter = *waiters_.at(id);
    if (source != nullptr && waiter.source != *source) continue;
    remove(waiter, "surplus");
    return true;
  }
  return false;
}

void Gate::progress(Waiter& waiter) {
  if (waiter.state == Waiter::State::Served) return;
  if (waiter.state == Waiter::State::Closing) return listen_to_last_words(waiter);
  const TlsSocket::Step step = waiter.socket.shake_hands(*options_.tls);
  if (step == TlsSocket::Step::WantsRead || step == TlsSocket::Step::WantsWrite)
    return wait_for(waiter, step);
  if (step == TlsSocket::Step::Broken) {
    if (!waiter.socket.spoke_plain_http()) return remove(waiter, nullptr);
    (void)!::send(waiter.socket.fd(), kSpeaksTls.data(), kSpeaksTls.size(), MSG_NOSIGNAL);
    return begin_goodbye(waiter);
  }
  if (waiter.certificate_der.empty() && waiter.state == Waiter::State::Fresh)
    waiter.certificate_der = waiter.socket.peer_certificate();
  read_head(waiter);
}

void Gate::read_head(Waiter& waiter) {
  std::array<char, kBlock> block{};
  for (;;) {
    const std::size_t room = options_.max_head - waiter.received.size();
    const auto moved = waiter.socket.read(block.data(), std::min(block.size(), room));
    if (moved.step == TlsSocket::Step::Broken) return remove(waiter, nullptr);
    if (moved.step != TlsSocket::Step::Done) return wait_for(waiter, moved.step);
    if (waiter.state == Waiter::State::Idle) {
      waiter.state = Waiter::State::Fresh;
      set_due(waiter, steady_clock::now() + options_.header_timeout);
    }
    if (!may_grow(waiter, moved.bytes)) return remove(waiter, "surplus");
    const std::size_t before = waiter.received.size();
    waiter.received.append(block.data(), moved.bytes);
    held_ += long_part(waiter.received.size()) - long_part(before);
    if (holds_head(waiter.received, waiter.looked) || waiter.received.size() >= options_.max_head)
      return serve(waiter);
    waiter.looked = waiter.received.size();
  }
}

bool Gate::may_grow(const Waiter& waiter, std::size_t bytes) const {
  return waiter.received.size() + bytes <= kShortHead || held_ + bytes <= kLongHeads;
}

void Gate::serve(Waiter& waiter) {
  set_due(waiter, steady_clock::time_point::max());
  waiter.state = Waiter::State::Served;
  held_ -= long_part(waiter.received.size());
  waiter.looked = 0;
  options_.serve(waiter);
}

void Gate::begin_goodbye(Waiter& waiter) {
  waiter.socket.say_goodbye();
  waiter.state = Waiter::State::Closing;
  waiter.received = {};
  set_due(waiter, steady_clock::now() + kGoodbye);
  wait_for(waiter, TlsSocket::Step::WantsRead);
}

// Closing while bytes of the client are unread would reset the connection, and the client would
// never read the answer that made us close.
void Gate::listen_to_last_words(Waiter& waiter) {
  std::array<char, std::size_t{4} * kBlock> scrap{};
  for (int i = 0; i < 64; ++i) {
    const ssize_t n = recv(waiter.socket.fd(), scrap.data(), scrap.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (n <= 0) return remove(waiter, nullptr);
    waiter.dropped += static_cast<std::size_t>(n);
    if (waiter.dropped > kMostDropped) return remove(waiter, nullptr);
  }
  wait_for(waiter, TlsSocket::Step::WantsRead);
}

void Gate::wait_for(Waiter& waiter, TlsSocket::Step step) {
  const std::uint32_t what = step == TlsSocket::Step::WantsWrite ? EPOLLOUT : EPOLLIN | EPOLLRDHUP;
  watch(waiter.socket.fd(), waiter.id, what | EPOLLONESHOT, EPOLL_CTL_MOD);
}

void Gate::set_due(Waiter& waiter, steady_clock::time_point when) {
  due_.erase({waiter.due, waiter.id});
  waiter.due = when;
  if (when != steady_clock::time_point::max()) due_.emplace(when, waiter.id);
}

void Gate::remove(Waiter& waiter, const char* reason) {
  if (reason != nullptr) closed.add(1, {{"reason", reason}});
  if (waiter.state == Waiter::State::Fresh) held_ -= long_part(waiter.received.size());
  set_due(waiter, steady_clock::time_point::max());
  const auto source = sources_.find(waiter.source);
  if (--source->second == 0) sources_.erase(source);
  --size_;
  waiters_.erase(waiter.id);
}

}  // namespace

// As civetweb sees it: an empty line after lines that end in CRLF, or in LF.
bool holds_head(std::string_view received, std::size_t from) {
  const std::size_t begin = from < 3 ? 0 : from - 3;
  return received.find("\r\n\r\n", begin) != std::string_view::npos ||
         received.find("\n\n", begin) != std::string_view::npos;
}

Result<std::unique_ptr<HttpGate>> HttpGate::create(Options options) {
  const int listener = TRY(listen_on(options.bind_address, options.port));
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll < 0 || wake < 0) {
    const Error error = Error::from_errno(errno, "waiting for connections");
    for (const int fd : {listener, epoll, wake})
      if (fd >= 0) ::close(fd);
    return error;
  }
  return std::unique_ptr<HttpGate>(
      std::make_unique<Gate>(std::move(options), listener, epoll, wake));
}

}  // namespace coracle
