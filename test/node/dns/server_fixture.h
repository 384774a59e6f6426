// The server over real sockets on loopback, and who asks it.
#pragma once

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "fake_upstream_server.h"
#include "node/dns/server.h"
#include "node/dns/socket_address.h"
#include "zone_fixture.h"

namespace coracle::dns::test {

inline const Ip kLoopback = Ip::v4(INADDR_LOOPBACK);

class Socket {
 public:
  Socket(int type, Port port) : fd_(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    const SocketAddress to(kLoopback, port);
    if (::connect(fd_, to.get(), to.size) != 0) throw std::runtime_error("connect");
  }
  ~Socket() { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }
  void send(const std::string& bytes) const {
    ASSERT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  std::string receive() const {
    if (!wait_readable(fd_)) throw std::runtime_error("no answer");
    std::string out(65536, '\0');
    const ssize_t size = ::recv(fd_, out.data(), out.size(), 0);
    out.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    return out;
  }
  bool ended() const { return wait_readable(fd_) && receive().empty(); }

 private:
  int fd_;
};

class DnsServer : public ::testing::Test {
 protected:
  DnsServer() : table_(config()) { fill(table_); }
  void start(ServerOptions options = {}) {
    options.listen = {kLoopback};
    if (options.port == 53) options.port = 0;
    options.pod_cidr = config().pod_cidr;
    if (options.upstream.empty() && options.resolv_conf == "/etc/resolv.conf")
      options.upstream = {upstream_.address()};
    auto created = Server::create(system_clock(), std::move(options));
    ASSERT_TRUE(created) << created.error().message;
    server_ = std::move(*created);
    server_->set_zone(table_.snapshot(), true);
    server_->start();
  }
  Response ask_udp(const std::string& text, std::uint16_t type = type::kA) {
    const Socket socket(SOCK_DGRAM, server_->port());
    socket.send(encode_question(7, {name(text), type}));
    return *parse_response(bytes_of(socket.receive()));
  }

  FakeServer upstream_;
  ZoneTable table_;
  std::unique_ptr<Server> server_;
};

}  // namespace coracle::dns::test
