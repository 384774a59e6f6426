// Upstream servers that take no EDNS (RFC 6891, 6.2.2 and 7).
#include <gtest/gtest.h>

#include "forwarder_fixture.h"

namespace coracle::dns {
namespace {

using namespace std::chrono_literals;
using test::address_reply;
using test::FakeServer;
using test::kWww;

TEST(DnsUpstreamMessages, AQuestionWithoutEdns) {
  const auto query = parse_query(test::bytes_of(encode_question(77, kWww, Extension::None)));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->verdict, Rcode::NoError);
  EXPECT_EQ(query->question, kWww);
  EXPECT_FALSE(query->edns);
}

TEST(DnsUpstreamMessages, AnErrorMayComeWithoutTheQuestion) {
  Query query;
  query.id = 77;
  std::string out;
  for (const Rcode rcode : {Rcode::FormErr, Rcode::NotImp}) {
    encode(query, Reply{.rcode = rcode}, 512, out);
    ASSERT_EQ(out.size(), 12U);
    const auto response = parse_response(test::bytes_of(out));
    ASSERT_TRUE(response);
    EXPECT_EQ(response->id, 77);
    EXPECT_FALSE(response->question);
    EXPECT_EQ(response->reply.rcode, rcode);
  }
  for (const Rcode rcode : {Rcode::NoError, Rcode::ServFail, Rcode::NxDomain, Rcode::Refused}) {
    encode(query, Reply{.rcode = rcode}, 512, out);
    EXPECT_FALSE(parse_response(test::bytes_of(out))) << to_string(rcode);
  }
}

class DnsForwarderEdns : public test::ForwarderTest {
 protected:
  void run_once() {
    ASSERT_TRUE(test::wait_readable(forwarder_->fd()));
    forwarder_->run();
  }
  static void answer(FakeServer& server, const Query& query, Rcode rcode) {
    server.answer(query, Reply{.rcode = rcode});
  }
};

TEST_F(DnsForwarderEdns, AServerThatTakesNoneIsAskedWithoutAndRemembered) {
  for (const Rcode rcode : {Rcode::FormErr, Rcode::NotImp, Rcode::BadVers}) {
    FakeServer old;
    FakeServer other;
    results_.clear();
    use({old.address(), other.address()});
    ask();
    const Query first = old.next();
    EXPECT_TRUE(first.edns);
    answer(old, first, rcode);
    run_once();
    const Query second = old.next();
    EXPECT_FALSE(second.edns) << "the same server at once";
    EXPECT_EQ(second.question, kWww);
    old.answer(second, address_reply());
    run_until(1);
    EXPECT_EQ(results_[0]->answer, address_reply().answer);
    ask();
    const Query third = old.next();
    EXPECT_FALSE(third.edns) << "remembered";
    old.answer(third, address_reply());
    run_until(2);
    forwarder_->set_servers({other.address(), old.address()});
    forwarder_->set_servers({old.address()});
    clock_.pass(15min);
    ask();
    EXPECT_TRUE(old.next().edns) << "it may be another program by now";
    EXPECT_FALSE(other.has_question(0));
  }
}

TEST_F(DnsForwarderEdns, AnErrorWithoutItsQuestionCounts) {
  FakeServer old;
  use({old.address()});
  ask();
  Query query = old.next();
  query.asked.clear();
  query.edns.reset();
  Query guess = query;
  guess.id = static_cast<std::uint16_t>(query.id + 1);
  answer(old, guess, Rcode::FormErr);
  answer(old, query, Rcode::ServFail);  // no answer to anything
  run_once();
  EXPECT_FALSE(old.has_question(0));
  answer(old, query, Rcode::FormErr);
  run_once();
  const Query second = old.next();
  EXPECT_FALSE(second.edns);
  old.answer(second, address_reply());
  run_until(1);
  EXPECT_TRUE(results_[0]);
}

TEST_F(DnsForwarderEdns, AnErrorToThePlainQuestionLeadsToTheNextServer) {
  FakeServer bad;
  FakeServer good;
  use({bad.address(), good.address()});
  for (const Rcode rcode : {Rcode::FormErr, Rcode::ServFail}) {
    ask();
    answer(bad, bad.next(), Rcode::FormErr);
    run_once();
    answer(bad, bad.next(), rcode);
    run_once();
    const Query query = good.next();
    EXPECT_TRUE(query.edns);
    good.answer(query, address_reply());
    run_until(results_.size() + 1);
    EXPECT_FALSE(bad.has_question(0));
  }
  ask();
  EXPECT_TRUE(bad.next().edns) << "it was the question, not EDNS";
}

TEST_F(DnsForwarderEdns, AServfailIsNoReasonToAskWithout) {
  FakeServer bad;
  FakeServer good;
  use({bad.address(), good.address()});
  ask();
  answer(bad, bad.next(), Rcode::ServFail);
  run_once();
  good.answer(good.next(), address_reply());
  run_until(1);
  EXPECT_FALSE(bad.has_question(0));
}

TEST_F(DnsForwarderEdns, SilenceAfterwardsIsAFailedTry) {
  FakeServer bad;
  FakeServer good;
  use({bad.address(), good.address()});
  ask();
  answer(bad, bad.next(), Rcode::NotImp);
  run_once();
  bad.next();
  run_late(800ms);
  good.answer(good.next(), address_reply());
  run_until(1);
  EXPECT_TRUE(results_[0]);
}

TEST_F(DnsForwarderEdns, WhoWasSilentIsAskedAgainWithout) {
  FakeServer firewalled;
  use({firewalled.address()});
  ask();
  EXPECT_TRUE(firewalled.next().edns);
  clock_.pass(800ms);
  forwarder_->run();
  const Query second = firewalled.next();
  EXPECT_FALSE(second.edns);
  firewalled.answer(second, address_reply());
  run_until(1);
  EXPECT_EQ(results_[0]->answer, address_reply().answer);
  // A packet may have been lost: that is nothing to remember.
  ask();
  EXPECT_TRUE(firewalled.next().edns);
}

TEST_F(DnsForwarderEdns, WhatIsCutWithoutIsAskedForOverTcpWithout) {
  FakeServer old;
  use({old.address()});
  ask();
  answer(old, old.next(), Rcode::FormErr);
  run_once();
  old.answer(old.next(), address_reply(300), 512);
  run_once();
  ASSERT_TRUE(test::wait_readable(old.tcp()));
  const int connection = old.accept();
  run_once();
  const std::string question = test::read_framed(connection);
  const auto query = parse_query(test::bytes_of(question));
  ASSERT_TRUE(query);
  EXPECT_FALSE(query->edns);
  std::string out;
  encode(*query, address_reply(300), kMaxTcp, out);
  out = test::framed(out);
  ASSERT_EQ(::send(connection, out.data(), out.size(), 0), static_cast<ssize_t>(out.size()));
  run_until(1);
  ::close(connection);
  EXPECT_EQ(results_[0]->answer.size(), 300U);
}

TEST(DnsUpstreamHealth, WhoTakesNoEdnsIsRememberedForAWhile) {
  const UpstreamServer a{*Ip::parse("192.0.2.1")};
  const UpstreamServer b{*Ip::parse("192.0.2.2")};
  UpstreamHealth health;
  UpstreamHealth::Time now{};
  health.set_servers({a, b});
  health.refused_edns(a, now);
  health.set_servers({b, a});
  EXPECT_TRUE(health.takes_edns(b, now));
  EXPECT_FALSE(health.takes_edns(a, now + 15min - 1ms));
  EXPECT_TRUE(health.takes_edns(a, now + 15min));
  health.refused_edns(a, now);
  health.set_servers({b});
  health.refused_edns(a, now);
  health.set_servers({a});
  EXPECT_TRUE(health.takes_edns(a, now)) << "only of those that are used";
}

}  // namespace
}  // namespace coracle::dns
