// The echo server: one thread, one event loop, bounded memory. See include/coracle/echo.h.
//   GET /                 who answers and who asked, as text, or JSON when Accept asks for it
//   GET /hostname         the Pod's name
//   GET /clientip         the client's "address:port"
//   GET /healthz          "ok", or 503 after POST /healthz/fail until POST /healthz/ok
//   GET /slow?ms=N        as "/", after N milliseconds (60,000 at most)
// A connection that does not begin as HTTP gets its bytes back, as UDP packets do.
#include <arpa/inet.h>
#include <coracle/echo.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/echo_http.h"

namespace coracle::runtime {
namespace {

using Time = std::chrono::steady_clock::time_point;

constexpr std::size_t kMaxConnections = 1'000;  // then the one that has been silent longest goes
constexpr std::size_t kMaxBuffered = std::size_t{64} << 10U;

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
  return value == nullptr ? "" : value;
}

Peer peer_of(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
    return {text, ntohs(in.sin_port)};
  }
  const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
  inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
  const std::string_view shown = text;
  constexpr std::string_view kMapped = "::ffff:";
  const bool mapped = shown.starts_with(kMapped) && shown.find('.') != std::string_view::npos;
  return {std::string(mapped ? shown.substr(kMapped.size()) : shown), ntohs(in6.sin6_port)};
}

struct Connection {
  int fd = -1;
  Peer peer;
  std::string in, out;
  enum class Mode { Unknown, Http, Echo } mode = Mode::Unknown;
  bool close_when_sent = false, reading = true, peer_done = false;
  Time last_heard;
  std::optional<Time> resume;  // an answer that waits
  std::string delayed;
};

class EchoServer {
 public:
  EchoServer()
      : identity_{environment("POD_NAME"), environment("POD_NAMESPACE"), environment("POD_IP"),
                  environment("NODE_NAME")} {
    if (identity_.pod.empty()) {
      char name[256] = {};
      (void)gethostname(name, sizeof(name) - 1);
      identity_.pod = name;
    }
  }
  bool listen_on(Port port);
  int run();

 private:
  bool open_port(Port port, int type);
  void watch(int fd, std::uint32_t events, int operation) const;
  void accept_one(int fd);
  void echo_packet(int fd) const;
  void handle(int fd, std::uint32_t events);
  void receive(Connection& c);
  void digest(Connection& c);
  bool answer_next(Connection& c);
  void send_out(Connection& c);
  void drop(int fd);
  void resume_due(Time now);
  int time_to_next(Time now) const;
  void stop_listening();

  Identity identity_;
  bool healthy_ = true;
  int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  std::map<int, bool> sockets_;  // listening TCP (true) and UDP (false)
  std::map<int, std::unique_ptr<Connection>> connections_;
  bool stopping_ = false;
};

void EchoServer::watch(int fd, std::uint32_t events, int operation) const {
  epoll_event event = {};
  event.events = events;
  event.data.fd = fd;
  (void)epoll_ctl(epoll_, operation, fd, &event);
}

bool EchoServer::open_port(Port port, int type) {
  for (const int family : {AF_INET6, AF_INET}) {
    const int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) continue;
    const int on = 1, off = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_storage address = {};
    socklen_t size = sizeof(sockaddr_in);
    if (family == AF_INET6) {
      (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
      auto& in6 = reinterpret_cast<sockaddr_in6&>(address);
      in6.sin6_family = AF_INET6;
      in6.sin6_port = htons(port);
      size = sizeof(sockaddr_in6);
    } else {
      auto& in = reinterpret_cast<sockaddr_in&>(address);
      in.sin_family = AF_INET;
      in.sin_port = htons(port);
    }
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
        (type == SOCK_DGRAM || listen(fd, 512) == 0)) {
      sockets_[fd] = type == SOCK_STREAM;
      watch(fd, EPOLLIN, EPOLL_CTL_ADD);
      return true;
    }
    const int error = errno;
    close(fd);
    errno = error;
  }
  std::fprintf(stderr, "echo: %s port %d: %s\n", type == SOCK_STREAM ? "TCP" : "UDP", port,
               std::strerror(errno));  // NOLINT(concurrency-mt-unsafe): one thread
  return false;
}

bool EchoServer::listen_on(Port port) {
  return open_port(port, SOCK_STREAM) && open_port(port, SOCK_DGRAM);
}

void EchoServer::accept_one(int listener) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  const int fd =
      accept4(listener, reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (connections_.size() >= kMaxConnections) {
    const auto oldest = std::min_element(
        connections_.begin(), connections_.end(),
        [](const auto& a, const auto& b) { return a.second->last_heard < b.second->last_heard; });
    drop(oldest->first);
  }
  const int on = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  auto c = std::make_unique<Connection>();
  c->fd = fd;
  c->peer = peer_of(address);
  c->last_heard = std::chrono::steady_clock::now();
  connections_[fd] = std::move(c);
  watch(fd, EPOLLIN, EPOLL_CTL_ADD);
}

void EchoServer::echo_packet(int fd) const {
  static char packet[65536];
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  const ssize_t length =
      recvfrom(fd, packet, sizeof(packet), 0, reinterpret_cast<sockaddr*>(&address), &size);
  if (length >= 0)
    (void)sendto(fd, packet, static_cast<std::size_t>(length), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address), size);
}

void EchoServer::drop(int fd) {
  connections_.erase(fd);
  close(fd);
}

void EchoServer::handle(int fd, std::uint32_t events) {
  const auto it = connections_.find(fd);
  if (it == connections_.end()) return;
  Connection& c = *it->second;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return drop(fd);
  if ((events & EPOLLIN) != 0) receive(c);
  digest(c);
  send_out(c);
}

void EchoServer::receive(Connection& c) {
  char buffer[16384];
  const ssize_t size = recv(c.fd, buffer, sizeof(buffer), 0);
  if (size < 0) return;
  if (size == 0) {
    c.peer_done = true;  // what it sent is still answered
    return;
  }
  c.last_heard = std::chrono::steady_clock::now();
  c.in.append(buffer, static_cast<std::size_t>(size));
}

void EchoServer::digest(Connection& c) {
  if (c.mode == Connection::Mode::Unknown && !c.in.empty()) {
    const HttpGuess guess = guess_http(c.in);
    if (guess == HttpGuess::Yes) c.mode = Connection::Mode::Http;
    if (guess == HttpGuess::No || c.peer_done) c.mode = Connection::Mode::Echo;
  }
  if (c.mode == Connection::Mode::Echo) {
    c.out += c.in;
    c.in.clear();
  }
  while (c.mode == Connection::Mode::Http && !c.resume && !c.close_when_sent && answer_next(c)) {
  }
}

// False when the request is not complete yet.
bool EchoServer::answer_next(Connection& c) {
  const HttpParse parsed = parse_request(c.in);
  if (parsed.incomplete) return false;
  c.in.erase(0, parsed.consumed);
  const HttpAnswer answer = answer_request(parsed.request, identity_, c.peer, healthy_);
  healthy_ = answer.healthy;
  const bool last = !parsed.request.keep_alive || stopping_;
  c.close_when_sent = last;
  std::string text = format_answer(parsed.request, answer, !last);
  if (answer.delay.count() == 0) {
    c.out += text;
  } else {
    c.delayed = std::move(text);
    c.resume = std::chrono::steady_clock::now() + answer.delay;
  }
  return true;
}

void EchoServer::send_out(Connection& c) {
  while (!c.out.empty()) {
    const ssize_t sent = send(c.fd, c.out.data(), c.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return drop(c.fd);
    if (sent < 0) break;
    c.out.erase(0, static_cast<std::size_t>(sent));
  }
  if (c.out.empty() && !c.resume && (c.close_when_sent || c.peer_done)) return drop(c.fd);
  // Who does not take what it asked for is not heard either.
  const bool read_on = !c.peer_done && c.out.size() + c.in.size() < kMaxBuffered;
  watch(c.fd, (read_on ? EPOLLIN : 0U) | (c.out.empty() ? 0U : EPOLLOUT), EPOLL_CTL_MOD);
}

void EchoServer::resume_due(Time now) {
  std::vector<Connection*> due;
  for (const auto& [fd, c] : connections_)
    if (c->resume && *c->resume <= now) due.push_back(c.get());
  for (Connection* c : due) {
    c->out += c->delayed;
    c->delayed.clear();
    c->resume.reset();
    digest(*c);
    send_out(*c);
  }
}

int EchoServer::time_to_next(Time now) const {
  std::optional<Time> next;
  for (const auto& [fd, c] : connections_)
    if (c->resume && (!next || *c->resume < *next)) next = c->resume;
  if (!next) return -1;
  return static_cast<int>(
      std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(*next - now).count()));
}

// On SIGTERM: no new connections, idle ones closed, what is being answered is finished.
void EchoServer::stop_listening() {
  stopping_ = true;
  for (const auto& [fd, tcp] : sockets_) close(fd);
  sockets_.clear();
  std::vector<int> idle;
  for (const auto& [fd, c] : connections_)
    if (!c->resume && c->out.empty()) idle.push_back(fd);
  for (const int fd : idle) drop(fd);
  for (const auto& [fd, c] : connections_) c->close_when_sent = true;
}

int EchoServer::run() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  const int signals = signalfd(-1, &mask, SFD_CLOEXEC);
  watch(signals, EPOLLIN, EPOLL_CTL_ADD);
  while (!stopping_ || !connections_.empty()) {
    epoll_event events[64];
    const int count =
        epoll_wait(epoll_, events, 64, time_to_next(std::chrono::steady_clock::now()));
    if (count < 0 && errno != EINTR) return 1;
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      const auto socket = sockets_.find(fd);
      if (fd == signals) {
        watch(signals, 0, EPOLL_CTL_DEL);
        stop_listening();
        break;  // the other events may be of what was just closed
      }
      if (socket == sockets_.end()) {
        handle(fd, events[i].events);
      } else if (socket->second) {
        accept_one(fd);
      } else {
        echo_packet(fd);
      }
    }
    resume_due(std::chrono::steady_clock::now());
  }
  return 0;
}

}  // namespace
}  // namespace coracle::runtime

namespace coracle {

int echo_main(const std::vector<Port>& ports) {
  runtime::EchoServer server;
  for (const Port port : ports)
    if (!server.listen_on(port)) return 1;
  return server.run();
}

}  // namespace coracle
