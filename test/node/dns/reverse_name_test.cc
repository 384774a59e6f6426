// Addresses as names, and back.
#include "node/dns/reverse_name.h"

#include <gtest/gtest.h>

#include <string>

namespace coracle::dns {
namespace {

std::string shown(const std::string& text) {
  const auto range = parse_reverse(*Name::parse(text));
  return range ? range->to_string() : "nothing";
}

const std::string kSix = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa";

TEST(DnsReverseName, IsReadAsARangeOfAddresses) {
  EXPECT_EQ(shown("1.0.96.10.in-addr.arpa"), "10.96.0.1/32");
  EXPECT_EQ(shown("96.10.in-addr.arpa"), "10.96.0.0/16");
  EXPECT_EQ(shown("255.IN-ADDR.arpa"), "255.0.0.0/8");
  EXPECT_EQ(shown("0.0.0.0.in-addr.arpa"), "0.0.0.0/32");
  // The example of RFC 3596, 2.5.
  EXPECT_EQ(shown(kSix), "4321:0:1:2:3:4:567:89ab/128");
  EXPECT_EQ(shown("0.0.D.F.ip6.arpa"), "fd00::/16");
  EXPECT_EQ(shown("f.ip6.arpa"), "f000::/4");
}

TEST(DnsReverseName, OtherNamesAreNone) {
  for (const std::string& other : std::vector<std::string>{
           "in-addr.arpa", "ip6.arpa", "arpa", "", "x.in-addr.arpa", "01.0.96.10.in-addr.arpa",
           "256.in-addr.arpa", "1000.in-addr.arpa", "+1.in-addr.arpa", "1.1.0.96.10.in-addr.arpa",
           "a.in-addr.arpa", "g.ip6.arpa", "00.ip6.arpa", "10.ip6.arpa", "-.ip6.arpa", "0." + kSix,
           "0.0.d.f.ip6.int", "10.xin-addr.arpa"})
    EXPECT_EQ(shown(other), "nothing") << other;
}

TEST(DnsReverseName, IsWrittenAsItIsRead) {
  EXPECT_EQ(reverse_name(*Ip::parse("4321:0:1:2:3:4:567:89ab"), 128), *Name::parse(kSix));
  EXPECT_EQ(reverse_name(*Ip::parse("10.96.0.1"), 24).to_string(), "0.96.10.in-addr.arpa.");
  for (const char* text : {"10.96.200.1", "fd00:10:96::7"}) {
    const Ip ip = *Ip::parse(text);
    const int step = ip.is_v4() ? 8 : 4;
    for (int bits = step; bits <= static_cast<int>(ip.size() * 8); bits += step)
      EXPECT_EQ(parse_reverse(reverse_name(ip, bits)), (Cidr{Cidr{ip, bits}.network(), bits}));
  }
}

TEST(DnsReverseName, AZoneHasWholeLabelsAndMoreThanOneAddress) {
  const auto bits = [](const char* text) { return reverse_zone_bits(*Cidr::parse(text)); };
  EXPECT_EQ(bits("0.0.0.0/0"), 8);
  EXPECT_EQ(bits("10.96.0.0/12"), 16);
  EXPECT_EQ(bits("10.96.0.0/16"), 16);
  EXPECT_EQ(bits("10.96.0.0/17"), 24);
  EXPECT_EQ(bits("10.96.0.1/32"), 24);
  EXPECT_EQ(bits("::/0"), 4);
  EXPECT_EQ(bits("fd00::/106"), 108);
  EXPECT_EQ(bits("fd00::1/128"), 124);
}

}  // namespace
}  // namespace coracle::dns
