#include "dns/reverse_name.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

namespace coracle::dns {
namespace {

using AddressBytes = std::array<std::uint8_t, 16>;

struct Family {
  Name zone;
  std::size_t size;         // bytes of an address
  int bits;                 // of a label
  int base;                 // of its number
  std::size_t most_digits;  // of it
};

const Family& family(bool v6) {
  static const Family four{*Name::parse("in-addr.arpa"), 4, 8, 10, 3};
  static const Family six{*Name::parse("ip6.arpa"), 16, 4, 16, 1};
  return v6 ? six : four;
}

// Only as it is written: no leading zero.
std::optional<unsigned> number_of(std::string_view label, const Family& family) {
  if (label.empty() || label.size() > family.most_digits) return std::nullopt;
  if (label.size() > 1 && label.front() == '0') return std::nullopt;
  unsigned number = 0;
  const char* end = label.data() + label.size();
  const auto [read, error] = std::from_chars(label.data(), end, number, family.base);
  if (error != std::errc() || read != end || number >> static_cast<unsigned>(family.bits) != 0)
    return std::nullopt;
  return number;
}

// The leftmost label is the last part of the address.
std::optional<Cidr> parse_family(std::string_view labels, const Family& family) {
  std::array<unsigned, 32> numbers{};
  const std::size_t most = family.size * 8 / static_cast<std::size_t>(family.bits);
  std::size_t count = 0;
  for (std::size_t at = 0; at < labels.size(); ++count) {
    const std::size_t size = static_cast<unsigned char>(labels[at]);
    const auto number = number_of(labels.substr(at + 1, size), family);
    if (!number || count == most) return std::nullopt;
    numbers.at(count) = *number;
    at += size + 1;
  }
  if (count == 0) return std::nullopt;
  AddressBytes bytes{};
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t bit = i * static_cast<std::size_t>(family.bits);
    const unsigned shift = 8U - static_cast<unsigned>(family.bits) - bit % 8;
    bytes.at(bit / 8) |= static_cast<std::uint8_t>(numbers.at(count - 1 - i) << shift);
  }
  return Cidr{Ip::from_bytes(bytes.data(), family.size), static_cast<int>(count) * family.bits};
}

}  // namespace

std::optional<Cidr> parse_reverse(const Name& name) {
  for (const bool v6 : {false, true}) {
    const Family& one = family(v6);
    if (name.is_under(one.zone)) return parse_family(name.below(one.zone), one);
  }
  return std::nullopt;
}

Name reverse_name(const Ip& ip, int bits) {
  const Family& one = family(ip.is_v6());
  std::string text = one.zone.to_string();
  for (int at = 0; at < bits; at += one.bits) {
    const int shift = 8 - one.bits - at % 8;
    const unsigned number = (static_cast<unsigned>(ip.bytes()[at / 8]) >> shift) &
                            ((1U << static_cast<unsigned>(one.bits)) - 1U);
    std::array<char, 4> digits{};
    const auto end =
        std::to_chars(digits.data(), digits.data() + digits.size(), number, one.base).ptr;
    text.insert(0, std::string(digits.data(), end) + ".");
  }
  return *Name::parse(text);
}

int reverse_zone_bits(const Cidr& range) {
  const int label = family(range.ip.is_v6()).bits;
  const int whole = (range.prefix + label - 1) / label * label;
  return std::clamp(whole, label, static_cast<int>(range.ip.size() * 8) - label);
}

}  // namespace coracle::dns
