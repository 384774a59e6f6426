// What a question and an answer are on the wire.
#include "node/dns/message.h"

#include <gtest/gtest.h>

#include "node/dns/name.h"

namespace coracle::dns {
namespace {

Name name(const std::string& text) {
  return *Name::parse(text);
}
Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}
std::string to_hex(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    char two[3];
    (void)std::snprintf(two, sizeof(two), "%02x",
                        static_cast<unsigned>(static_cast<std::uint8_t>(c)));
    out += two;
  }
  return out;
}

// "Web.x." A, recursion desired, id 1234.
const std::string kPlain =
    "123401000001000000000000"
    "03576562017800"
    "00010001";
const std::string kOpt4096 =
    "000029"
    "1000"
    "00000000"
    "0000";
std::string with_opt(const std::string& opt = kOpt4096) {
  std::string packet = kPlain + opt;
  return packet.replace(22, 2, "01");
}
std::optional<Query> parse(const std::string& hex) {
  return parse_query(bytes_of(from_hex(hex)));
}

TEST(DnsQuery, ReadsAPlainQuestion) {
  const auto query = parse(kPlain);
  ASSERT_TRUE(query);
  EXPECT_EQ(query->verdict, Rcode::NoError);
  EXPECT_EQ(query->id, 0x1234);
  EXPECT_TRUE(query->recursion_desired);
  EXPECT_EQ(query->question, (Question{name("web.x"), type::kA}));
  EXPECT_EQ(query->asked, from_hex(kPlain).substr(12));
  EXPECT_FALSE(query->edns);
  EXPECT_EQ(udp_limit(*query), 512U);
}

TEST(DnsQuery, ReadsEdns) {
  const auto query =
      parse(with_opt("000029"
                     "1000"
                     "00008000"
                     "0000"));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->edns, (Edns{4096, 0, true}));
  EXPECT_EQ(udp_limit(*query), kMaxUdp);
  EXPECT_EQ(udp_limit(*parse(with_opt("000029"
                                      "0000"
                                      "00000000"
                                      "0000"))),
            512U);
  EXPECT_EQ(udp_limit(*parse(with_opt("000029"
                                      "0258"
                                      "00000000"
                                      "0000"))),
            600U);
  const auto cookie =
      parse(with_opt("000029"
                     "04d0"
                     "00000000"
                     "000c"
                     "000a00080102030405060708"));
  ASSERT_TRUE(cookie);
  EXPECT_EQ(cookie->verdict, Rcode::NoError);
  EXPECT_EQ(cookie->edns->udp_size, 1232);
}

TEST(DnsQuery, LdnsReadsOtherShapes) {
  // An A record before the OPT: odd, but a message.
  std::string packet = kPlain +
                       "c00c"
                       "0001"
                       "0001"
                       "00000005"
                       "0004"
                       "0a000001" +
                       kOpt4096;
  const auto odd = parse(packet.replace(22, 2, "02"));
  ASSERT_TRUE(odd);
  EXPECT_EQ(odd->verdict, Rcode::NoError);
  EXPECT_EQ(odd->edns, (Edns{4096, 0, false}));
}

struct Judged {
  const char* what;
  std::string hex;
  Rcode verdict;
};
TEST(DnsQuery, JudgesWhatIsWrong) {
  const std::string header = "12340100";
  const std::vector<Judged> cases = {
      {"no question", header + "0000000000000000", Rcode::FormErr},
      {"two questions",
       header + "0002000000000000"
                "0161000001"
                "0001"
                "0162000001"
                "0001",
       Rcode::FormErr},
      {"cut in the name",
       header + "0001000000000000"
                "0361",
       Rcode::FormErr},
      {"cut before the class",
       header + "0001000000000000"
                "01610000010",
       Rcode::FormErr},
      {"a pointer as the name",
       header + "0001000000000000"
                "c00c"
                "00010001",
       Rcode::FormErr},
      {"a label of 64",
       header +
           "0001000000000000"
           "40" +
           std::string(128, '6') +
           "00"
           "00010001",
       Rcode::FormErr},
      {"an OPT too few", with_opt(""), Rcode::FormErr},
      {"an OPT cut off",
       with_opt("000029"
                "1000"
                "0000"),
       Rcode::FormErr},
      {"a second OPT", std::string(with_opt(kOpt4096 + kOpt4096)).replace(22, 2, "02"),
       Rcode::FormErr},
      {"an answer that is cut off", std::string(kPlain).replace(15, 1, "1"), Rcode::FormErr},
      {"another version of EDNS",
       with_opt("000029"
                "1000"
                "00010000"
                "0000"),
       Rcode::BadVers},
      {"a notification", "12342000" + kPlain.substr(8), Rcode::NotImp},
      {"class CH", std::string(kPlain).replace(kPlain.size() - 4, 4, "0003"), Rcode::Refused},
      {"a zone transfer", std::string(kPlain).replace(kPlain.size() - 8, 4, "00fc"),
       Rcode::Refused},
      {"type OPT", std::string(kPlain).replace(kPlain.size() - 8, 4, "0029"), Rcode::FormErr},
  };
  for (const Judged& c : cases) {
    SCOPED_TRACE(c.what);
    const auto query = parse(c.hex);
    ASSERT_TRUE(query);
    EXPECT_EQ(query->id, 0x1234);
    EXPECT_STREQ(to_string(query->verdict), to_string(c.verdict));
    std::string out;
    encode(*query, {.rcode = query->verdict}, 512, out);
    EXPECT_LE(out.size(), from_hex(c.hex).size() + 11) << "nothing is amplified";
  }
}

TEST(DnsQuery, DropsWhatDeservesNoAnswer) {
  EXPECT_FALSE(parse(""));
  EXPECT_FALSE(parse("1234010000010000000000"));
  EXPECT_FALSE(parse("12348100" + kPlain.substr(8))) << "an answer";
}

TEST(DnsEncode, WritesTheseBytes) {
  Reply reply{.authoritative = true};
  reply.answer.push_back(make_address(name("web.x"), 5, *Ip::parse("10.96.0.7")));
  std::string out;
  encode(*parse(kPlain), reply, 512, out);
  EXPECT_EQ(to_hex(out),
            "1234"
            "8580"
            "0001"
            "0001"
            "0000"
            "0000"
            "03576562017800"
            "00010001"
            "c00c"
            "0001"
            "0001"
            "00000005"
            "0004"
            "0a600007");
  encode(*parse(with_opt()), {.rcode = Rcode::BadVers}, 512, out);
  EXPECT_EQ(to_hex(out),
            "1234"
            "8180"
            "0001"
            "0000"
            "0000"
            "0001"
            "03576562017800"
            "00010001"
            "00"
            "0029"
            "04d0"
            "01000000"
            "0000");
}

std::string wire(const std::string& text) {
  return std::string(name(text).wire());
}

TEST(DnsEncode, CompressesAndIsReadBack) {
  Reply reply{.rcode = Rcode::NxDomain, .authoritative = true};
  reply.answer.push_back({name("web.x"), type::kCname, 5, wire("www.web.x")});
  reply.answer.push_back(
      {name("www.web.x"), type::kMx, 60, std::string("\0\5", 2) + wire("mail.x")});
  reply.answer.push_back(
      {name("www.web.x"), type::kSrv, 60, std::string("\0\0\0\x64\0\x50", 6) + wire("web.x")});
  reply.authority.push_back(
      {name("x"), type::kSoa, 5, wire("ns.dns.x") + wire("hostmaster.x") + std::string(20, '\1')});
  std::string out;
  encode(*parse(kPlain), reply, 512, out);
  const auto back = parse_response(bytes_of(out));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->question, (Question{name("web.x"), type::kA}));
  EXPECT_EQ(back->reply.rcode, Rcode::NxDomain);
  EXPECT_EQ(back->reply.answer, reply.answer);
  EXPECT_EQ(back->reply.authority, reply.authority);
  // The target of SRV is not compressed (RFC 2782).
  EXPECT_NE(out.find(std::string("\3web\1x\0", 7)), std::string::npos);
  // The target "www.web.x" shares only "x": the question spells "Web".
  EXPECT_EQ(out.size(), 12U + 11 + (12 + 10) + (12 + 2 + 7) + (12 + 6 + 7) + (12 + 9 + 13 + 20));
}

TEST(DnsEncode, SpellingOfTargetsIsKept) {
  Reply reply;
  reply.answer.push_back({name("web.x"), type::kCname, 5, std::string("\3wEb\1x\0", 7)});
  std::string out;
  encode(*parse(kPlain), reply, 512, out);  // the question says "Web.x"
  EXPECT_EQ(parse_response(bytes_of(out))->reply.answer.front().data, std::string("\3wEb\1x\0", 7));
}

TEST(DnsEncode, TruncatesToWhatFits) {
  Reply reply;
  for (std::uint32_t i = 0; i < 100; ++i)
    reply.answer.push_back(make_address(name("web.x"), 5, Ip::v4(i)));
  std::string out;
  encode(*parse(kPlain), reply, 512, out);
  EXPECT_LE(out.size(), 512U);
  auto back = parse_response(bytes_of(out));
  ASSERT_TRUE(back);
  EXPECT_TRUE(back->truncated);
  EXPECT_EQ(back->reply.answer.size(), (512U - 23) / 16);

  encode(*parse(with_opt()), reply, 1232, out);
  back = parse_response(bytes_of(out));
  ASSERT_TRUE(back) << "the OPT record has room";
  EXPECT_LE(out.size(), 1232U);
  EXPECT_EQ(back->reply.answer.size(), (1232U - 23 - 11) / 16);

  encode(*parse(kPlain), reply, kMaxTcp, out);
  back = parse_response(bytes_of(out));
  EXPECT_FALSE(back->truncated);
  EXPECT_EQ(back->reply.answer, reply.answer);
}

TEST(DnsEncode, LeavesAdditionalRecordsOutSilently) {
  Reply reply;
  reply.answer.push_back(make_address(name("web.x"), 5, Ip::v4(1)));
  for (std::uint32_t i = 0; i < 100; ++i)
    reply.additional.push_back(make_address(name("web.x"), 5, Ip::v4(i)));
  std::string out;
  encode(*parse(kPlain), reply, 512, out);
  EXPECT_LE(out.size(), 512U);
  const auto back = parse_response(bytes_of(out));
  ASSERT_TRUE(back);
  EXPECT_FALSE(back->truncated);
  EXPECT_EQ(back->reply.answer, reply.answer);
}

TEST(DnsEncode, WorksFarBeyondWherePointersReach) {
  Reply reply;
  for (int i = 0; i < 2000; ++i) {
    const Name owner = name("n" + std::to_string(i) + ".web.x");
    reply.answer.push_back({owner, type::kCname, 5, std::string(owner.wire())});
  }
  std::string out;
  encode(*parse(kPlain), reply, kMaxTcp, out);
  const auto back = parse_response(bytes_of(out));
  ASSERT_TRUE(back);
  EXPECT_GT(out.size(), 0x4000U);
  EXPECT_EQ(back->reply.answer, reply.answer);
}

TEST(DnsUpstream, QuestionIsReadAsAsked) {
  const Question question{name("example.com"), type::kAaaa};
  const auto query = parse_query(bytes_of(encode_question(77, question)));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->verdict, Rcode::NoError);
  EXPECT_EQ(query->id, 77);
  EXPECT_TRUE(query->recursion_desired);
  EXPECT_EQ(query->question, question);
  EXPECT_EQ(query->edns, (Edns{kMaxUdp, 0, false}));
}

TEST(DnsUpstream, RefusesWhatIsNoReply) {
  EXPECT_FALSE(parse_response({}));
  EXPECT_FALSE(parse_response(bytes_of(from_hex(kPlain)))) << "a question";
  Reply reply;
  reply.answer.push_back(make_address(name("web.x"), 5, Ip::v4(1)));
  std::string out;
  encode(*parse(kPlain), reply, 512, out);
  ASSERT_TRUE(parse_response(bytes_of(out)));
  for (std::size_t size = 0; size < out.size(); ++size)
    EXPECT_FALSE(parse_response(bytes_of(out).first(size))) << size;
}

TEST(DnsUpstream, ReadsFlagsAndOddTtls) {
  std::string hex =
      "1234"
      "8380"
      "0001"
      "0001"
      "0000"
      "0001"
      "03576562017800"
      "00010001"
      "c00c"
      "0001"
      "0001"
      "80000005"
      "0004"
      "0a600007"
      "00"
      "0029"
      "04d0"
      "01000000"
      "0000";
  const auto response = parse_response(bytes_of(from_hex(hex)));
  ASSERT_TRUE(response);
  EXPECT_TRUE(response->truncated);
  EXPECT_EQ(response->reply.rcode, Rcode::BadVers);
  EXPECT_EQ(response->reply.answer.front().ttl, 0U);
}

TEST(DnsRecord, PrintsAsZoneFilesDo) {
  EXPECT_EQ(to_string(make_address(name("web.x"), 5, *Ip::parse("10.96.0.7"))),
            "web.x. 5 IN A 10.96.0.7");
  EXPECT_EQ(to_string(make_address(name("web.x"), 5, *Ip::parse("fd00::7"))),
            "web.x. 5 IN AAAA fd00::7");
  EXPECT_EQ(to_string({name("x"), type::kTxt, 5, std::string("\5") + "1.1.0"}),
            "x. 5 IN TXT \"1.1.0\"");
  EXPECT_EQ(to_string({name("x"), type::kA, 5, "1"}), "x. ?");
}

}  // namespace
}  // namespace coracle::dns
