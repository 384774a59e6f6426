#include "probe_packet.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace coracle {
namespace {

constexpr std::array<std::uint8_t, 5> kHead{'C', 'R', 'L', 'P', 1};
constexpr std::size_t kLongestName = 253;  // DNS-1123 subdomain
constexpr std::string_view kScheme = "https://";

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
         });
}

bool is_plausible(const ServerAddress& server) {
  const Ip& ip = server.ip;
  return server.port != 0 && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() &&
         !ip.is_link_local();
}

// Reads from the front; after the first error everything is zero, and ok() says so.
class Cursor {
 public:
  explicit Cursor(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  std::span<const std::uint8_t> take(std::size_t count) {
    ok_ = ok_ && count <= bytes_.size();
    if (!ok_) return {};
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  std::uint64_t number(std::size_t size) {
    std::uint64_t value = 0;
    for (const std::uint8_t byte : take(size)) value = value << 8U | byte;
    return value;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  bool ok_ = true;
};

void put_number(std::vector<std::uint8_t>& out, std::uint64_t value, unsigned size) {
  for (unsigned i = size; i > 0; --i)
    out.push_back(static_cast<std::uint8_t>(value >> (8U * (i - 1)) & 0xffU));
}

}  // namespace

std::string server_url(const ServerAddress& server) {
  const std::string ip = server.ip.to_string();
  return std::string(kScheme) + (server.ip.is_v6() ? "[" + ip + "]" : ip) + ":" +
         std::to_string(server.port);
}

std::optional<ServerAddress> parse_server_url(std::string_view url) {
  const std::size_t colon = url.rfind(':');
  if (!url.starts_with(kScheme) || colon == std::string_view::npos || colon < kScheme.size())
    return std::nullopt;
  std::string_view host = url.substr(kScheme.size(), colon - kScheme.size());
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  const auto ip = Ip::parse(host);
  if (!ip || ip->is_v6() != brackets) return std::nullopt;
  ServerAddress server{*ip};
  const char* const end = url.data() + url.size();
  const auto [stop, error] = std::from_chars(url.data() + colon + 1, end, server.port);
  if (error != std::errc() || stop != end || !is_plausible(server)) return std::nullopt;
  return server;
}

std::vector<std::uint8_t> encode_probe(const ProbePacket& packet, std::size_t size) {
  std::vector<std::uint8_t> out(kHead.begin(), kHead.end());
  out.reserve(size);
  out.push_back(static_cast<std::uint8_t>(packet.type));
  out.push_back(static_cast<std::uint8_t>(packet.kind));
  const std::string_view name = std::string_view(packet.node).substr(0, kLongestName);
  out.push_back(static_cast<std::uint8_t>(name.size()));
  put_number(out, packet.id, 8);
  out.insert(out.end(), name.begin(), name.end());
  if (packet.server) {
    const Ip& ip = packet.server->ip;
    out.push_back(ip.is_v4() ? 4 : 6);
    out.insert(out.end(), ip.bytes(), ip.bytes() + ip.size());
    put_number(out, packet.server->port, 2);
  }
  out.resize(std::max(size, kSmallProbe), 0);
  return out;
}

std::optional<ProbePacket> decode_probe(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < kSmallProbe) return std::nullopt;
  Cursor in(bytes);
  const auto head = in.take(kHead.size());
  const auto type = in.number(1);
  const auto kind = in.number(1);
  const auto length = in.number(1);
  const bool known = std::equal(head.begin(), head.end(), kHead.begin()) &&
                     (type == 1 || type == 2) && kind < kProbeKinds;
  if (!known) return std::nullopt;
  ProbePacket packet;
  packet.type = static_cast<ProbePacket::Type>(type);
  packet.kind = static_cast<ProbeKind>(kind);
  packet.id = in.number(8);
  const auto name = in.take(length);
  packet.node.assign(name.begin(), name.end());
  const auto family = in.number(1);
  if (!is_name(packet.node) || (family != 0 && family != 4 && family != 6)) return std::nullopt;
  if (family != 0) {
    const auto ip = in.take(family == 4 ? 4 : 16);
    const auto port = static_cast<Port>(in.number(2));
    if (!in.ok()) return std::nullopt;
    packet.server = ServerAddress{Ip::from_bytes(ip.data(), ip.size()), port};
    if (!is_plausible(*packet.server)) return std::nullopt;
  }
  return in.ok() ? std::optional(std::move(packet)) : std::nullopt;
}

}  // namespace coracle
