// Real packets between network namespaces, by real sockets.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "node/netns.h"

namespace coracle::test {

inline constexpr std::uint16_t kPort = 8080;
inline constexpr int kPatience = 20'000;  // milliseconds, for what must come

inline sockaddr_in socket_address(const std::string& ip, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  return address;
}

// Connects from one namespace to a listener in another; who the listener sees, "" if it sees
// nobody.
inline std::string peer_seen(int from, int at, const std::string& ip) {
  int listener = -1;
  int client = -1;
  EXPECT_TRUE(run_in_netns(at, [&]() -> Result<void> {
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const sockaddr_in any = socket_address("0.0.0.0", kPort);
    if (bind(listener, reinterpret_cast<const sockaddr*>(&any), sizeof(any)) != 0 ||
        listen(listener, 4) != 0)
      return Error::from_errno(errno, "listen");
    return {};
  }));
  EXPECT_TRUE(run_in_netns(from, [&]() -> Result<void> {
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const sockaddr_in to = socket_address(ip, kPort);
    (void)connect(client, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    return {};
  }));
  pollfd waiting{listener, POLLIN, 0};
  std::string seen;
  if (poll(&waiting, 1, kPatience) == 1) {
    sockaddr_in peer{};
    socklen_t size = sizeof(peer);
    const int accepted = accept(listener, reinterpret_cast<sockaddr*>(&peer), &size);
    char text[INET_ADDRSTRLEN] = "";
    inet_ntop(AF_INET, &peer.sin_addr, text, sizeof(text));
    seen = text;
    // The answer arrives too: the handshake is complete on the client's side.
    pollfd connected{client, POLLOUT, 0};
    int error = -1;
    socklen_t length = sizeof(error);
    if (poll(&connected, 1, kPatience) != 1 ||
        getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0)
      seen += " but no answer";
    close(accepted);
  }
  close(client);
  close(listener);
  return seen;
}

// Sends a datagram of so many bytes that must not be fragmented on the sender's link, and an answer
// as long; who the receiver sees, "" if nothing comes.
inline std::string datagram_seen(int from, int at, const std::string& ip, std::size_t size,
                                 int patience = kPatience) {
  int receiver = -1;
  int client = -1;
  const auto open_udp = [](int& fd, const std::string& address, std::uint16_t port) {
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int discover = IP_PMTUDISC_DO;
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof(discover));
    const sockaddr_in bound = socket_address(address, port);
    return bind(fd, reinterpret_cast<const sockaddr*>(&bound), sizeof(bound)) == 0;
  };
  const std::vector<char> data(size, 'x');
  EXPECT_TRUE(run_in_netns(at, [&]() -> Result<void> {
    if (!open_udp(receiver, "0.0.0.0", kPort)) return Error::from_errno(errno, "bind");
    return {};
  }));
  (void)run_in_netns(from, [&]() -> Result<void> {
    (void)open_udp(client, "0.0.0.0", 0);
    const sockaddr_in to = socket_address(ip, kPort);
    (void)connect(client, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    (void)send(client, data.data(), data.size(), 0);
    return {};
  });
  std::string seen;
  std::vector<char> buffer(size + 1);
  sockaddr_in peer{};
  socklen_t length = sizeof(peer);
  pollfd waiting{receiver, POLLIN, 0};
  if (poll(&waiting, 1, patience) == 1 &&
      recvfrom(receiver, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&peer),
               &length) == static_cast<ssize_t>(size)) {
    char text[INET_ADDRSTRLEN] = "";
    inet_ntop(AF_INET, &peer.sin_addr, text, sizeof(text));
    seen = text;
    (void)sendto(receiver, data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&peer), length);
    pollfd answered{client, POLLIN, 0};
    if (poll(&answered, 1, patience) != 1) seen += " but no answer";
  }
  close(client);
  close(receiver);
  return seen;
}

}  // namespace coracle::test
