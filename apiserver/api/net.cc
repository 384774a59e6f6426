#include <arpa/inet.h>
#include <coracle/net.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace coracle {
namespace {

constexpr std::uint64_t kMaxSize = 1ULL << 63;

// inet_pton takes "010" nowhere, but a string_view needs an end and zones must go.
bool parse_bytes(std::string_view text, int family, std::uint8_t* out) {
  char buffer[INET6_ADDRSTRLEN + 1];
  if (text.empty() || text.size() >= sizeof(buffer)) return false;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  return std::strlen(buffer) == text.size() && inet_pton(family, buffer, out) == 1;
}

Ip masked(const Ip& ip, int prefix, bool fill) {
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), ip.bytes(), ip.size());
  for (int bit = prefix; bit < static_cast<int>(ip.size() * 8); ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80U >> (static_cast<unsigned>(bit) % 8));
    auto& byte = bytes[static_cast<std::size_t>(bit) / 8];
    byte = static_cast<std::uint8_t>(fill ? byte | mask : byte & static_cast<std::uint8_t>(~mask));
  }
  return Ip::from_bytes(bytes.data(), ip.size());
}

}  // namespace

Ip Ip::v4(std::uint32_t host_order) {
  const std::uint32_t network = htonl(host_order);
  std::uint8_t bytes[4];
  std::memcpy(bytes, &network, 4);
  return from_bytes(bytes, 4);
}

Ip Ip::from_bytes(const std::uint8_t* bytes, std::size_t size) {
  Ip ip;
  ip.v6_ = size == 16;
  std::memcpy(ip.bytes_.data(), bytes, size);
  return ip;
}

Result<Ip> Ip::parse(std::string_view text) {
  std::uint8_t bytes[16];
  if (parse_bytes(text, AF_INET, bytes)) return from_bytes(bytes, 4);
  if (parse_bytes(text, AF_INET6, bytes)) return from_bytes(bytes, 16);
  return Error{Code::BadRequest, "\"" + std::string(text) + "\" is not an IP address"};
}

bool Ip::is_loopback() const {
  if (is_v4()) return bytes_[0] == 127;
  std::array<std::uint8_t, 16> one{};
  one[15] = 1;
  return bytes_ == one;
}
bool Ip::is_unspecified() const {
  return bytes_ == std::array<std::uint8_t, 16>{};
}
bool Ip::is_link_local() const {
  if (is_v4()) return bytes_[0] == 169 && bytes_[1] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}
bool Ip::is_multicast() const {
  return is_v4() ? (bytes_[0] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
}

std::uint32_t Ip::to_v4() const {
  std::uint32_t network = 0;
  std::memcpy(&network, bytes_.data(), 4);
  return ntohl(network);
}

Ip Ip::plus(std::uint64_t offset) const {
  Ip out = *this;
  for (std::size_t i = size(); i-- > 0 && offset > 0;) {
    const std::uint64_t sum = out.bytes_[i] + (offset & 0xff);
    out.bytes_[i] = static_cast<std::uint8_t>(sum);
    offset = (offset >> 8) + (sum >> 8);
  }
  return out;
}

std::string Ip::to_string() const {
  char buffer[INET6_ADDRSTRLEN];
  return inet_ntop(v6_ ? AF_INET6 : AF_INET, bytes_.data(), buffer, sizeof(buffer)) == nullptr
             ? ""
             : buffer;
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const Error bad{Code::BadRequest,
                  "\"" + std::string(text) + "\" is not an address range like 10.42.0.0/16"};
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return bad;
  auto ip = Ip::parse(text.substr(0, slash));
  if (!ip) return bad;
  const std::string_view digits = text.substr(slash + 1);
  int prefix = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  const bool leading_zero = digits.size() > 1 && digits[0] == '0';
  if (error != std::errc() || end != digits.data() + digits.size() || leading_zero || prefix < 0 ||
      prefix > static_cast<int>(ip->size() * 8))
    return bad;
  return Cidr{*ip, prefix};
}

Ip Cidr::network() const {
  return masked(ip, prefix, false);
}
Ip Cidr::last() const {
  return masked(ip, prefix, true);
}
bool Cidr::contains(const Ip& address) const {
  return address.is_v6() == ip.is_v6() && masked(address, prefix, false) == network();
}
bool Cidr::overlaps(const Cidr& other) const {
  return contains(other.network()) || other.contains(network());
}

std::uint64_t Cidr::size() const {
  const std::size_t host_bits = ip.size() * 8 - static_cast<std::size_t>(prefix);
  return host_bits >= 63 ? kMaxSize : 1ULL << host_bits;
}

Cidr Cidr::subnet(int new_prefix, std::uint64_t index) const {
  const auto shift = static_cast<unsigned>(static_cast<int>(ip.size() * 8) - new_prefix);
  return {network().plus(index << shift), new_prefix};
}

std::string Cidr::to_string() const {
  return ip.to_string() + "/" + std::to_string(prefix);
}

Result<Mac> Mac::parse(std::string_view text) {
  Mac mac;
  if (text.size() != 17)
    return Error{Code::BadRequest, "\"" + std::string(text) + "\" is not a MAC address"};
  for (std::size_t i = 0; i < 6; ++i) {
    const char* at = text.data() + i * 3;
    const auto [end, error] = std::from_chars(at, at + 2, mac.bytes[i], 16);
    if (error != std::errc() || end != at + 2 || (i < 5 && at[2] != ':'))
      return Error{Code::BadRequest, "\"" + std::string(text) + "\" is not a MAC address"};
  }
  return mac;
}

std::string Mac::to_string() const {
  char text[18];
  (void)std::snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1],
                      bytes[2], bytes[3], bytes[4], bytes[5]);
  return text;
}

}  // namespace coracle
