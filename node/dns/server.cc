#include "dns/server.h"

#include <coracle/log.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "dns/socket_address.h"
#include "dns/udp_sockets.h"
#include "pods/pod_etc.h"

namespace coracle::dns {
namespace {

constexpr int kReceiveBuffer = 1 << 20;  // bytes: some thousand questions of a burst
constexpr int kBacklog = 128;
constexpr int kTriesForOnePort = 20;

// Closes what it still has.
struct Sockets {
  std::vector<int> udp, tcp;
  Sockets() = default;
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
  ~Sockets() { clear(); }
  void clear() {
    for (auto* fds : {&udp, &tcp}) {
      for (const int fd : *fds) ::close(fd);
      fds->clear();
    }
  }
};

Result<void> set(int fd, int level, int option, int value) {
  if (::setsockopt(fd, level, option, &value, sizeof(value)) == 0) return {};
  return Error::from_errno(errno, "setsockopt");
}

// Bound, and for TCP listening. The address need not be on the machine yet.
Result<void> open_socket(const Ip& ip, Port port, int type, std::vector<int>& fds) {
  const SocketAddress address(ip, port);
  const int fd = ::socket(address.storage.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error::from_errno(errno, "socket");
  fds.push_back(fd);
  TRY(set(fd, IPPROTO_IP, IP_FREEBIND, 1));
  if (type == SOCK_STREAM) TRY(set(fd, SOL_SOCKET, SO_REUSEADDR, 1));
  if (type == SOCK_DGRAM) (void)set(fd, SOL_SOCKET, SO_RCVBUF, kReceiveBuffer);
  const std::string where = ip.to_string() + " port " + std::to_string(port);
  if (::bind(fd, address.get(), address.size) != 0) {
    if (errno == EADDRINUSE)
      return Error{Code::AlreadyExists, where + " is used by another program"};
    return Error::from_errno(errno, where);
  }
  if (type == SOCK_STREAM && ::listen(fd, kBacklog) != 0) return Error::from_errno(errno, where);
  return {};
}

Result<Port> port_of(int fd) {
  SocketAddress address;
  if (::getsockname(fd, address.get(), &address.size) != 0)
    return Error::from_errno(errno, "getsockname");
  return address.port();
}

Result<Port> open_all(const ServerOptions& options, Sockets& sockets) {
  Port port = options.port;
  for (const Ip& ip : options.listen) {
    TRY(open_socket(ip, port, SOCK_DGRAM, sockets.udp));
    if (port == 0) port = TRY(port_of(sockets.udp.back()));
    TRY(open_socket(ip, port, SOCK_STREAM, sockets.tcp));
  }
  return port;
}

// Any port has to be free for both protocols.
Result<Port> open_sockets(const ServerOptions& options, Sockets& sockets) {
  for (int i = 1;; ++i) {
    auto port = open_all(options, sockets);
    if (port || options.port != 0 || i == kTriesForOnePort) return port;
    sockets.clear();
  }
}

}  // namespace

class Server::Loop {
 public:
  Loop(const Clock& clock, ServerOptions options, int wake)
      : clock_(clock), options_(std::move(options)), wake_(wake) {}

  Result<Port> open() {
    Sockets sockets;
    const Port port = TRY(open_sockets(options_, sockets));
    routes_ = TRY(Routes::create(clock_, options_.forwarder, options_.names));
    resolver_ = std::make_unique<Resolver>(clock_, *routes_, options_.cache);
    ResponderOptions responder{.pod_cidr = options_.pod_cidr, .search_path = options_.search_path};
    responder.is_own_question = [this](const Ip& ip, Port from) {
      return routes_->sent_from(ip, from);
    };
    responder_ = std::make_unique<Responder>(clock_, *resolver_, std::move(responder));
    udp_ = TRY(UdpSockets::create(*responder_, std::exchange(sockets.udp, {})));
    tcp_ =
        TRY(TcpListener::create(clock_, *responder_, std::exchange(sockets.tcp, {}), options_.tcp));
    if (options_.upstream.empty() && !options_.resolv_conf.empty())
      resolv_ = TRY(ResolvWatch::create(options_.resolv_conf));
    follow_resolv_conf();
    return port;
  }

  void run(Server& server, const std::stop_token& stop) {
    std::array<pollfd, 5> fds{{{wake_, POLLIN, 0},
                               {udp_->fd(), POLLIN, 0},
                               {tcp_->fd(), POLLIN, 0},
                               {routes_->fd(), POLLIN, 0},
                               {resolv_ ? resolv_->fd() : -1, POLLIN, 0}}};
    while (!stop.stop_requested()) {
      (void)::poll(fds.data(), fds.size(), milliseconds_to_wait());
      if (fds[0].revents != 0) take_news(server);
      udp_->run();
      tcp_->run();
      routes_->run();
      if (fds[4].revents != 0 && resolv_->changed()) follow_resolv_conf();
      const MutexLock lock(server.mutex_);
      server.counters_ = responder_->counters();
    }
  }

 private:
  int milliseconds_to_wait() const {
    auto first = routes_->deadline();
    const auto other = tcp_->deadline();
    if (other && (!first || *other < *first)) first = other;
    if (!first) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*first - clock_.steady_now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
  }

  void take_news(Server& server) {
    std::uint64_t count = 0;
    (void)!::read(wake_, &count, sizeof(count));
    News news;
    {
      const MutexLock lock(server.mutex_);
      news = server.news_;
    }
    resolver_->set_zone(std::move(news.zone), news.synced);
    responder_->set_pods(std::move(news.pods));
    // What a node's process sends to an address of its node comes from that address.
    news.own.insert(options_.listen.begin(), options_.listen.end());
    responder_->set_own(std::move(news.own));
  }

  void follow_resolv_conf() {
    UpstreamConfig config;
    config.servers = options_.upstream;
    if (resolv_) {
      const pods::ResolvConf conf = pods::read_resolv_conf(options_.resolv_conf);
      const Ip own = options_.listen.empty() ? Ip() : options_.listen.front();
      config = compute_upstream_config(conf.nameservers, conf.search, own);
    }
    routes_->set_servers(config.servers);
    resolver_->set_host_search(config.search);
    if (std::exchange(config_, config) == config) return;
    resolver_->forget();
    std::string servers;
    for (const UpstreamServer& server : config.servers)
      servers += (servers.empty() ? "" : " ") + server.ip.to_string();
    log::info("dns", "names outside the cluster are asked of these servers",
              {{"servers", servers}});
  }

  const Clock& clock_;
  const ServerOptions options_;
  const int wake_;
  UpstreamConfig config_;
  std::unique_ptr<Routes> routes_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<Responder> responder_;
  std::unique_ptr<UdpSockets> udp_;
  std::unique_ptr<TcpListener> tcp_;
  std::unique_ptr<ResolvWatch> resolv_;
};

Result<std::unique_ptr<Server>> Server::create(const Clock& clock, ServerOptions options) {
  std::unique_ptr<Server> out(new Server());
  out->wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (out->wake_ < 0) return Error::from_errno(errno, "eventfd");
  out->loop_ = std::make_unique<Loop>(clock, std::move(options), out->wake_);
  out->port_ = TRY(out->loop_->open());
  out->tell();  // its own addresses
  out->thread_ = std::jthread(
      [server = out.get()](const std::stop_token& stop) { server->loop_->run(*server, stop); });
  return out;
}

Server::~Server() {
  thread_.request_stop();
  if (wake_ >= 0) tell();
  if (thread_.joinable()) thread_.join();
  loop_.reset();
  if (wake_ >= 0) ::close(wake_);
}

void Server::set_zone(std::shared_ptr<const Zone> zone, bool synced) {
  {
    const MutexLock lock(mutex_);
    news_.zone = std::move(zone);
    news_.synced = synced;
  }
  tell();
}

void Server::set_pods(PodNamespaces pods) {
  {
    const MutexLock lock(mutex_);
    news_.pods = std::make_shared<const PodNamespaces>(std::move(pods));
  }
  tell();
}

void Server::set_own(std::set<Ip> own) {
  {
    const MutexLock lock(mutex_);
    news_.own = std::move(own);
  }
  tell();
}

void Server::tell() {
  const std::uint64_t one = 1;
  (void)!::write(wake_, &one, sizeof(one));
}

Counters Server::counters() const {
  const MutexLock lock(mutex_);
  return counters_;
}

}  // namespace coracle::dns
