#include "http_listener.h"

#include <coracle/net.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace coracle {
namespace {

constexpr int kBacklog = 4096;

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Address address_of(const Ip& ip, int port) {
  Address out;
  if (ip.is_v4()) {
    auto* in = reinterpret_cast<sockaddr_in*>(&out.storage);  // NOLINT: how sockets are addressed
    in->sin_family = AF_INET;
    in->sin_port = htons(static_cast<in_port_t>(port));
    std::memcpy(&in->sin_addr, ip.bytes(), ip.size());
    out.size = sizeof(*in);
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&out.storage);  // NOLINT
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(static_cast<in_port_t>(port));
    std::memcpy(&in->sin6_addr, ip.bytes(), ip.size());
    out.size = sizeof(*in);
  }
  return out;
}

void set_option(int fd, int level, int option, int value) {
  (void)setsockopt(fd, level, option, &value, sizeof(value));
}

// -1 with errno.
int try_listen(const Ip& ip, int port, bool dual) {
  const Address address = address_of(ip, port);
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (ip.is_v6()) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, dual ? 0 : 1);
  const auto* where = reinterpret_cast<const sockaddr*>(&address.storage);  // NOLINT
  if (bind(fd, where, address.size) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int why = errno;
  ::close(fd);
  errno = why;
  return -1;
}

}  // namespace

Result<int> listen_on(const std::string& address, int port) {
  const auto ip = Ip::parse(address);
  const bool any = !ip || ip->is_unspecified();
  // A machine without IPv6 has no dual-stack sockets.
  int fd = any ? try_listen(*Ip::parse("::"), port, true) : -1;
  if (fd < 0 && (!any || errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
    fd = try_listen(any ? Ip() : *ip, port, false);
  if (fd < 0)
    return Error{Code::Internal, "cannot serve on " + address + " port " + std::to_string(port) +
                                     ": it is taken, or the address is not this machine's (" +
                                     std::strerror(errno) + ")"};
  return fd;
}

int bound_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;  // NOLINT
  if (address.ss_family == AF_INET)
    return ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);  // NOLINT
  return ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);  // NOLINT
}

}  // namespace coracle
