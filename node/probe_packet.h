// The packets by which nodes test the way to each other, as bytes. Pure.
//
//   0  "CRLP"    4  version 1    5  type    6  kind    7  length of the name
//   8  id, 8 bytes               16 the sender's node name
//   then the address family of the announced server (0: none, 4, 6), its address, its port;
//   zeros up to the packet's size. Numbers are in network order.
#pragma once

#include <coracle/net.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coracle {

inline constexpr Port kProbePort = 8473;  // UDP
// What is tested: the way, the way for packets without UDP checksum, the way for packets as large
// as Pods may send.
enum class ProbeKind : std::uint8_t { Small = 0, NoChecksum = 1, Large = 2 };
inline constexpr std::size_t kProbeKinds = 3;
// The bytes of all but the large ones. Every packet's fields fit, so an answer is never larger
// than what it answers.
inline constexpr std::size_t kSmallProbe = 288;

// Where a server says that it serves the API.
struct ServerAddress {
  Ip ip;
  Port port = 0;
  auto operator<=>(const ServerAddress&) const = default;
};
// "https://10.0.0.7:6443", "https://[fd00::7]:6443".
std::string server_url(const ServerAddress& server);
// Nothing when it is no such URL, or of an address that cannot be another machine's.
std::optional<ServerAddress> parse_server_url(std::string_view url);

struct ProbePacket {
  enum class Type : std::uint8_t { Request = 1, Answer = 2 };
  Type type = Type::Request;
  ProbeKind kind = ProbeKind::Small;
  std::uint64_t id = 0;  // an answer repeats the request's: nobody off the path can know it
  std::string node;      // the sender's
  std::optional<ServerAddress> server = {};
  bool operator==(const ProbePacket&) const = default;
};
// Of `size` bytes, at least kSmallProbe. REQUIRES: a node name as the API allows it.
std::vector<std::uint8_t> encode_probe(const ProbePacket& packet, std::size_t size);
// Nothing when the bytes are no such packet.
std::optional<ProbePacket> decode_probe(std::span<const std::uint8_t> bytes);

}  // namespace coracle
