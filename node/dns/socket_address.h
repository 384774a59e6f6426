// Addresses as the kernel's socket calls want them.
#pragma once

#include <coracle/net.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstring>

namespace coracle::dns {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);

  SocketAddress() = default;
  SocketAddress(const Ip& ip, Port port) {
    if (ip.is_v4()) {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      std::memcpy(&v4.sin_addr, ip.bytes(), 4);
      std::memcpy(&storage, &v4, size = sizeof(v4));
    } else {
      sockaddr_in6 v6{};
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(port);
      std::memcpy(&v6.sin6_addr, ip.bytes(), 16);
      std::memcpy(&storage, &v6, size = sizeof(v6));
    }
  }

  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what the socket API is made for
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what the socket API is made for
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }

  Ip ip() const {
    const bool v4 = storage.ss_family == AF_INET;
    const std::size_t at = v4 ? offsetof(sockaddr_in, sin_addr) : offsetof(sockaddr_in6, sin6_addr);
    return Ip::from_bytes(bytes() + at, v4 ? 4 : 16);
  }
  Port port() const {
    in_port_t port = 0;  // at the same place for both families
    std::memcpy(&port, bytes() + offsetof(sockaddr_in, sin_port), sizeof(port));
    return ntohs(port);
  }

 private:
  const std::uint8_t* bytes() const {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what the socket API is made for
    return reinterpret_cast<const std::uint8_t*>(&storage);
  }
};

}  // namespace coracle::dns
