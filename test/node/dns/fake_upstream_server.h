// An upstream server on loopback, UDP and TCP on one port, that answers when a test tells it to.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "node/dns/message.h"
#include "node/dns/upstream_health.h"

namespace coracle::dns::test {

inline Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline bool wait_readable(int fd, int milliseconds = 60'000) {
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, milliseconds) == 1;
}

class FakeServer {
 public:
  FakeServer() {
    for (int i = 0; i < 20; ++i) {
      udp_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      tcp_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof(address);
      if (::bind(udp_, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
          ::getsockname(udp_, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
          ::bind(tcp_, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
          ::listen(tcp_, 8) == 0) {
        port_ = ntohs(address.sin_port);
        return;
      }
      ::close(udp_);
      ::close(tcp_);
    }
    throw std::runtime_error("no port for both protocols");
  }
  ~FakeServer() {
    ::close(udp_);
    ::close(tcp_);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  UpstreamServer address() const { return {Ip::v4(INADDR_LOOPBACK), port_}; }
  bool has_question(int milliseconds) const { return wait_readable(udp_, milliseconds); }

  // The next question that comes over UDP; its sender gets the packets of send_udp().
  Query next() {
    std::string packet(4096, '\0');
    from_size_ = sizeof(from_);
    if (!wait_readable(udp_)) throw std::runtime_error("nobody asks");
    const ssize_t size = ::recvfrom(udp_, packet.data(), packet.size(), 0,
                                    reinterpret_cast<sockaddr*>(&from_), &from_size_);
    packet.resize(static_cast<std::size_t>(size));
    return *parse_query(bytes_of(packet));
  }
  Port from() const { return ntohs(from_.sin_port); }
  void send_udp(const std::string& packet) {
    ::sendto(udp_, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&from_),
             from_size_);
  }
  void answer(const Query& query, const Reply& reply, std::size_t limit = kMaxUdp) {
    std::string out;
    encode(query, reply, limit, out);
    send_udp(out);
  }

  // TCP: a connection, its question, its answer. `meanwhile` runs the client.
  int accept() const { return ::accept4(tcp_, nullptr, nullptr, SOCK_CLOEXEC); }
  int tcp() const { return tcp_; }

 private:
  int udp_ = -1, tcp_ = -1;
  Port port_ = 0;
  sockaddr_in from_{};
  socklen_t from_size_ = 0;
};

inline std::string read_exactly(int fd, std::size_t size) {
  std::string out;
  while (out.size() < size) {
    char buffer[4096];
    const ssize_t got = ::recv(fd, buffer, std::min(sizeof(buffer), size - out.size()), 0);
    if (got <= 0) throw std::runtime_error("the connection ended");
    out.append(buffer, static_cast<std::size_t>(got));
  }
  return out;
}
inline std::string read_framed(int fd) {
  const std::string length = read_exactly(fd, 2);
  return read_exactly(fd, static_cast<std::size_t>(static_cast<unsigned char>(length[0]) * 256 +
                                                   static_cast<unsigned char>(length[1])));
}
inline std::string framed(const std::string& packet) {
  return std::string{static_cast<char>(packet.size() >> 8U),
                     static_cast<char>(packet.size() & 255U)} +
         packet;
}

}  // namespace coracle::dns::test
