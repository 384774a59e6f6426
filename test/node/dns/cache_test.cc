// How long what upstream has said holds.
#include "node/dns/cache.h"

#include <gtest/gtest.h>

#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using namespace std::chrono_literals;
using test::name;

const Cache::Time kStart{std::chrono::hours(1)};
const Question kWww{name("www.example.com"), type::kA};

Record soa(std::uint32_t ttl, std::uint8_t minimum) {
  std::string data = std::string(name("ns.example.com").wire()) +
                     std::string(name("x.example.com").wire()) + std::string(19, '\0') +
                     static_cast<char>(minimum);
  return {name("example.com"), type::kSoa, ttl, data};
}
Reply positive(std::uint32_t ttl) {
  Reply reply;
  reply.answer.push_back(make_address(kWww.name, ttl, *Ip::parse("192.0.2.1")));
  return reply;
}
Reply negative(Rcode rcode, std::uint32_t ttl, std::uint8_t minimum) {
  Reply reply{.rcode = rcode};
  reply.authority.push_back(soa(ttl, minimum));
  return reply;
}

TEST(DnsCache, TtlsCountDown) {
  Cache cache;
  EXPECT_FALSE(cache.find(kWww, kStart));
  cache.put(kWww, positive(60), kStart);
  EXPECT_EQ(cache.find(kWww, kStart)->reply.answer.front().ttl, 60U);
  EXPECT_EQ(cache.find(kWww, kStart + 20s)->reply.answer.front().ttl, 40U);
  EXPECT_EQ(cache.find(kWww, kStart + 59s)->age, Cache::Age::Ending);
  EXPECT_FALSE(cache.find({kWww.name, type::kAaaa}, kStart));
  EXPECT_FALSE(cache.find({name("example.com"), type::kA}, kStart));
}

TEST(DnsCache, TheShortestTtlOfAChainCounts) {
  Reply reply = positive(60);
  reply.answer.insert(reply.answer.begin(),
                      {kWww.name, type::kCname, 7, std::string(name("a.b").wire())});
  EXPECT_EQ(compute_lifetime(kWww, reply), 7U);
}

TEST(DnsCache, LongTtlsAreCut) {
  Cache cache({.max_ttl = 100s});
  cache.put(kWww, positive(86'400), kStart);
  EXPECT_EQ(cache.find(kWww, kStart)->reply.answer.front().ttl, 100U);
  EXPECT_EQ(cache.find(kWww, kStart + 100s)->age, Cache::Age::Stale);
}

TEST(DnsCache, KeepsThatThereIsNothingAsTheSoaSays) {
  EXPECT_EQ(compute_lifetime(kWww, negative(Rcode::NxDomain, 600, 30)), 30U);
  EXPECT_EQ(compute_lifetime(kWww, negative(Rcode::NxDomain, 20, 30)), 20U);
  EXPECT_EQ(compute_lifetime(kWww, negative(Rcode::NoError, 600, 30)), 30U);
  EXPECT_EQ(compute_lifetime(kWww, Reply{.rcode = Rcode::NxDomain}), 0U) << "no SOA";
  EXPECT_EQ(compute_lifetime(kWww, negative(Rcode::ServFail, 600, 30)), 0U);
  EXPECT_EQ(compute_lifetime(kWww, positive(0)), 0U);
  // An alias of something that has no address.
  Reply alias = negative(Rcode::NoError, 600, 30);
  alias.answer.push_back({kWww.name, type::kCname, 9, std::string(name("a.b").wire())});
  EXPECT_EQ(compute_lifetime(kWww, alias), 9U);
  Cache cache;
  cache.put(kWww, negative(Rcode::NxDomain, 600, 30), kStart);
  EXPECT_EQ(cache.find(kWww, kStart + 10s)->reply.rcode, Rcode::NxDomain);
  EXPECT_EQ(cache.find(kWww, kStart + 10s)->reply.authority.front().ttl, 20U);
  EXPECT_EQ(cache.find(kWww, kStart + 30s)->age, Cache::Age::Stale);
}

TEST(DnsCache, WhatIsUsedIsFetchedAgainBeforeItEnds) {
  Cache cache;
  cache.put(kWww, positive(100), kStart);
  EXPECT_EQ(cache.find(kWww, kStart + 95s)->age, Cache::Age::Fresh) << "nobody had asked before";
  EXPECT_EQ(cache.find(kWww, kStart + 95s)->age, Cache::Age::Ending);
  EXPECT_EQ(cache.find(kWww, kStart + 96s)->age, Cache::Age::Fresh) << "said once";
  cache.failed(kWww, kStart + 96s);
  EXPECT_EQ(cache.find(kWww, kStart + 97s)->age, Cache::Age::Ending);
  cache.put(kWww, positive(100), kStart + 97s);
  EXPECT_EQ(cache.find(kWww, kStart + 98s)->age, Cache::Age::Fresh);
  // Not worth it for short ones.
  cache.put(kWww, positive(5), kStart);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cache.find(kWww, kStart + 4900ms)->age, Cache::Age::Fresh);
}

TEST(DnsCache, StaleIsBetterThanNothing) {
  Cache cache({.stale_for = 1000s, .stale_ttl = 30, .retry_after = 5s});
  cache.put(kWww, positive(60), kStart);
  auto found = cache.find(kWww, kStart + 61s);
  EXPECT_EQ(found->age, Cache::Age::Stale);
  EXPECT_EQ(found->reply.answer.front().ttl, 30U);
  cache.failed(kWww, kStart + 61s);
  EXPECT_EQ(cache.find(kWww, kStart + 65s)->age, Cache::Age::Spared);
  EXPECT_EQ(cache.find(kWww, kStart + 66s)->age, Cache::Age::Stale);
  EXPECT_FALSE(cache.find(kWww, kStart + 1060s));
  EXPECT_EQ(cache.size(), 0U);
  EXPECT_EQ(cache.bytes(), 0U);
}

TEST(DnsCache, MemoryIsBoundedAndTheLeastUsedGoesFirst) {
  Cache cache({.max_bytes = 64 << 10});
  cache.put(kWww, positive(60), kStart);
  for (int i = 0; i < 10'000; ++i) {
    cache.put({name("n" + std::to_string(i) + ".example.com"), type::kA}, positive(60), kStart);
    ASSERT_LE(cache.bytes(), std::size_t{64} << 10);
    ASSERT_TRUE(cache.find(kWww, kStart)) << "it is used all the time";
  }
  EXPECT_GT(cache.size(), 50U);
  EXPECT_FALSE(cache.find({name("n0.example.com"), type::kA}, kStart));
  EXPECT_TRUE(cache.find({name("n9999.example.com"), type::kA}, kStart));
  Reply huge;
  huge.answer.assign(2000, positive(60).answer.front());
  cache.put({name("huge.example.com"), type::kA}, huge, kStart);
  EXPECT_FALSE(cache.find({name("huge.example.com"), type::kA}, kStart));
  cache.clear();
  EXPECT_EQ(cache.bytes(), 0U);
}

TEST(DnsCache, AFailureLeavesTheLastGoodReply) {
  Cache cache;
  cache.put(kWww, positive(60), kStart);
  cache.put(kWww, Reply{.rcode = Rcode::ServFail}, kStart + 61s);
  EXPECT_EQ(cache.find(kWww, kStart + 61s)->reply.rcode, Rcode::NoError);
}

}  // namespace
}  // namespace coracle::dns
