#include "node/probe_packet.h"

#include <gtest/gtest.h>

#include <random>

namespace coracle {
namespace {

ProbePacket packet() {
  return {.type = ProbePacket::Type::Request,
          .kind = ProbeKind::Large,
          .id = 0x0123456789abcdef,
          .node = "node-1.example",
          .server = parse_server_url("https://10.0.0.7:6443")};
}

TEST(ProbePacket, IsReadAsItWasWritten) {
  for (const auto& type : {ProbePacket::Type::Request, ProbePacket::Type::Answer}) {
    for (const auto& kind : {ProbeKind::Small, ProbeKind::NoChecksum, ProbeKind::Large}) {
      for (const char* url : {"", "https://10.0.0.7:6443", "https://[fd00::7]:1"}) {
        ProbePacket written = packet();
        written.type = type;
        written.kind = kind;
        written.server = parse_server_url(url);
        for (const std::size_t size : {kSmallProbe, std::size_t{1422}}) {
          const auto bytes = encode_probe(written, size);
          EXPECT_EQ(bytes.size(), size);
          EXPECT_EQ(decode_probe(bytes), written) << url;
        }
      }
    }
  }
}

TEST(ProbePacket, TheSmallestHoldsTheLongestName) {
  ProbePacket longest = packet();
  longest.node = std::string(253, 'n');
  longest.server = parse_server_url("https://[fd00::7]:65535");
  const auto bytes = encode_probe(longest, 0);
  EXPECT_EQ(bytes.size(), kSmallProbe);
  EXPECT_EQ(decode_probe(bytes), longest);
}

TEST(ProbePacket, BytesThatAreNoPacketAreRefused) {
  struct Case {
    const char* name;
    std::size_t at;
    std::uint8_t byte;
  };
  constexpr std::size_t kName = 16;
  constexpr std::size_t kFamily = kName + 14;  // after "node-1.example"
  for (const Case& c :
       {Case{"magic", 0, 'X'}, Case{"version", 4, 2}, Case{"type 0", 5, 0}, Case{"type 3", 5, 3},
        Case{"kind", 6, 3}, Case{"no name", 7, 0}, Case{"a name longer than allowed", 7, 254},
        Case{"a name up to the zeros", 7, 200}, Case{"upper case", kName, 'N'},
        Case{"a line's end in the name", kName, '\n'}, Case{"NUL in the name", kName, 0},
        Case{"family", kFamily, 5}, Case{"address of nobody", kFamily + 1, 0},
        Case{"loopback", kFamily + 1, 127}, Case{"multicast", kFamily + 1, 224}}) {
    auto bytes = encode_probe(packet(), kSmallProbe);
    ASSERT_TRUE(decode_probe(bytes));
    bytes[c.at] = c.byte;
    if (std::string_view(c.name) == "address of nobody") bytes[c.at + 3] = 0;
    EXPECT_FALSE(decode_probe(bytes)) << c.name;
  }
  auto port = encode_probe(packet(), kSmallProbe);
  port[kFamily + 5] = port[kFamily + 6] = 0;
  EXPECT_FALSE(decode_probe(port));
}

TEST(ProbePacket, APartOfOneIsNone) {
  const auto bytes = encode_probe(packet(), kSmallProbe);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_probe(std::span(bytes).first(size))) << size;
}

// What is read of damaged bytes is a packet that would be written so, or nothing.
TEST(ProbePacket, DamagedBytesAreReadAsAPacketOrNotAtAll) {
  std::mt19937 random(67);  // NOLINT(cert-msc51-cpp): the same bytes each time
  for (int i = 0; i < 20'000; ++i) {
    auto bytes = encode_probe(packet(), kSmallProbe);
    for (int n = 0; n < 3; ++n) bytes[random() % 48] = static_cast<std::uint8_t>(random());
    const auto read = decode_probe(bytes);
    if (read) {
      EXPECT_EQ(decode_probe(encode_probe(*read, bytes.size())), read);
    }
  }
}

TEST(ServerUrl, IsOfAnAddressAndAPort) {
  for (const char* url :
       {"https://10.0.0.7:6443", "https://[fd00::7]:1", "https://192.0.2.1:65535"}) {
    const auto server = parse_server_url(url);
    ASSERT_TRUE(server) << url;
    EXPECT_EQ(server_url(*server), url);
  }
  for (const char* url : {"",
                          "https://",
                          "https://:",
                          "https://10.0.0.7",
                          "http://10.0.0.7:6443",
                          "https://10.0.0.7:0",
                          "https://10.0.0.7:65536",
                          "https://10.0.0.7:6443/",
                          "https://a:6443",
                          "https://10.0.0.7:",
                          "https://10.0.0.7: 6443",
                          "https://fd00::7:6443",
                          "https://[10.0.0.7]:6443",
                          "https://[fd00::7%eth0]:6443",
                          "https://127.0.0.1:6443",
                          "https://0.0.0.0:6443",
                          "https://169.254.1.1:6443",
                          "https://[fe80::1]:6443",
                          "https://224.0.0.1:6443",
                          "https://u@10.0.0.7:6443",
                          "https://10.0.0.7:-1"})
    EXPECT_FALSE(parse_server_url(url)) << url;
}

}  // namespace
}  // namespace coracle
