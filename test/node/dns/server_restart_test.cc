// What a stop leaves to be done, and what the next server takes over.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "server_fixture.h"

namespace coracle::dns {
namespace {

using namespace std::chrono_literals;
using test::DnsServer;
using test::kLoopback;
using test::name;
using test::Socket;

// What a service manager does for us.
class Manager {
 public:
  ~Manager() {
    for (const auto& [socket_name, fd] : kept_) ::close(fd);
  }
  SocketKeeper keeper() {
    return {
        .take = [this](const std::string& n) { return kept_.contains(n) ? ::dup(kept_[n]) : -1; },
        .keep =
            [this](const std::string& n, int fd) {
              if (kept_.contains(n)) ::close(kept_[n]);
              kept_[n] = ::dup(fd);
            }};
  }
  void put(const std::string& socket_name, int fd) { kept_[socket_name] = fd; }
  void drop(const std::string& socket_name) {
    ::close(kept_.at(socket_name));
    kept_.erase(socket_name);
  }
  std::set<std::string> names() const {
    std::set<std::string> out;
    for (const auto& [socket_name, fd] : kept_) out.insert(socket_name);
    return out;
  }

 private:
  std::map<std::string, int> kept_;
};

TEST_F(DnsServer, QuestionsWaitInKeptSocketsForTheNextOne) {
  start();
  ServerOptions options;
  options.port = server_->port();  // one that is free
  server_.reset();
  Manager manager;
  options.sockets = manager.keeper();
  start(options);
  EXPECT_EQ(manager.names(), (std::set<std::string>{"dns-tcp-127.0.0.1", "dns-udp-127.0.0.1"}));
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.answer.size(), 1U);
  server_.reset();

  const std::string question =
      encode_question(8, {name("kubernetes.default.svc.cluster.local"), type::kA});
  const Socket udp(SOCK_DGRAM, options.port);
  udp.send(question);
  const Socket tcp(SOCK_STREAM, options.port);
  tcp.send(std::string{'\0', static_cast<char>(question.size())} + question);
  EXPECT_FALSE(test::wait_readable(udp.fd(), 0));
  start(options);
  EXPECT_EQ(parse_response(test::bytes_of(udp.receive()))->reply.answer.size(), 1U);
  EXPECT_EQ(parse_response(test::bytes_of(tcp.receive().substr(2)))->id, 8);
}

TEST_F(DnsServer, WhatIsKeptButDoesNotFitIsNotUsed) {
  start();
  ServerOptions options;
  options.port = server_->port();
  server_.reset();
  Manager manager;
  options.sockets = manager.keeper();
  // Of another port; of another protocol.
  const int elsewhere = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  SocketAddress any(kLoopback, 0);
  ASSERT_EQ(::bind(elsewhere, any.get(), any.size), 0);
  manager.put("dns-udp-127.0.0.1", elsewhere);
  manager.put("dns-tcp-127.0.0.1", ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  start(options);
  EXPECT_EQ(server_->port(), options.port);
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.answer.size(), 1U);
  server_.reset();
  start(options);  // what was made instead is kept
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.answer.size(), 1U);
}

TEST_F(DnsServer, WhatWaitsForUpstreamIsAnsweredBeforeItStops) {
  ServerOptions options;
  options.last_answers = 60s;
  start(options);
  const Socket socket(SOCK_DGRAM, server_->port());
  socket.send(encode_question(9, {name("www.example.com"), type::kA}));
  const Query asked = upstream_.next();
  std::jthread stopping([&] { server_.reset(); });
  Reply reply;
  reply.answer.push_back(make_address(asked.question.name, 60, *Ip::parse("192.0.2.1")));
  upstream_.answer(asked, reply);
  EXPECT_EQ(parse_response(test::bytes_of(socket.receive()))->id, 9);
}

TEST_F(DnsServer, WhereOneCannotBeOpenedNoneIsKept) {
  start();
  ServerOptions options;
  options.port = server_->port();
  server_.reset();
  Manager manager;
  options.sockets = manager.keeper();
  options.listen = {kLoopback};
  const auto taken_tcp = [&] {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const SocketAddress at(kLoopback, options.port);
    EXPECT_EQ(::bind(fd, at.get(), at.size), 0);
    return fd;
  };
  int other = taken_tcp();
  EXPECT_FALSE(Server::create(system_clock(), options));
  EXPECT_EQ(manager.names(), std::set<std::string>{}) << "it would be in the way of the next try";
  ::close(other);
  start(options);
  EXPECT_EQ(manager.names().size(), 2U);
  server_.reset();

  // Nor is what was kept lost when another program is faster.
  manager.drop("dns-tcp-127.0.0.1");
  other = taken_tcp();
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(Server::create(system_clock(), options));
  ::close(other);
  start(options);
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.answer.size(), 1U);
}

}  // namespace
}  // namespace coracle::dns
