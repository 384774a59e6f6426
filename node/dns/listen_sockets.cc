#include "dns/listen_sockets.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>

#include "dns/socket_address.h"

namespace coracle::dns {
namespace {

constexpr int kReceiveBuffer = 1 << 20;  // bytes: some thousand questions of a burst
constexpr int kBacklog = 128;
constexpr int kTriesForOnePort = 20;

Result<void> set(int fd, int level, int option, int value) {
  if (::setsockopt(fd, level, option, &value, sizeof(value)) == 0) return {};
  return Error::from_errno(errno, "setsockopt");
}

std::string place(const Ip& ip, Port port) {
  return ip.to_string() + " port " + std::to_string(port);
}

// "dns-udp-10.96.0.10": another address is another socket.
std::string name_of(const Ip& ip, int type) {
  std::string name = (type == SOCK_DGRAM ? "dns-udp-" : "dns-tcp-") + ip.to_string();
  for (char& c : name)
    if (c == ':') c = '.';
  return name;
}

bool is_at(int fd, const Ip& ip, Port port) {
  SocketAddress address;
  return ::getsockname(fd, address.get(), &address.size) == 0 && address.ip() == ip &&
         address.port() == port;
}

bool is_listening(int fd) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0;
}

// Which network namespace a socket belongs to; 0 when the kernel does not tell (before 5.14).
std::uint64_t namespace_of(int fd) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  return ::getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

bool is_of_this_namespace(int fd) {
  const int own = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (own < 0) return false;
  const bool same = namespace_of(own) == namespace_of(fd);
  ::close(own);
  return same;
}

bool fits(int fd, const Ip& ip, Port port, int type) {
  int actual = 0;
  socklen_t size = sizeof(actual);
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &actual, &size) != 0 || actual != type) return false;
  if (!is_at(fd, ip, port) || (type == SOCK_STREAM && !is_listening(fd))) return false;
  if (!is_of_this_namespace(fd)) return false;
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
         ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

// -1 when there is none that fits.
int take_socket(const Ip& ip, Port port, int type, const SocketKeeper& keeper) {
  const int fd = keeper.take && port != 0 ? keeper.take(name_of(ip, type)) : -1;
  if (fd < 0 || fits(fd, ip, port, type)) return fd;
  ::close(fd);
  return -1;
}

// Bound, and for TCP listening.
Result<void> make_socket(const Ip& ip, Port port, int type, std::vector<int>& fds) {
  const SocketAddress address(ip, port);
  const int fd = ::socket(address.storage.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error::from_errno(errno, "socket");
  fds.push_back(fd);
  TRY(set(fd, IPPROTO_IP, IP_FREEBIND, 1));
  if (type == SOCK_STREAM) TRY(set(fd, SOL_SOCKET, SO_REUSEADDR, 1));
  if (type == SOCK_DGRAM) (void)set(fd, SOL_SOCKET, SO_RCVBUF, kReceiveBuffer);
  if (::bind(fd, address.get(), address.size) != 0) {
    if (errno == EADDRINUSE)
      return Error{Code::AlreadyExists, place(ip, port) + " is used by another program"};
    return Error::from_errno(errno, place(ip, port));
  }
  if (type == SOCK_STREAM && ::listen(fd, kBacklog) != 0)
    return Error::from_errno(errno, place(ip, port));
  return {};
}

using Made = std::vector<std::pair<std::string, int>>;  // those that were not taken over

Result<void> open_socket(const Ip& ip, Port port, int type, const SocketKeeper& keeper,
                         std::vector<int>& fds, Made& made) {
  if (const int kept = take_socket(ip, port, type, keeper); kept >= 0) {
    fds.push_back(kept);
    return {};
  }
  TRY(make_socket(ip, port, type, fds));
  made.emplace_back(name_of(ip, type), fds.back());
  return {};
}

Result<Port> port_of(int fd) {
  SocketAddress address;
  if (::getsockname(fd, address.get(), &address.size) != 0)
    return Error::from_errno(errno, "getsockname");
  return address.port();
}

Result<void> open_all(const std::vector<Ip>& addresses, Port port, const SocketKeeper& keeper,
                      ListenSockets& sockets) {
  Made made;
  const bool kept = keeper.keep && port != 0;
  for (const Ip& ip : addresses) {
    TRY(open_socket(ip, port, SOCK_DGRAM, keeper, sockets.udp, made));
    if (port == 0) port = TRY(port_of(sockets.udp.back()));
    TRY(open_socket(ip, port, SOCK_STREAM, keeper, sockets.tcp, made));
  }
  sockets.port = port;
  // All or none: one that is kept alone would be in the way of the next attempt.
  if (kept)
    for (const auto& [name, fd] : made) keeper.keep(name, fd);
  return {};
}

}  // namespace

void ListenSockets::clear() {
  for (auto* fds : {&udp, &tcp}) {
    for (const int fd : *fds) ::close(fd);
    fds->clear();
  }
}

Result<ListenSockets> open_listen_sockets(const std::vector<Ip>& addresses, Port port,
                                          const SocketKeeper& keeper) {
  // Any port has to be free for both protocols.
  for (int i = 1;; ++i) {
    ListenSockets sockets;
    const auto opened = open_all(addresses, port, keeper, sockets);
    if (opened) return sockets;
    if (port != 0 || i == kTriesForOnePort) return opened.error();
  }
}

}  // namespace coracle::dns
