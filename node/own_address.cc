// The address by which others know this machine.
#include <arpa/inet.h>
#include <coracle/agent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "kernel_state.h"

namespace coracle {
namespace {

// The address from which this machine would reach others; nothing is sent.
Result<Ip> default_source() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error::from_errno(errno, "socket");
  sockaddr_in remote{};
  remote.sin_family = AF_INET;
  remote.sin_port = htons(9);
  remote.sin_addr.s_addr = htonl(0xC0000201);  // 192.0.2.1: of no network, so the default route's
  sockaddr_in local{};
  socklen_t size = sizeof(local);
  const bool found = ::connect(fd, reinterpret_cast<sockaddr*>(&remote), sizeof(remote)) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0;
  const int error = errno;
  ::close(fd);
  if (!found) return Error::from_errno(error, "the default route's source address");
  return Ip::v4(ntohl(local.sin_addr.s_addr));
}

bool is_global(const Ip& ip) {
  return !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified();
}

bool has_address(const Ip& ip) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(ip.is_v4() ? ip.to_v4() : 0);
  const bool bound =
      ip.is_v4() && ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return bound;
}

}  // namespace

Result<Ip> detect_node_ip() {
  if (const auto source = default_source(); source && is_global(*source)) return *source;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return Error::from_errno(errno, "getifaddrs");
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(all, freeifaddrs);
  for (const ifaddrs* a = all; a != nullptr; a = a->ifa_next) {
    const bool up = (a->ifa_flags & IFF_UP) != 0;
    if (!up || a->ifa_addr == nullptr || a->ifa_addr->sa_family != AF_INET) continue;
    if (std::strncmp(a->ifa_name, kLinkPrefix, std::strlen(kLinkPrefix)) == 0) continue;
    sockaddr_in address{};
    std::memcpy(&address, a->ifa_addr, sizeof(address));
    const Ip ip = Ip::v4(ntohl(address.sin_addr.s_addr));
    if (is_global(ip)) return ip;
  }
  return Error{Code::NotFound,
               "this machine has no address that others could reach; name one with --node-ip"};
}

Ip OwnAddress::now() {
  const bool home = has_address(given_);
  was_home_ = was_home_ || home;
  if (home || !was_home_) return current_ = given_;
  if (!has_address(current_))
    if (const auto detected = detect_node_ip()) current_ = *detected;
  return current_;
}

}  // namespace coracle
