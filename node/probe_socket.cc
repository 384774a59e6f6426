#include "probe_socket.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <utility>

namespace coracle {
namespace {

constexpr std::size_t kLargestPacket = 65'536;
// Of rounds that all nodes begin at once, as after news of a node.
constexpr int kBuffer = 4 << 20;

sockaddr_in socket_address(const ProbeSocket::Endpoint& endpoint) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint.port);
  address.sin_addr.s_addr = htonl(endpoint.ip.to_v4());
  return address;
}

void set_option(int fd, int level, int name, int value) {
  (void)::setsockopt(fd, level, name, &value, sizeof(value));
}

}  // namespace

ProbeSocket::ProbeSocket(runtime::Fd fd)
    : fd_(std::move(fd)), buffer_(std::make_unique_for_overwrite<std::uint8_t[]>(kLargestPacket)) {}

Result<ProbeSocket> ProbeSocket::open(const Endpoint& local) {
  const std::string name = local.ip.to_string() + ":" + std::to_string(local.port) + "/UDP";
  if (!local.ip.is_v4()) return Error{Code::BadRequest, name + " is not of IPv4"};
  runtime::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0) return Error::from_errno(errno, "socket");
  // Not what the kernel believes of the path counts, but what arrives.
  set_option(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  set_option(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, kBuffer);
  set_option(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, kBuffer);
  const sockaddr_in address = socket_address(local);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return Error::from_errno(errno, name);
  return ProbeSocket(std::move(fd));
}

void ProbeSocket::set_checksum(bool on) {
  if (std::exchange(checksum_, on) != on) set_option(fd(), SOL_SOCKET, SO_NO_CHECK, on ? 0 : 1);
}

void ProbeSocket::send(const Endpoint& to, ProbeKind kind, std::span<const std::uint8_t> bytes) {
  set_checksum(kind != ProbeKind::NoChecksum);
  const sockaddr_in address = socket_address(to);
  (void)::sendto(fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

std::optional<ProbeSocket::Received> ProbeSocket::receive() {
  sockaddr_in peer{};
  socklen_t length = sizeof(peer);
  const auto size = ::recvfrom(fd(), buffer_.get(), kLargestPacket, MSG_DONTWAIT,
                               reinterpret_cast<sockaddr*>(&peer), &length);
  if (size < 0) return std::nullopt;
  return Received{{Ip::v4(ntohl(peer.sin_addr.s_addr)), ntohs(peer.sin_port)},
                  {buffer_.get(), static_cast<std::size_t>(size)}};
}

Result<std::uint32_t> link_mtu(const std::string& link) {
  const runtime::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(static_cast<char*>(request.ifr_name), link.c_str(), IFNAMSIZ - 1);
  if (fd.get() < 0 || ::ioctl(fd.get(), SIOCGIFMTU, &request) != 0)
    return Error::from_errno(errno, "MTU of " + link);
  return static_cast<std::uint32_t>(request.ifr_mtu);
}

}  // namespace coracle
