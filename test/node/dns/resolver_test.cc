// The zone, the cache and upstream together, and the search path that is walked for Pods.
#include "node/dns/resolver.h"

#include <gtest/gtest.h>

#include <deque>

#include "fake_clock.h"
#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using namespace std::chrono_literals;
using test::name;

// Keeps what it is asked until a test answers.
class FakeUpstream final : public Upstream {
 public:
  void ask(const Question& question, Done done) override {
    if (absent) return done(Error{Code::Unavailable, "there is none"});
    asked.emplace_back(question, std::move(done));
  }
  // The oldest question, answered.
  Question answer(const Result<Reply>& reply) {
    const auto [question, done] = std::move(asked.front());
    asked.pop_front();
    done(reply);
    return question;
  }
  bool absent = false;
  std::deque<std::pair<Question, Done>> asked;
};

class DnsResolver : public ::testing::Test {
 protected:
  DnsResolver() : table_(test::config()), resolver_(clock_, upstream_) {
    test::fill(table_);
    resolver_.set_zone(table_.snapshot(), true);
  }
  void ask(const std::string& text, const std::string& ns = "", std::uint16_t type = type::kA) {
    reply_.reset();
    resolver_.resolve({name(text), type}, ns, [this](const Reply& reply) { reply_ = reply; });
  }
  // "RCODE: name data; ..." of the answer, "(soa)" when there is one.
  std::string shown() const {
    if (!reply_) return "nothing yet";
    std::string out = std::string(to_string(reply_->rcode)) + ":";
    for (const Record& record : reply_->answer) out += " " + to_string(record) + ";";
    for (const Record& record : reply_->authority)
      if (record.type == type::kSoa) out += " (soa " + record.name.to_string() + ")";
    return out;
  }
  static Reply found(const std::string& text, const std::string& ip, std::uint32_t ttl = 60) {
    Reply reply;
    reply.answer.push_back(make_address(name(text), ttl, *Ip::parse(ip)));
    return reply;
  }
  static Reply none(Rcode rcode) {
    Reply reply;
    reply.rcode = rcode;
    return reply;
  }

  test::FakeClock clock_;
  FakeUpstream upstream_;
  ZoneTable table_;
  Resolver resolver_;
  std::optional<Reply> reply_;
};

const std::string kNoName = "NXDOMAIN: (soa cluster.local.)";

TEST_F(DnsResolver, UntilItIsSyncedNamesOfTheClusterAreUnknown) {
  Resolver resolver(clock_, upstream_);
  std::optional<Reply> reply;
  const auto keep = [&](const Reply& r) { reply = r; };
  resolver.resolve({name("a.cluster.local"), type::kA}, "", keep);
  EXPECT_EQ(reply->rcode, Rcode::ServFail);
  resolver.set_zone(table_.snapshot(), false);
  resolver.resolve({name("missing.default.svc.cluster.local"), type::kA}, "default", keep);
  EXPECT_EQ(reply->rcode, Rcode::ServFail);
  resolver.resolve({name("www.example.com"), type::kA}, "", keep);
  upstream_.answer(found("www.example.com", "192.0.2.1"));
  EXPECT_EQ(reply->rcode, Rcode::NoError) << "others are asked upstream";
}

TEST_F(DnsResolver, AsksUpstreamOnceAndKeepsTheAnswer) {
  ask("www.example.com");
  EXPECT_EQ(shown(), "nothing yet");
  upstream_.answer(found("www.example.com", "192.0.2.1"));
  EXPECT_EQ(shown(), "NOERROR: www.example.com. 60 IN A 192.0.2.1;");
  clock_.pass(20s);
  ask("www.example.com");
  EXPECT_EQ(shown(), "NOERROR: www.example.com. 40 IN A 192.0.2.1;");
  EXPECT_TRUE(upstream_.asked.empty());
  EXPECT_EQ(resolver_.counters().cache_hits, 1U);
  clock_.pass(37s);
  ask("www.example.com");
  EXPECT_EQ(shown(), "NOERROR: www.example.com. 3 IN A 192.0.2.1;");
  ASSERT_EQ(upstream_.asked.size(), 1U) << "fetched anew before it ends";
  upstream_.answer(found("www.example.com", "192.0.2.2"));
  clock_.pass(4s);
  ask("www.example.com");
  EXPECT_EQ(shown(), "NOERROR: www.example.com. 56 IN A 192.0.2.2;");
  resolver_.forget();
  ask("www.example.com");
  EXPECT_EQ(shown(), "nothing yet");
}

TEST_F(DnsResolver, WithoutUpstreamNamesOutsideFailAtOnce) {
  upstream_.absent = true;
  ask("www.example.com");
  EXPECT_EQ(shown(), "SERVFAIL:");
  ask("kubernetes.default.svc.cluster.local");
  EXPECT_EQ(shown(), "NOERROR: kubernetes.default.svc.cluster.local. 5 IN A 10.96.0.1;");
  ask("backend");
  EXPECT_EQ(shown(), kNoName) << "a host's name of one label is not asked for at all";
}

TEST_F(DnsResolver, WhenUpstreamIsGoneStaleAnswersAreGiven) {
  ask("www.example.com");
  upstream_.answer(found("www.example.com", "192.0.2.1"));
  clock_.pass(100s);
  ask("www.example.com");
  EXPECT_EQ(shown(), "nothing yet");
  upstream_.answer(Error{Code::Unavailable, "silence"});
  EXPECT_EQ(shown(), "NOERROR: www.example.com. 30 IN A 192.0.2.1;");
  ask("www.example.com");
  EXPECT_EQ(shown(), "NOERROR: www.example.com. 30 IN A 192.0.2.1;") << "at once";
  EXPECT_TRUE(upstream_.asked.empty());
  clock_.pass(6s);
  ask("www.example.com");
  EXPECT_EQ(upstream_.asked.size(), 1U);
  EXPECT_EQ(resolver_.counters().stale, 2U);
}

TEST_F(DnsResolver, AnAliasIsFollowedOutside) {
  ask("ext.default.svc.cluster.local");
  EXPECT_EQ(upstream_.answer(found("www.example.com", "192.0.2.1")).name, name("www.example.com"));
  EXPECT_EQ(shown(),
            "NOERROR: ext.default.svc.cluster.local. 5 IN CNAME www.example.com.; www.example.com. "
            "60 IN A 192.0.2.1;");
  EXPECT_FALSE(reply_->authoritative);
  ask("ext.default.svc.cluster.local", "", type::kAaaa);
  upstream_.answer(none(Rcode::NxDomain));
  EXPECT_EQ(shown(), "NXDOMAIN: ext.default.svc.cluster.local. 5 IN CNAME www.example.com.;");
  ask("ext.default.svc.cluster.local", "", type::kTxt);
  upstream_.answer(Error{Code::Unavailable, "silence"});
  EXPECT_EQ(shown(), "SERVFAIL:");
}

TEST_F(DnsResolver, AnAliasOfOneLabelStaysHere) {
  test::put(table_, test::external("default", "plain", "intranet"));
  resolver_.set_zone(table_.snapshot(), true);
  ask("plain.default.svc.cluster.local");
  EXPECT_EQ(shown(), "NXDOMAIN: plain.default.svc.cluster.local. 5 IN CNAME intranet.;");
  EXPECT_TRUE(upstream_.asked.empty());
}

TEST_F(DnsResolver, TheSearchPathEndsInTheCluster) {
  ask("web.prod.default.svc.cluster.local", "default");
  EXPECT_TRUE(shown().starts_with(
      "NOERROR: web.prod.default.svc.cluster.local. 5 IN CNAME web.prod.svc.cluster.local.; "
      "web.prod.svc.cluster.local. 5 IN A 10.42.2."))
      << shown();
  EXPECT_EQ(reply_->answer.size(), 4U);
  ask("kubernetes.default.svc.prod.svc.cluster.local", "prod");
  EXPECT_EQ(shown(),
            "NOERROR: kubernetes.default.svc.prod.svc.cluster.local. 5 IN CNAME "
            "kubernetes.default.svc.cluster.local.; "
            "kubernetes.default.svc.cluster.local. 5 IN A 10.96.0.1;");
  ask("10-42-0-7.default.pod.default.svc.cluster.local", "default");
  EXPECT_EQ(shown(),
            "NOERROR: 10-42-0-7.default.pod.default.svc.cluster.local. 5 IN CNAME "
            "10-42-0-7.default.pod.cluster.local.; "
            "10-42-0-7.default.pod.cluster.local. 5 IN A 10.42.0.7;");
  EXPECT_EQ(resolver_.counters().searched, 3U);
  EXPECT_TRUE(upstream_.asked.empty());
}

TEST_F(DnsResolver, TheSearchPathAgreesForBothFamilies) {
  ask("kubernetes.default.prod.svc.cluster.local", "prod", type::kAaaa);
  EXPECT_EQ(shown(), "NOERROR: (soa cluster.local.)")
      << "the name exists, though it has no IPv6 address";
}

TEST_F(DnsResolver, TheSearchPathMayLeadToAnAlias) {
  ask("ext.default.prod.svc.cluster.local", "prod");
  EXPECT_EQ(upstream_.answer(found("www.example.com", "192.0.2.1")).name, name("www.example.com"));
  EXPECT_EQ(
      shown(),
      "NOERROR: ext.default.prod.svc.cluster.local. 5 IN CNAME ext.default.svc.cluster.local.; "
      "ext.default.svc.cluster.local. 5 IN CNAME www.example.com.; www.example.com. 60 IN A "
      "192.0.2.1;");
}

TEST_F(DnsResolver, TheSearchPathEndsOutside) {
  resolver_.set_host_search({name("corp.example")});
  ask("www.example.com.default.svc.cluster.local", "default");
  EXPECT_EQ(upstream_.answer(none(Rcode::NxDomain)).name, name("www.example.com.corp.example"));
  EXPECT_EQ(upstream_.answer(found("www.example.com", "192.0.2.1")).name, name("www.example.com"));
  EXPECT_EQ(shown(),
            "NOERROR: www.example.com.default.svc.cluster.local. 5 IN CNAME www.example.com.; "
            "www.example.com. 60 IN A 192.0.2.1;");
  ask("www.example.com.default.svc.cluster.local", "default", type::kAaaa);
  upstream_.answer(none(Rcode::NxDomain));
  upstream_.answer(none(Rcode::NoError));
  EXPECT_EQ(shown(), "NOERROR: (soa cluster.local.)");
}

TEST_F(DnsResolver, WithoutACandidateTheLiteralAnswerCounts) {
  ask("www.example.com.default.svc.cluster.local", "default");
  upstream_.answer(none(Rcode::NxDomain));
  EXPECT_EQ(shown(), kNoName);
  ask("www.example.com.default.svc.cluster.local", "default");
  upstream_.answer(Error{Code::Unavailable, "silence"});
  EXPECT_EQ(shown(), kNoName);
  upstream_.absent = true;
  ask("www.example.com.default.svc.cluster.local", "default");
  EXPECT_EQ(shown(), kNoName);
}

TEST_F(DnsResolver, OnlyTheFirstSuffixOfAPodIsSearched) {
  ask("www.example.com.default.svc.cluster.local");
  EXPECT_EQ(shown(), kNoName) << "no Pod";
  ask("www.example.com.default.svc.cluster.local", "prod");
  EXPECT_EQ(shown(), kNoName) << "another Pod's namespace";
  ask("www.example.com.svc.cluster.local", "default");
  EXPECT_EQ(shown(), kNoName);
  ask("www.example.com.cluster.local", "default");
  EXPECT_EQ(shown(), kNoName);
  ask("backend.default.svc.cluster.local", "default");
  EXPECT_EQ(shown(), kNoName) << "one label is never asked for upstream";
  ask("nowhere.svc.cluster.local", "nowhere");
  EXPECT_EQ(shown(), kNoName);
  EXPECT_TRUE(upstream_.asked.empty());
  ask("kubernetes.default.svc.cluster.local", "default");
  EXPECT_EQ(shown(), "NOERROR: kubernetes.default.svc.cluster.local. 5 IN A 10.96.0.1;");
}

// The last byte of each address, in the order of the answer.
std::string order_of(const Reply& reply) {
  std::string out;
  for (const Record& record : reply.answer)
    if (record.type != type::kCname) out += std::to_string(record.data.back());
  return out;
}

class DnsResolverTurns : public DnsResolver {
 protected:
  // www is an alias of cdn, which is one of three addresses.
  static Reply chain(std::uint16_t type = type::kA) {
    Reply reply;
    for (const auto& [from, to] : {std::pair("www.example.com", "cdn.example.com"),
                                   std::pair("cdn.example.com", "edge.example.com")})
      reply.answer.push_back({name(from), type::kCname, 60, std::string(name(to).wire())});
    for (const char* ip : {"192.0.2.1", "192.0.2.2", "192.0.2.3"})
      reply.answer.push_back(
          make_address(name("edge.example.com"), 60,
                       *Ip::parse(type == type::kA ? ip : "2001:db8::" + std::string(1, ip[8]))));
    return reply;
  }
  std::string order(const std::string& text, std::uint16_t type = type::kA) {
    ask(text, "", type);
    return order_of(*reply_);
  }
};

TEST_F(DnsResolverTurns, AddressesOfTheCacheComeInTurnBehindTheirAliases) {
  ask("www.example.com");
  upstream_.answer(chain());
  std::vector<std::string> orders = {order_of(*reply_)};
  for (int i = 0; i < 3; ++i) {
    orders.push_back(order("www.example.com"));
    EXPECT_EQ(to_string(reply_->answer.at(0)), "www.example.com. 60 IN CNAME cdn.example.com.");
    EXPECT_EQ(to_string(reply_->answer.at(1)), "cdn.example.com. 60 IN CNAME edge.example.com.");
  }
  EXPECT_EQ(orders, (std::vector<std::string>{"123", "231", "312", "123"}));
  clock_.pass(100s);
  upstream_.absent = true;
  EXPECT_EQ(order("www.example.com"), "231") << "stale";
  EXPECT_EQ(order("www.example.com"), "312") << "stale, at once";
}

TEST_F(DnsResolverTurns, WhoAskTogetherGetOneEach) {
  std::vector<std::string> orders;
  for (int i = 0; i < 3; ++i)
    resolver_.resolve({name("www.example.com"), type::kA}, "",
                      [&](const Reply& reply) { orders.push_back(order_of(reply)); });
  while (!upstream_.asked.empty()) upstream_.answer(chain());
  EXPECT_EQ(orders, (std::vector<std::string>{"123", "231", "312"}));
}

// As getaddrinfo() asks: the one family must not take the other's turns.
TEST_F(DnsResolverTurns, FamiliesTakeTurnsOfTheirOwn) {
  ask("www.example.com");
  upstream_.answer(chain());
  ask("www.example.com", "", type::kAaaa);
  upstream_.answer(chain(type::kAaaa));
  EXPECT_EQ(order("www.example.com"), "231");
  EXPECT_EQ(order("www.example.com", type::kAaaa), "231");
  EXPECT_EQ(order("www.example.com"), "312");
  EXPECT_EQ(order("www.example.com", type::kAaaa), "312");
  std::vector<std::string> orders;
  for (int i = 0; i < 2; ++i) {
    orders.push_back(order("set.default.svc.cluster.local"));
    order("set.default.svc.cluster.local", type::kAaaa);
  }
  EXPECT_EQ(orders, (std::vector<std::string>{"56", "65"})) << "the cluster's own names, too";
}

TEST_F(DnsResolverTurns, WhatALocalAliasLeadsToComesInTurn) {
  ask("ext.default.svc.cluster.local");
  upstream_.answer(chain());
  std::vector<std::string> orders = {order_of(*reply_)};
  orders.push_back(order("ext.default.svc.cluster.local"));
  EXPECT_EQ(reply_->answer.at(0).name, name("ext.default.svc.cluster.local"));
  EXPECT_EQ(orders, (std::vector<std::string>{"123", "231"}));
}

TEST_F(DnsResolverTurns, OtherRecordsStayInOrder) {
  Reply reply;
  for (const char* text : {"\1a", "\1b"})
    reply.answer.push_back({name("www.example.com"), type::kTxt, 60, text});
  ask("www.example.com", "", type::kTxt);
  upstream_.answer(reply);
  ask("www.example.com", "", type::kTxt);
  EXPECT_EQ(reply_->answer, reply.answer);
}

TEST_F(DnsResolver, PointersOfOtherAddressesAreKnownHereOrAskedFor) {
  ask("7.2.0.192.in-addr.arpa", "", type::kPtr);
  EXPECT_EQ(shown(),
            "NOERROR: 7.2.0.192.in-addr.arpa. 5 IN PTR "
            "192-0-2-7.elsewhere.prod.svc.cluster.local.;");
  EXPECT_TRUE(reply_->authoritative);
  EXPECT_TRUE(upstream_.asked.empty());
  ask("8.2.0.192.in-addr.arpa", "", type::kPtr);
  upstream_.answer(none(Rcode::NxDomain));
  EXPECT_EQ(shown(), "NXDOMAIN:");
  ask("7.2.0.192.in-addr.arpa", "", type::kTxt);
  upstream_.answer(none(Rcode::NoError));
  EXPECT_EQ(shown(), "NOERROR:");
  test::put(table_, test::service("default", "late"), {test::slice({test::endpoint("192.0.2.8")})});
  resolver_.set_zone(table_.snapshot(), true);
  ask("8.2.0.192.in-addr.arpa", "", type::kPtr);
  EXPECT_EQ(shown(),
            "NOERROR: 8.2.0.192.in-addr.arpa. 5 IN PTR 192-0-2-8.late.default.svc.cluster.local.;");
}

}  // namespace
}  // namespace coracle::dns
