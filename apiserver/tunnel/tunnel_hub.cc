#include "tunnel_hub.h"

#include <coracle/log.h>
#include <coracle/metrics.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "connection.h"
#include "desk.h"
#include "session.h"

namespace coracle {
namespace tunnel {
namespace {

using std::chrono::steady_clock;
using Id = std::uint64_t;

constexpr Id kWakeId = 0, kListenerId = 1, kFirstId = 2;
constexpr int kAcceptsAtOnce = 16;
constexpr auto kAcceptPause = std::chrono::milliseconds(100);  // when descriptors are short
constexpr auto kRefusalInterval = std::chrono::seconds(1);     // between log lines of them

metrics::Counter requests("apiserver_tunnel_requests_total",
                          "Requests to nodes through their tunnels.");
metrics::Counter refusals("apiserver_tunnel_refusals_total",
                          "Connections that did not prove to be a node's, by reason.");

// A connection within this process: nothing to prove.
class OwnPeer final : public TunnelPeer {
 public:
  OwnPeer(std::unique_ptr<ByteStream> stream, std::string node)
      : stream_(std::move(stream)), node_(std::move(node)) {}
  int fd() const override { return stream_->fd(); }
  Moved read(char* into, std::size_t size) override { return stream_->read(into, size); }
  Moved write(std::string_view bytes) override { return stream_->write(bytes); }
  Step shake_hands() override { return Step::Done; }
  Result<std::string> node() const override { return node_; }

 private:
  const std::unique_ptr<ByteStream> stream_;
  const std::string node_;
};

Ip peer_address(int fd) {
  sockaddr_storage from{};
  socklen_t size = sizeof(from);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&from), &size) != 0) return {};  // NOLINT
  if (from.ss_family == AF_INET)
    return Ip::v4(ntohl(reinterpret_cast<const sockaddr_in*>(&from)->sin_addr.s_addr));  // NOLINT
  if (from.ss_family != AF_INET6) return {};
  const auto* in = reinterpret_cast<const sockaddr_in6*>(&from);  // NOLINT
  const std::uint8_t* bytes = in->sin6_addr.s6_addr;
  return IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) ? Ip::from_bytes(bytes + 12, 4)
                                              : Ip::from_bytes(bytes, 16);
}

std::string shown(const Ip& source) {
  return source.is_unspecified() ? "this process" : source.to_string();
}

int listening_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (fd < 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)  // NOLINT
    return 0;
  if (address.ss_family == AF_INET)
    return ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);  // NOLINT
  return ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);  // NOLINT
}

// Has not proved yet who it is.
struct Stranger {
  std::unique_ptr<TunnelPeer> peer;
  Ip source;
  steady_clock::time_point due;
  bool writes = false;  // waits for room to write
};

class Hub final : public TunnelHub {
 public:
  Hub(Options options, int epoll, int wake)
      : options_(std::move(options)),
        epoll_(epoll),
        desk_(std::make_shared<Desk>(wake)),
        gauge_("apiserver_tunnels", "Nodes that are connected.",
               [this] { return static_cast<double>(desk_->connected()); }) {
    watch(wake, kWakeId, EPOLLIN, EPOLL_CTL_ADD);
    if (options_.listener >= 0) watch(options_.listener, kListenerId, EPOLLIN, EPOLL_CTL_ADD);
    thread_ = std::thread([this] { run(); });
  }
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;
  ~Hub() override {
    halt();
    close(epoll_);
    if (options_.listener >= 0) close(options_.listener);
  }

  int port() const override { return listening_port(options_.listener); }
  std::size_t size() const override { return desk_->connected(); }
  void stop() override { halt(); }

  Result<std::unique_ptr<TunnelStream>> open(const std::string& node, const TunnelRequest& request,
                                             steady_clock::time_point deadline) override {
    if (!desk_->await(node, deadline))
      return Error{Code::Unavailable, "node \"" + node + "\" is not connected to the server"};
    requests.add();
    auto exchange = std::make_shared<Exchange>(node, request);
    auto stream = std::make_unique<TunnelStream>(exchange, desk_);
    desk_->post(std::move(exchange));
    return stream;
  }

  Result<std::unique_ptr<ByteStream>> connect(const std::string& node) override {
    SocketPair pair = TRY(socket_pair());
    desk_->post(std::make_unique<OwnPeer>(std::move(pair.a), node));
    return std::move(pair.b);
  }

 private:
  void halt() {
    desk_->stop();
    const std::lock_guard lock(stop_mutex_);
    if (thread_.joinable()) thread_.join();
  }
  void watch(int fd, Id id, std::uint32_t what, int operation) const {
    epoll_event event{};
    event.events = what;
    event.data.u64 = id;
    (void)epoll_ctl(epoll_, operation, fd, &event);
  }

  void run() {
    std::array<epoll_event, 64> events{};
    for (;;) {
      const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), patience());
      for (int i = 0; i < n; ++i) heard(events[static_cast<std::size_t>(i)].data.u64);
      if (!take_news()) break;
      keep_times();
      flush();
    }
    connections_.clear();
    strangers_.clear();
  }

  void heard(Id id) {
    if (id == kListenerId) return accept_some();
    if (const auto it = strangers_.find(id); it != strangers_.end()) return shake(it->first);
    const auto it = connections_.find(id);
    if (it != connections_.end() && !it->second->receive()) drop(id);
  }

  void accept_some() {
    for (int i = 0; i < kAcceptsAtOnce; ++i) {
      const int fd = accept4(options_.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        meet(options_.accept(fd), peer_address(fd));
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        watch(options_.listener, kListenerId, 0, EPOLL_CTL_MOD);
        accept_again_ = steady_clock::now() + kAcceptPause;
        return;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return;
      }
    }
  }

  void meet(std::unique_ptr<TunnelPeer> peer, const Ip& source) {
    make_room(source);
    const Id id = ++last_id_;
    watch(peer->fd(), id, EPOLLIN, EPOLL_CTL_ADD);
    strangers_[id] = {std::move(peer), source, steady_clock::now() + options_.handshake_timeout};
    shake(id);
  }

  // Too many from one address, or in all: the oldest of them goes.
  void make_room(const Ip& source) {
    const auto same = [&](const auto& s) { return s.second.source == source; };
    const auto count = std::count_if(strangers_.begin(), strangers_.end(), same);
    auto victim = strangers_.end();
    if (static_cast<std::size_t>(count) >= options_.max_strangers_per_source)
      victim = std::find_if(strangers_.begin(), strangers_.end(), same);
    else if (strangers_.size() >= options_.max_strangers)
      victim = strangers_.begin();
    if (victim == strangers_.end()) return;
    refusals.add(1, {{"reason", "surplus"}});
    strangers_.erase(victim);
  }

  void shake(Id id) {
    Stranger& stranger = strangers_.at(id);
    switch (stranger.peer->shake_hands()) {
      case ByteStream::Step::Broken:
        refuse(stranger, "the TLS handshake failed", "handshake");
        strangers_.erase(id);
        return;
      case ByteStream::Step::Done:
        return admit(id);
      case ByteStream::Step::WantsRead:
        return expect(id, stranger, false);
      case ByteStream::Step::WantsWrite:
        return expect(id, stranger, true);
    }
  }
  void expect(Id id, Stranger& stranger, bool writes) const {
    if (std::exchange(stranger.writes, writes) == writes) return;
    watch(stranger.peer->fd(), id, writes ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
  }

  void admit(Id id) {
    Stranger stranger = std::move(strangers_.at(id));
    strangers_.erase(id);
    const auto node = stranger.peer->node();
    if (!node) return refuse(stranger, node.error().message, "stranger");
    const auto old = std::find_if(connections_.begin(), connections_.end(),
                                  [&](const auto& c) { return c.second->node() == *node; });
    log::info("tunnel", old == connections_.end() ? "a node is connected" : "a node connects anew",
              {{"node", *node}, {"from", shown(stranger.source)}});
    if (old != connections_.end()) connections_.erase(old);
    watch(stranger.peer->fd(), id, EPOLLIN, EPOLL_CTL_MOD);
    const auto made =
        connections_.emplace(id, std::make_unique<Connection>(std::move(stranger.peer), *node));
    publish();
    if (!made.first->second->receive()) drop(id);
  }

  void refuse(const Stranger& stranger, const std::string& why, const char* reason) {
    refusals.add(1, {{"reason", reason}});
    const auto now = steady_clock::now();
    if (now < next_refusal_) return;  // strangers fill no disk
    next_refusal_ = now + kRefusalInterval;
    log::warn("tunnel", "a connection that is no node's is refused",
              {{"from", shown(stranger.source)}, {"error", why}});
  }

  void drop(Id id) {
    const auto it = connections_.find(id);
    log::info("tunnel", "a node is disconnected", {{"node", it->second->node()}});
    connections_.erase(it);
    publish();
  }
  void publish() {
    std::set<std::string> nodes;
    for (const auto& [id, connection] : connections_) nodes.insert(connection->node());
    desk_->set_connected(std::move(nodes));
  }

  // False: the hub is over.
  bool take_news() {
    Desk::News news = desk_->take();
    for (auto& peer : news.peers) meet(std::move(peer), Ip());
    for (const auto& exchange : news.exchanges) look(exchange);
    return !news.stop;
  }

  // A new request, or what its reader took or no longer wants.
  void look(const std::shared_ptr<Exchange>& exchange) {
    if (exchange->connection == 0) {
      const auto it = std::find_if(connections_.begin(), connections_.end(), [&](const auto& c) {
        return c.second->node() == exchange->node;
      });
      if (it == connections_.end() || !it->second->ask(exchange)) return exchange->end(false);
      exchange->connection = it->first;
    }
    const auto it = connections_.find(exchange->connection);
    if (it != connections_.end()) it->second->look(*exchange);
  }

  // Milliseconds until something is due; -1: nothing is.
  int patience() const {
    auto next = accept_again_;
    for (const auto& [id, stranger] : strangers_) next = std::min(next, stranger.due);
    for (const auto& [id, connection] : connections_) {
      if (connection->more()) return 0;
      next = std::min(next, connection->due(options_.ping_after, options_.ping_timeout));
    }
    if (next == steady_clock::time_point::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - steady_clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
  }

  void keep_times() {
    const auto now = steady_clock::now();
    if (accept_again_ <= now) {
      accept_again_ = steady_clock::time_point::max();
      watch(options_.listener, kListenerId, EPOLLIN, EPOLL_CTL_MOD);
    }
    for (auto it = strangers_.begin(); it != strangers_.end();) {
      if (it->second.due > now) {
        ++it;
        continue;
      }
      refuse(it->second, "it did not say in time who it is", "timeout");
      it = strangers_.erase(it);
    }
    std::vector<Id> lost;
    for (const auto& [id, connection] : connections_) {
      bool lives = !connection->more() || connection->receive();
      if (lives && connection->due(options_.ping_after, options_.ping_timeout) <= now)
        lives = connection->ping();
      if (!lives) lost.push_back(id);
    }
    for (const Id id : lost) drop(id);
  }

  void flush() {
    std::vector<Id> lost;
    for (const auto& [id, connection] : connections_) {
      const bool blocked = connection->blocked();
      if (!connection->send()) {
        lost.push_back(id);
      } else if (connection->blocked() != blocked) {
        const std::uint32_t what = connection->blocked() ? EPOLLIN | EPOLLOUT : EPOLLIN;
        watch(connection->fd(), id, what, EPOLL_CTL_MOD);
      }
    }
    for (const Id id : lost) drop(id);
  }

  const Options options_;
  const int epoll_;
  const std::shared_ptr<Desk> desk_;
  // The thread's own.
  std::map<Id, Stranger> strangers_;  // the oldest first
  std::map<Id, std::unique_ptr<Connection>> connections_;
  Id last_id_ = kFirstId;
  steady_clock::time_point accept_again_ = steady_clock::time_point::max();
  steady_clock::time_point next_refusal_;

  metrics::Gauge gauge_;
  std::mutex stop_mutex_;
  std::thread thread_;
};

}  // namespace
}  // namespace tunnel

Result<std::unique_ptr<TunnelHub>> TunnelHub::create(Options options) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const int wake = epoll < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) {
    const Error error = Error::from_errno(errno, "the tunnels' event loop");
    if (epoll >= 0) close(epoll);
    if (options.listener >= 0) close(options.listener);
    return error;
  }
  return std::unique_ptr<TunnelHub>(std::make_unique<tunnel::Hub>(std::move(options), epoll, wake));
}

}  // namespace coracle
