// Questions and exact answers by the Kubernetes DNS specification.
#include "node/dns/zone.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "node/dns/reverse_name.h"
#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using test::endpoint;
using test::external;
using test::name;
using test::put;
using test::service;
using test::slice;

std::uint16_t type_of(const std::string& text) {
  static const std::map<std::string, std::uint16_t> types = {
      {"A", 1},   {"NS", 2},   {"CNAME", 5}, {"SOA", 6},  {"PTR", 12},
      {"MX", 15}, {"TXT", 16}, {"AAAA", 28}, {"SRV", 33}, {"ANY", 255}};
  return types.at(text);
}

// "rdata" of each record, with its owner before it where it is not the question's name.
std::string text(const std::vector<Record>& records, const Name& asked) {
  std::string out;
  for (const Record& record : records) {
    EXPECT_EQ(record.ttl, 5U);
    std::string line = to_string(record);
    const std::string own = asked.to_string() + " 5 IN ";
    if (line.starts_with(own)) line.erase(0, own.size());
    out += (out.empty() ? "" : "; ") + line;
  }
  return out;
}

struct Case {
  std::string question, type, expected;
};

// The lines of questions.txt, which says what they mean.
std::vector<Case> cases(std::uint32_t serial) {
  std::ifstream file(CORACLE_SOURCE_DIR "/test/node/dns/questions.txt");
  std::vector<Case> out;
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with('#')) continue;
    const std::string place = "SERIAL";
    if (const auto at = line.find(place); at != std::string::npos)
      line.replace(at, place.size(), std::to_string(serial));
    const std::size_t space = line.find(' '), bar = line.find(" | ");
    out.push_back(
        {line.substr(0, space), line.substr(space + 1, bar - space - 1), line.substr(bar + 3)});
  }
  return out;
}

std::string answer_text(const Zone& zone, const Question& question) {
  const ZoneAnswer answer = zone.answer(question, 0);
  EXPECT_TRUE(answer.reply.authoritative);
  std::vector<std::string> parts = {
      to_string(answer.reply.rcode), text(answer.reply.answer, question.name),
      text(answer.reply.authority, question.name), text(answer.reply.additional, question.name)};
  // The authority is the zone's, though it may also be what was asked for.
  if (parts[2].starts_with("SOA")) parts[2] = question.name.to_string() + " 5 IN " + parts[2];
  while (parts.back().empty()) parts.pop_back();
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) out += (i == 0 ? "" : " | ") + parts[i];
  if (answer.follow) out += " -> " + answer.follow->to_string();
  return out;
}

TEST(DnsZone, AnswersEveryQuestionExactly) {
  ZoneTable table(test::config());
  test::fill(table);
  const auto zone = table.snapshot();
  ASSERT_EQ(zone->serial(), 14U);
  ASSERT_GE(cases(zone->serial()).size(), 100U);
  for (const Case& c : cases(zone->serial())) {
    SCOPED_TRACE(c.question + " " + c.type);
    const Question question{name(c.question), type_of(c.type)};
    EXPECT_TRUE(zone->owns(question));
    EXPECT_EQ(answer_text(*zone, question), c.expected);
  }
}

bool owns(const Zone& zone, const std::string& text, std::uint16_t type = type::kPtr) {
  return zone.owns({name(text), type});
}

TEST(DnsZone, SpeaksOnlyForItsOwnNames) {
  const auto zone = ZoneTable(test::config()).snapshot();
  for (const char* other :
       {"local", "example.com", "xcluster.local", "cluster.local.com", "10.in-addr.arpa",
        "in-addr.arpa", "1.0.97.10.in-addr.arpa", "x.96.10.in-addr.arpa", "01.0.96.10.in-addr.arpa",
        "256.0.96.10.in-addr.arpa", "1.1.0.96.10.in-addr.arpa", "8.0.0.0.ip6.arpa", ""})
    EXPECT_FALSE(owns(*zone, other)) << other;
}

TEST(DnsZone, OfOtherAddressesItSpeaksOnlyForThePointersThatItHas) {
  ZoneTable table(test::config());
  test::fill(table);
  const auto zone = table.snapshot();
  for (const char* ip : {"192.0.2.7", "fd00::20", "fd00:10::1"}) {
    const std::string back = reverse_name(*Ip::parse(ip), ip[0] == 'f' ? 128 : 32).to_string();
    EXPECT_TRUE(owns(*zone, back)) << back;
    for (const std::uint16_t other : {type::kA, type::kSoa, type::kNs, type::kTxt, type::kAny})
      EXPECT_FALSE(owns(*zone, back, other)) << back;
    EXPECT_FALSE(owns(*zone, back.substr(2))) << "a name above it";
    EXPECT_FALSE(owns(*zone, "1." + back)) << "a name below it";
  }
  EXPECT_FALSE(owns(*zone, reverse_name(*Ip::parse("192.0.2.8"), 32).to_string()));
  EXPECT_FALSE(owns(*zone, reverse_name(*Ip::parse("fd00:10::3"), 128).to_string()));
  table.set({"prod", "elsewhere"}, nullptr, {});
  EXPECT_FALSE(owns(*table.snapshot(), "7.2.0.192.in-addr.arpa"));
}

TEST(DnsZone, AnIpv6CidrIsAReverseZone) {
  ZoneConfig config = test::config();
  config.service_cidr = *Cidr::parse("fd00:10:96::/106");
  ZoneTable table(config);
  put(table, service("default", "web", "fd00:10:96::7"));
  const auto zone = table.snapshot();
  const Ip web = *Ip::parse("fd00:10:96::7");
  const auto shown = [&](const Ip& ip, int bits, std::uint16_t type) {
    const Question question{reverse_name(ip, bits), type};
    EXPECT_TRUE(zone->owns(question));
    const Reply reply = zone->answer(question, 0).reply;
    const auto& records = reply.answer.empty() ? reply.authority : reply.answer;
    return std::string(to_string(reply.rcode)) + " " +
           std::to_string(records.at(0).name.label_count() - 2) + " " +
           std::to_string(records.at(0).type);
  };
  EXPECT_EQ(shown(web, 128, type::kPtr), "NOERROR 32 12");
  EXPECT_EQ(shown(web.plus(1), 128, type::kPtr), "NXDOMAIN 27 6");
  EXPECT_EQ(shown(web, 124, type::kPtr), "NOERROR 27 6") << "an empty name between";
  EXPECT_EQ(shown(web.plus(16), 124, type::kPtr), "NXDOMAIN 27 6");
  EXPECT_EQ(shown(web, 108, type::kNs), "NOERROR 27 2");
  EXPECT_FALSE(zone->owns({reverse_name(web, 104), type::kPtr}));
}

TEST(DnsZone, ReverseZonesOfOddPrefixes) {
  ZoneConfig config = test::config();
  config.service_cidr = *Cidr::parse("10.96.0.0/12");
  config.pod_cidr = *Cidr::parse("10.42.0.64/26");
  ZoneTable table(config);
  put(table, service("default", "web", "10.100.0.1"));
  put(table, service("default", "set"), {slice({endpoint("10.42.0.65")})});
  const auto zone = table.snapshot();
  EXPECT_TRUE(owns(*zone, "111.10.in-addr.arpa"));
  EXPECT_FALSE(owns(*zone, "112.10.in-addr.arpa"));
  EXPECT_FALSE(owns(*zone, "0.42.10.in-addr.arpa")) << "others have addresses in it";
  EXPECT_TRUE(owns(*zone, "127.0.42.10.in-addr.arpa"));
  EXPECT_FALSE(owns(*zone, "128.0.42.10.in-addr.arpa"));
  const auto apex = [&](const char* text) {
    const auto reply = zone->answer({name(text), type::kPtr}, 0).reply;
    return std::string(to_string(reply.rcode)) + " " +
           (reply.authority.empty() ? to_string(reply.answer.front())
                                    : reply.authority.front().name.to_string());
  };
  EXPECT_EQ(apex("2.0.100.10.in-addr.arpa"), "NXDOMAIN 100.10.in-addr.arpa.");
  EXPECT_EQ(apex("0.100.10.in-addr.arpa"), "NOERROR 100.10.in-addr.arpa.");
  EXPECT_EQ(apex("66.0.42.10.in-addr.arpa"), "NXDOMAIN 0.42.10.in-addr.arpa.");
  EXPECT_EQ(apex("65.0.42.10.in-addr.arpa"),
            "NOERROR 65.0.42.10.in-addr.arpa. 5 IN PTR 10-42-0-65.set.default.svc.cluster.local.");
}

TEST(DnsZone, AnswersComeInTurn) {
  ZoneTable table(test::config());
  test::fill(table);
  const auto zone = table.snapshot();
  std::vector<std::string> firsts;
  for (std::uint32_t turn = 0; turn < 4; ++turn) {
    const auto answer =
        zone->answer({name("web.prod.svc.cluster.local"), type::kA}, turn).reply.answer;
    ASSERT_EQ(answer.size(), 3U);
    firsts.push_back(to_string(answer.front())
                         .substr(std::string("web.prod.svc.cluster.local. 5 IN A ").size()));
  }
  EXPECT_EQ(firsts, (std::vector<std::string>{"10.42.2.1", "10.42.2.2", "10.42.2.3", "10.42.2.1"}));
}

TEST(DnsZoneTable, ASnapshotStaysWhatItWas) {
  ZoneTable table(test::config());
  const Question web{name("web.default.svc.cluster.local"), type::kA};
  const auto empty = table.snapshot();
  EXPECT_TRUE(put(table, service("default", "web", "10.96.0.7")));
  const auto one = table.snapshot();
  EXPECT_TRUE(put(table, service("default", "web", "10.96.0.8")));
  const auto two = table.snapshot();
  EXPECT_EQ(empty->answer(web, 0).reply.rcode, Rcode::NxDomain);
  EXPECT_EQ(to_string(one->answer(web, 0).reply.answer.front()),
            "web.default.svc.cluster.local. 5 IN A 10.96.0.7");
  EXPECT_EQ(to_string(two->answer(web, 0).reply.answer.front()),
            "web.default.svc.cluster.local. 5 IN A 10.96.0.8");
  EXPECT_EQ(two->answer({name("7.0.96.10.in-addr.arpa"), type::kPtr}, 0).reply.rcode,
            Rcode::NxDomain);
  EXPECT_EQ(two->serial(), 3U);
}

TEST(DnsZoneTable, SaysWhetherAnythingChanges) {
  ZoneTable table(test::config());
  const Service set = service("default", "set");
  EXPECT_FALSE(put(table, set)) << "nobody is ready";
  EXPECT_TRUE(put(table, set, {slice({endpoint("10.42.0.5")})}));
  EXPECT_FALSE(put(table, set, {slice({endpoint("10.42.0.5"), endpoint("10.42.0.6", "", false)})}));
  EXPECT_TRUE(put(table, set, {slice({endpoint("10.42.0.5"), endpoint("10.42.0.6", "", true)})}));
  EXPECT_TRUE(table.set({"default", "set"}, nullptr, {}));
  EXPECT_FALSE(table.set({"default", "set"}, nullptr, {}));
  EXPECT_FALSE(put(table, external("default", "bad", "a..b")));
}

// Whatever order things come in, what is left is what a fresh table of it holds.
TEST(DnsZoneTable, AfterManyChangesNothingOfOldOnesIsLeft) {
  ZoneTable table(test::config());
  const ObjectKey key{"default", "set"};
  for (int round = 0; round < 50; ++round) {
    const Service set = service("default", "set");
    const std::string ip = "10.42.0." + std::to_string(1 + round % 7);
    put(table, set,
        {slice({endpoint(ip), endpoint("10.42.1.9", "host-" + std::to_string(round % 3))})});
    Service one =
        service("default", "s" + std::to_string(round % 5), "10.96.1." + std::to_string(round));
    one.cluster_ips = {one.cluster_ip, "fd00::1:" + std::to_string(round)};
    put(table, one);
    if (round % 4 == 0) table.set(key, nullptr, {});
  }
  table.set(key, nullptr, {});
  for (int i = 0; i < 5; ++i) table.set({"default", "s" + std::to_string(i)}, nullptr, {});
  const auto zone = table.snapshot();
  for (const char* gone : {"default.svc.cluster.local", "set.default.svc.cluster.local",
                           "1.96.10.in-addr.arpa", "0.42.10.in-addr.arpa", "1.42.10.in-addr.arpa"})
    EXPECT_EQ(zone->answer({name(gone), type::kA}, 0).reply.rcode, Rcode::NxDomain) << gone;
  for (int round = 0; round < 50; ++round) {
    const Ip ip = *Ip::parse("fd00::1:" + std::to_string(round));
    EXPECT_FALSE(zone->owns({reverse_name(ip, 128), type::kPtr}));
  }
}

TEST(DnsZoneTable, ServicesMayLeadBackFromOneAddress) {
  ZoneTable table(test::config());
  for (const char* ip : {"10.42.0.5", "192.0.2.5", "fd00::5"}) {
    const std::string family = ip[0] == 'f' ? "IPv6" : "IPv4";
    for (const char* one : {"b", "c", "a"})
      put(table, service("default", one), {slice({endpoint(ip, "x")}, {}, family)});
    const Question back{reverse_name(*Ip::parse(ip), ip[0] == 'f' ? 128 : 32), type::kPtr};
    const auto names = [&] {
      std::string out;
      if (const auto zone = table.snapshot(); zone->owns(back))
        for (const Record& record : zone->answer(back, 0).reply.answer)
          out += target_of(record)->to_string().substr(2, 2);
      return out;
    };
    EXPECT_EQ(names(), "a.b.c.");
    table.set({"default", "b"}, nullptr, {});
    EXPECT_EQ(names(), "a.c.");
    put(table, service("default", "c"), {slice({endpoint("10.42.9.9")})});
    EXPECT_EQ(names(), "a.");
    table.set({"default", "a"}, nullptr, {});
    EXPECT_EQ(names(), "");
    table.set({"default", "c"}, nullptr, {});
  }
}

// Of a Service with many endpoints, one that changes leaves the others as they are.
TEST(DnsZoneTable, ManyEndpointsOfBothFamiliesLeadBack) {
  ZoneTable table(test::config());
  const auto slices = [](int but) {
    std::vector<Endpoint> four, six;
    for (int i = 0; i < 600; ++i) {
      if (i == but) continue;
      four.push_back(endpoint(Ip::v4(0x0A2A0000U + static_cast<std::uint32_t>(i) * 7).to_string()));
      six.push_back(
          endpoint(Ip::parse("fd00::")->plus(static_cast<std::uint64_t>(i) * 7).to_string()));
    }
    return EndpointSlices{slice(four), slice(six, {}, "IPv6")};
  };
  for (const int but : {600, 17, 18, 599}) {
    put(table, service("default", "many"), slices(but));
    const auto zone = table.snapshot();
    for (int i = 0; i < 600; ++i) {
      const Ip four = Ip::v4(0x0A2A0000U + static_cast<std::uint32_t>(i) * 7);
      const Ip six = Ip::parse("fd00::")->plus(static_cast<std::uint64_t>(i) * 7);
      const auto reply = zone->answer({reverse_name(four, 32), type::kPtr}, 0).reply;
      EXPECT_EQ(reply.answer.size(), i == but ? 0U : 1U) << four.to_string();
      EXPECT_EQ(zone->owns({reverse_name(six, 128), type::kPtr}), i != but) << six.to_string();
    }
  }
}

TEST(DnsZone, NamesAtTheLimitOfLength) {
  ZoneTable table(test::config());
  const std::string label(63, 'a');
  put(table, service(label, label),
      {slice({endpoint("10.42.0.5", label)}, {{std::string(15, 'p'), 80}})});
  const auto zone = table.snapshot();
  const std::string full = label + "." + label + "." + label + ".svc.cluster.local";
  EXPECT_EQ(zone->answer({name(full), type::kA}, 0).reply.answer.size(), 1U);
  const Question srv{
      name("_" + std::string(15, 'p') + "._tcp." + label + "." + label + ".svc.cluster.local"),
      type::kSrv};
  EXPECT_EQ(zone->answer(srv, 0).reply.answer.size(), 1U);
}

TEST(DnsLabels, DashedAddresses) {
  EXPECT_EQ(dashed(*Ip::parse("10.1.2.3")), "10-1-2-3");
  EXPECT_EQ(dashed(*Ip::parse("fd00::1")), "fd00--1");
  EXPECT_EQ(dashed(*Ip::parse("::1")), "0--1");
  EXPECT_EQ(dashed(*Ip::parse("fd00::")), "fd00--0");
  EXPECT_EQ(parse_dashed_v4("10-1-2-3")->to_string(), "10.1.2.3");
  for (const char* bad :
       {"", "10-1-2", "10-1-2-3-4", "10.1.2.3", "10-1-2-256", "10-1-2-03", "fd00--1", "-1-2-3-4"})
    EXPECT_FALSE(parse_dashed_v4(bad)) << bad;
}

}  // namespace
}  // namespace coracle::dns
