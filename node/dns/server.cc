#include "dns/server.h"

#include <coracle/log.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "dns/listen_sockets.h"
#include "dns/udp_sockets.h"
#include "pods/pod_etc.h"

namespace coracle::dns {
namespace {

constexpr int kMaxRounds = 8;  // of a socket's packets before all else has its turn

}  // namespace

class Server::Loop {
 public:
  Loop(const Clock& clock, ServerOptions options, int wake)
      : clock_(clock), options_(std::move(options)), wake_(wake) {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() {
    if (epoll_ >= 0) ::close(epoll_);
  }

  Result<Port> open() {
    auto sockets = TRY(open_listen_sockets(options_.listen, options_.port, options_.sockets));
    routes_ = TRY(Routes::create(clock_, options_.forwarder, options_.names));
    resolver_ = std::make_unique<Resolver>(clock_, *routes_, options_.cache);
    ResponderOptions responder{.pod_cidr = options_.pod_cidr, .search_path = options_.search_path};
    responder.is_own_question = [this](const Ip& ip, Port from) {
      return routes_->sent_from(ip, from);
    };
    responder_ = std::make_unique<Responder>(clock_, *resolver_, std::move(responder));
    udp_ = std::make_unique<UdpSockets>(*responder_, std::exchange(sockets.udp, {}));
    tcp_ =
        TRY(TcpListener::create(clock_, *responder_, std::exchange(sockets.tcp, {}), options_.tcp));
    if (options_.upstream.empty() && !options_.resolv_conf.empty())
      resolv_ = TRY(ResolvWatch::create(options_.resolv_conf));
    follow_resolv_conf();
    TRY(watch_all());
    return sockets.port;
  }

  void run(Server& server, const std::stop_token& stop) {
    take_news(server);  // before any question
    while (!stop.stop_requested()) {
      turn(server);
      const MutexLock lock(server.mutex_);
      server.counters_ = responder_->counters();
    }
    // What comes from now on is the next one's.
    for (const int socket : udp_->sockets()) (void)watch(socket, EPOLL_CTL_DEL);
    tcp_->stop_accepting();
    const auto deadline = clock_.steady_now() + options_.last_answers;
    while (responder_->pending() > 0 && clock_.steady_now() < deadline) turn(server, deadline);
  }

 private:
  using Time = std::chrono::steady_clock::time_point;

  Result<void> watch(int fd, int operation = EPOLL_CTL_ADD) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_, operation, fd, &event) == 0) return {};
    return Error::from_errno(errno, "epoll_ctl");
  }
  Result<void> watch_all() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ < 0) return Error::from_errno(errno, "epoll_create1");
    for (const int socket : udp_->sockets()) TRY(watch(socket));
    for (const int fd : {wake_, tcp_->fd(), routes_->fd()}) TRY(watch(fd));
    return resolv_ ? watch(resolv_->fd()) : Result<void>();
  }

  // Waits until something has to be done, and does it.
  void turn(Server& server, std::optional<Time> until = {}) {
    std::array<epoll_event, 8> events{};
    const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                   milliseconds_to_wait(until));
    bool connection = tcp_->connections() > 0;
    for (int i = 0; i < count; ++i) {
      const int fd = events.at(static_cast<std::size_t>(i)).data.fd;
      if (fd == wake_)
        take_news(server);
      else if (resolv_ && fd == resolv_->fd())
        follow_resolv_conf(resolv_->changed());
      else if (fd == tcp_->fd())
        connection = true;
      else if (fd != routes_->fd())
        for (int round = 0; round < kMaxRounds && udp_->serve(fd); ++round) {
        }
    }
    // Where somebody waits, his time may be over, or what he waits for may have come.
    if (routes_->deadline()) routes_->run();
    if (connection) tcp_->run();
  }

  int milliseconds_to_wait(std::optional<Time> first) const {
    for (const auto& other : {routes_->deadline(), tcp_->deadline()})
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

  void follow_resolv_conf(bool changed = true) {
    if (!changed) return;
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
  int epoll_ = -1;
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
  return out;
}

void Server::start() {
  if (thread_.joinable()) return;
  thread_ = std::jthread([this](const std::stop_token& stop) { loop_->run(*this, stop); });
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
