// Addresses as values: parsed once, compared and printed canonically. Thread-safe, no allocation
// but to_string.
#pragma once

#include <coracle/result.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace coracle {

// An IPv4 or IPv6 address. Default: the IPv4 any address. IPv4 sorts before IPv6.
class Ip {
 public:
  Ip() = default;
  static Ip v4(std::uint32_t host_order);
  static Ip from_bytes(const std::uint8_t* bytes, std::size_t size);  // size is 4 or 16
  // Accepts what net/netip of Go accepts: no leading zeros in IPv4, no zone. BadRequest otherwise.
  static Result<Ip> parse(std::string_view text);

  bool is_v4() const { return !v6_; }
  bool is_v6() const { return v6_; }
  bool is_loopback() const;
  bool is_unspecified() const;
  bool is_link_local() const;
  bool is_multicast() const;
  // The IPv4 address in host byte order. REQUIRES: is_v4().
  std::uint32_t to_v4() const;
  const std::uint8_t* bytes() const { return bytes_.data(); }  // network order
  std::size_t size() const { return v6_ ? 16 : 4; }
  // The address `offset` after this one, wrapping.
  Ip plus(std::uint64_t offset) const;
  // RFC 5952 for IPv6.
  std::string to_string() const;
  auto operator<=>(const Ip&) const = default;

 private:
  bool v6_ = false;
  std::array<std::uint8_t, 16> bytes_{};
};

// An address with a prefix length. `ip` keeps its host bits ("10.0.0.5/24"); network() clears them.
struct Cidr {
  Ip ip;
  int prefix = 0;

  static Result<Cidr> parse(std::string_view text);
  Ip network() const;
  // The last address of the range (IPv4: the broadcast address).
  Ip last() const;
  bool contains(const Ip& address) const;
  bool overlaps(const Cidr& other) const;
  // Number of addresses, saturating at 2^63.
  std::uint64_t size() const;
  // The `index`th subnet of `new_prefix` bits inside. REQUIRES: it exists.
  Cidr subnet(int new_prefix, std::uint64_t index) const;
  std::string to_string() const;
  auto operator<=>(const Cidr&) const = default;
};

struct Mac {
  std::array<std::uint8_t, 6> bytes{};
  static Result<Mac> parse(std::string_view text);
  std::string to_string() const;
  auto operator<=>(const Mac&) const = default;
};

using Port = std::uint16_t;

}  // namespace coracle
