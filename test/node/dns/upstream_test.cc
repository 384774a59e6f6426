// Asking upstream servers, over real sockets on loopback and with a clock that a test moves.
#include "node/dns/upstream.h"

#include <gtest/gtest.h>

#include <set>

#include "forwarder_fixture.h"
#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using namespace std::chrono_literals;
using test::address_reply;
using test::FakeServer;
using test::kWww;
using test::name;

class DnsForwarder : public test::ForwarderTest {};

TEST_F(DnsForwarder, AsksAndHands) {
  FakeServer server;
  use({server.address()});
  ask();
  EXPECT_TRUE(results_.empty());
  const Query query = server.next();
  EXPECT_EQ(query.question, kWww);
  EXPECT_TRUE(query.recursion_desired);
  EXPECT_TRUE(forwarder_->sent_from(Ip::v4(INADDR_LOOPBACK), server.from()));
  server.answer(query, address_reply());
  run_until(1);
  ASSERT_TRUE(results_[0]);
  EXPECT_EQ(results_[0]->answer, address_reply().answer);
  EXPECT_EQ(forwarder_->pending(), 0U);
  EXPECT_FALSE(forwarder_->deadline());
  EXPECT_FALSE(forwarder_->sent_from(Ip::v4(INADDR_LOOPBACK), server.from()));
}

TEST_F(DnsForwarder, WithoutServersItFailsAtOnce) {
  use({});
  ask();
  ASSERT_EQ(results_.size(), 1U);
  EXPECT_EQ(results_[0].error().code, Code::Unavailable);
}

TEST_F(DnsForwarder, IdsAndPortsAreOfEachTryItsOwn) {
  FakeServer server;
  use({server.address()});
  std::set<std::uint16_t> ids;
  std::set<Port> ports;
  for (int i = 0; i < 40; ++i) {
    ask({name("n" + std::to_string(i) + ".example.com"), type::kA});
    ids.insert(server.next().id);
    ports.insert(server.from());
  }
  EXPECT_GT(ids.size(), 35U);
  EXPECT_EQ(ports.size(), 40U);
}

TEST_F(DnsForwarder, WrongRepliesDoNotCount) {
  FakeServer server;
  FakeServer stranger;
  use({server.address()});
  ask();
  const Query query = server.next();
  Query wrong = query;
  wrong.id = static_cast<std::uint16_t>(query.id + 1);
  server.answer(wrong, Reply{.rcode = Rcode::NxDomain});
  Query other = query;
  other.asked[1] = 'x';
  server.answer(other, Reply{.rcode = Rcode::NxDomain});
  server.send_udp("junk");
  std::string forged;
  encode(query, Reply{.rcode = Rcode::NxDomain}, kMaxUdp, forged);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(server.from());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ::sendto(fd, forged.data(), forged.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to));
  ::close(fd);
  server.answer(query, address_reply());
  run_until(1);
  EXPECT_EQ(results_[0]->rcode, Rcode::NoError);
}

TEST_F(DnsForwarder, TheSpellingOfTheReplysQuestionMayDiffer) {
  FakeServer server;
  use({server.address()});
  ask();
  Query query = server.next();
  query.asked[1] = 'W';
  server.answer(query, address_reply());
  run_until(1);
  EXPECT_TRUE(results_[0]);
}

TEST_F(DnsForwarder, SilenceLeadsToTheNextServerAndIsRemembered) {
  FakeServer silent;
  FakeServer good;
  use({silent.address(), good.address()});
  ask();
  silent.next();
  EXPECT_FALSE(good.has_question(0));
  run_late(799ms);
  EXPECT_FALSE(good.has_question(0));
  run_late(1ms);
  good.answer(good.next(), address_reply());
  run_until(1);
  EXPECT_TRUE(results_[0]);
  ask();  // the second is the first now
  good.answer(good.next(), address_reply());
  run_until(2);
  EXPECT_FALSE(silent.has_question(0));
  clock_.pass(1s);  // it gets a try again
  ask();
  silent.answer(silent.next(), address_reply());
  run_until(3);
  ask();
  silent.next();
}

TEST_F(DnsForwarder, ARefusalLeadsToTheNextServer) {
  FakeServer first;
  FakeServer second;
  use({first.address(), second.address()});
  for (const Rcode rcode : {Rcode::ServFail, Rcode::Refused}) {
    ask();
    first.answer(first.next(), Reply{.rcode = rcode});
    ASSERT_TRUE(test::wait_readable(forwarder_->fd()));
    forwarder_->run();
    second.answer(second.next(), address_reply());
    run_until(results_.size() + 1);
    EXPECT_TRUE(results_.back());
  }
}

TEST_F(DnsForwarder, AClosedPortLeadsToTheNextServerAtOnce) {
  UpstreamServer closed;
  { closed = FakeServer().address(); }
  FakeServer good;
  use({closed, good.address()});
  ask();
  ASSERT_TRUE(test::wait_readable(forwarder_->fd()));
  forwarder_->run();
  good.answer(good.next(), address_reply());
  run_until(1);
  EXPECT_TRUE(results_[0]);
}

TEST_F(DnsForwarder, GivesUpAfterItsTries) {
  FakeServer silent;
  use({silent.address()});
  ask();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(results_.empty());
    silent.next();
    run_late(800ms);
  }
  ASSERT_EQ(results_.size(), 1U);
  EXPECT_FALSE(results_[0]);
  EXPECT_FALSE(silent.has_question(0));
  EXPECT_EQ(forwarder_->pending(), 0U);
}

TEST_F(DnsForwarder, EqualQuestionsAreAskedOnce) {
  FakeServer server;
  use({server.address()}, {.max_waiting = 3});
  for (int i = 0; i < 4; ++i) ask();
  ASSERT_EQ(results_.size(), 1U) << "one too many";
  EXPECT_FALSE(results_[0]);
  server.answer(server.next(), address_reply());
  run_until(4);
  EXPECT_FALSE(server.has_question(0));
  for (int i = 1; i < 4; ++i) EXPECT_TRUE(results_[static_cast<std::size_t>(i)]);
}

TEST_F(DnsForwarder, PendingQuestionsAreBounded) {
  FakeServer server;
  use({server.address()}, {.max_pending = 2});
  for (int i = 0; i < 3; ++i) ask({name("n" + std::to_string(i) + ".x"), type::kA});
  ASSERT_EQ(results_.size(), 1U);
  EXPECT_FALSE(results_[0]);
}

TEST_F(DnsForwarder, WhatIsCutIsAskedForOverTcp) {
  FakeServer server;
  use({server.address()});
  ask();
  const Query cut = server.next();
  server.answer(cut, address_reply(300));
  ASSERT_TRUE(test::wait_readable(forwarder_->fd()));
  forwarder_->run();
  ASSERT_TRUE(test::wait_readable(server.tcp()));
  const int connection = server.accept();
  ASSERT_TRUE(test::wait_readable(forwarder_->fd()));
  forwarder_->run();
  const std::string question = test::read_framed(connection);
  const auto query = parse_query(test::bytes_of(question));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->question, kWww);
  std::string out;
  encode(*query, address_reply(300), kMaxTcp, out);
  out = test::framed(out);
  for (const std::string& part : {out.substr(0, 1), out.substr(1, 700), out.substr(701)}) {
    ASSERT_EQ(::send(connection, part.data(), part.size(), 0), static_cast<ssize_t>(part.size()));
    ASSERT_TRUE(test::wait_readable(forwarder_->fd()));
    forwarder_->run();
  }
  if (results_.empty()) run_until(1);
  ::close(connection);
  ASSERT_TRUE(results_.at(0));
  EXPECT_EQ(results_[0]->answer.size(), 300U);
}

TEST_F(DnsForwarder, ATcpConnectionThatEndsIsAFailedTry) {
  FakeServer server;
  use({server.address()}, {.tries = 1});
  ask();
  server.answer(server.next(), address_reply(300));
  ASSERT_TRUE(test::wait_readable(forwarder_->fd()));
  forwarder_->run();
  ASSERT_TRUE(test::wait_readable(server.tcp()));
  ::close(server.accept());
  run_until(1);
  EXPECT_FALSE(results_[0]);
}

TEST(DnsUpstreamHealth, BackOffGrowsAndEnds) {
  const UpstreamServer a{*Ip::parse("192.0.2.1")};
  const UpstreamServer b{*Ip::parse("192.0.2.2")};
  UpstreamHealth health;
  UpstreamHealth::Time now{};
  health.set_servers({a, b});
  EXPECT_EQ(health.order(now), (std::vector{a, b}));
  for (const auto pause : {1s, 2s, 4s, 8s, 16s, 30s, 30s}) {
    health.failed(a, now);
    EXPECT_EQ(health.order(now + pause - 1ms), (std::vector{b, a}));
    EXPECT_EQ(health.order(now + pause), (std::vector{a, b}));
    now += pause;
  }
  health.failed(b, now);
  health.failed(a, now);
  EXPECT_EQ(health.order(now), (std::vector{b, a})) << "none is left out; the sooner one first";
  health.answered(a);
  EXPECT_EQ(health.order(now), (std::vector{a, b}));
  health.set_servers({b, a});
  EXPECT_EQ(health.order(now), (std::vector{a, b})) << "health is kept";
}

}  // namespace
}  // namespace coracle::dns
