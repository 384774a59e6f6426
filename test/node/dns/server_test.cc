// The server over real sockets on loopback.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "server_fixture.h"
#include "store/temp_dir.h"
#include "support/eventually.h"

namespace coracle::dns {
namespace {

using namespace std::chrono_literals;
using test::DnsServer;
using test::kLoopback;
using test::name;
using test::Socket;

TEST_F(DnsServer, AnswersOverUdp) {
  start();
  const Response response = ask_udp("kubernetes.default.svc.cluster.local");
  EXPECT_EQ(response.id, 7);
  ASSERT_EQ(response.reply.answer.size(), 1U);
  EXPECT_EQ(to_string(response.reply.answer[0]),
            "kubernetes.default.svc.cluster.local. 5 IN A 10.96.0.1");
  EXPECT_EQ(ask_udp("missing.default.svc.cluster.local").reply.rcode, Rcode::NxDomain);
  EXPECT_TRUE(coracle::test::eventually([&] { return server_->counters().udp == 2; }));
}

TEST_F(DnsServer, AnswersABurst) {
  start();
  const Socket socket(SOCK_DGRAM, server_->port());
  for (std::uint16_t i = 0; i < 200; ++i)
    socket.send(encode_question(i, {name("kubernetes.default.svc.cluster.local"), type::kA}));
  std::set<std::uint16_t> ids;
  for (int i = 0; i < 200; ++i) ids.insert(parse_response(test::bytes_of(socket.receive()))->id);
  EXPECT_EQ(ids.size(), 200U);
}

TEST_F(DnsServer, UnsyncedItFailsAndJunkIsDropped) {
  start();
  server_->set_zone(table_.snapshot(), false);
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.rcode, Rcode::ServFail);
  const Socket socket(SOCK_DGRAM, server_->port());
  socket.send("junk");
  socket.send(std::string(2000, 'x'));
  EXPECT_TRUE(coracle::test::eventually([&] { return server_->counters().dropped == 1; }));
}

TEST_F(DnsServer, ForwardsAndKeeps) {
  start();
  const Socket socket(SOCK_DGRAM, server_->port());
  const Question question{name("www.example.com"), type::kA};
  socket.send(encode_question(9, question));
  const Query query = upstream_.next();
  Reply reply;
  reply.answer.push_back(make_address(question.name, 60, *Ip::parse("192.0.2.1")));
  upstream_.answer(query, reply);
  EXPECT_EQ(parse_response(test::bytes_of(socket.receive()))->reply.answer, reply.answer);
  socket.send(encode_question(10, question));
  EXPECT_EQ(parse_response(test::bytes_of(socket.receive()))->id, 10);
  EXPECT_FALSE(upstream_.has_question(0));
}

TEST_F(DnsServer, AServerThatIsItselfIsFoundOutAtOnce) {
  ServerOptions options;
  { options.port = test::FakeServer().address().port; }
  options.upstream = {{kLoopback, options.port}};
  start(options);
  EXPECT_EQ(ask_udp("www.example.com").reply.rcode, Rcode::ServFail);
  EXPECT_TRUE(coracle::test::eventually([&] { return server_->counters().loops == 3; }))
      << "each try";
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.rcode, Rcode::NoError);
}

TEST_F(DnsServer, FollowsResolvConf) {
  TempDir dir;
  ServerOptions options;
  options.resolv_conf = dir.path() + "/resolv.conf";
  start(options);
  EXPECT_EQ(ask_udp("www.example.com").reply.rcode, Rcode::ServFail);
  // A server that says nothing, at the port that resolv.conf means.
  const int silent = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(53);
  ASSERT_EQ(::inet_pton(AF_INET, "127.93.17.9", &address.sin_addr), 1);
  ASSERT_EQ(::bind(silent, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  std::ofstream(dir.path() + "/new") << "nameserver 127.93.17.9\n";
  ASSERT_EQ(::rename((dir.path() + "/new").c_str(), options.resolv_conf.c_str()), 0);
  EXPECT_TRUE(coracle::test::eventually([&] {
    (void)ask_udp("www.example.com");
    char asked[512];
    return ::recv(silent, asked, sizeof asked, MSG_DONTWAIT) > 0;
  }));
  ::close(silent);
}

TEST_F(DnsServer, ManyQuestionsOnOneConnection) {
  start();
  const Socket socket(SOCK_STREAM, server_->port());
  std::string all;
  for (std::uint16_t i = 0; i < 100; ++i)
    all += test::framed(encode_question(i, {name("web.prod.svc.cluster.local"), type::kA}));
  // In pieces that end anywhere.
  for (std::size_t at = 0; at < all.size(); at += 37) socket.send(all.substr(at, 37));
  std::set<std::uint16_t> ids;
  for (int i = 0; i < 100; ++i) {
    const std::string packet = test::read_framed(socket.fd());
    const auto response = parse_response(test::bytes_of(packet));
    ASSERT_TRUE(response);
    EXPECT_EQ(response->reply.answer.size(), 3U);
    ids.insert(response->id);
  }
  EXPECT_EQ(ids.size(), 100U);
}

TEST_F(DnsServer, MoreQuestionsThanMayWaitAreAnsweredInTheEnd) {
  ServerOptions options;
  options.tcp.waiting = 2;
  start(options);
  const Socket socket(SOCK_STREAM, server_->port());
  for (std::uint16_t i = 0; i < 6; ++i)
    socket.send(test::framed(
        encode_question(i, {name("n" + std::to_string(i) + ".example.com"), type::kA})));
  for (int i = 0; i < 6; ++i) {
    upstream_.answer(upstream_.next(), Reply{.rcode = Rcode::NxDomain});
    EXPECT_EQ(parse_response(test::bytes_of(test::read_framed(socket.fd())))->reply.rcode,
              Rcode::NxDomain);
  }
}

TEST_F(DnsServer, LargeAnswersAreWholeOverTcpOnly) {
  std::vector<Endpoint> many;
  for (int i = 0; i < 600; ++i)
    many.push_back(
        test::endpoint("10.42." + std::to_string(i / 200) + "." + std::to_string(1 + i % 200)));
  test::put(table_, test::service("prod", "large"), {test::slice(many)});
  start();
  const Response cut = ask_udp("large.prod.svc.cluster.local");
  EXPECT_TRUE(cut.truncated);
  EXPECT_GT(cut.reply.answer.size(), 60U);
  const Socket socket(SOCK_STREAM, server_->port());
  socket.send(test::framed(encode_question(1, {name("large.prod.svc.cluster.local"), type::kA})));
  const auto whole = parse_response(test::bytes_of(test::read_framed(socket.fd())));
  EXPECT_FALSE(whole->truncated);
  EXPECT_EQ(whole->reply.answer.size(), 600U);
}

TEST_F(DnsServer, OfTooManyConnectionsTheOneSilentLongestIsClosed) {
  ServerOptions options;
  options.tcp.of_one_source = 2;
  options.tcp.silence = 600s;
  start(options);
  const Socket first(SOCK_STREAM, server_->port());
  const Socket second(SOCK_STREAM, server_->port());
  const Socket third(SOCK_STREAM, server_->port());
  EXPECT_TRUE(first.ended());
  for (const Socket* open : {&second, &third}) {
    open->send(test::framed(encode_question(7, {name("web.prod.svc.cluster.local"), type::kA})));
    EXPECT_TRUE(parse_response(test::bytes_of(test::read_framed(open->fd()))));
  }
}

TEST_F(DnsServer, SilentConnectionsAndJunkAreClosed) {
  ServerOptions options;
  options.tcp.silence = 1s;
  start(options);
  const Socket silent(SOCK_STREAM, server_->port());
  EXPECT_TRUE(silent.ended());
  options.tcp.silence = 600s;
  start(options);
  const Socket junk(SOCK_STREAM, server_->port());
  junk.send(std::string("\0\4junk", 6));
  EXPECT_TRUE(junk.ended());
}

TEST_F(DnsServer, AnAddressThatIsTakenIsNamed) {
  start();
  ServerOptions options;
  options.listen = {kLoopback};
  options.port = server_->port();
  const auto second = Server::create(system_clock(), options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::AlreadyExists);
  EXPECT_NE(second.error().message.find("127.0.0.1 port"), std::string::npos);
}

TEST_F(DnsServer, ListensBeforeItsAddressIsThere) {
  ServerOptions options;
  options.listen = {*Ip::parse("192.0.2.53")};
  options.port = 0;
  EXPECT_TRUE(Server::create(system_clock(), options));
}

}  // namespace
}  // namespace coracle::dns
