// The wire format itself; see protobuf.h.
#include "protobuf.h"

namespace coracle::protobuf {

bool Reader::fail() {
  ok_ = false;
  rest_ = {};
  return false;
}

bool Reader::read_varint(std::string_view& from, std::uint64_t& out) {
  out = 0;
  for (unsigned shift = 0; shift < 64 && !from.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(from.front());
    from.remove_prefix(1);
    if (shift == 63 && byte > 1) return false;
    out |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80U) return true;
  }
  return false;
}

bool Reader::read_fixed(std::size_t size) {
  if (rest_.size() < size) return fail();
  integer_ = 0;
  for (std::size_t i = 0; i < size; ++i)
    integer_ |= std::uint64_t{static_cast<unsigned char>(rest_[i])} << (8 * i);
  rest_.remove_prefix(size);
  return true;
}

bool Reader::next() {
  if (!ok_ || rest_.empty()) return false;
  std::uint64_t tag = 0;
  if (!read_varint(rest_, tag)) return fail();
  const std::uint64_t number = tag >> 3U;
  if (number == 0 || number >= (1U << 29U)) return fail();
  number_ = static_cast<int>(number);
  switch (tag & 7U) {
    case 0:
      wire_ = Wire::Varint;
      return read_varint(rest_, integer_) || fail();
    case 1:
      wire_ = Wire::Fixed64;
      return read_fixed(8);
    case 2: {
      wire_ = Wire::Bytes;
      std::uint64_t size = 0;
      if (!read_varint(rest_, size) || size > rest_.size()) return fail();
      bytes_ = rest_.substr(0, static_cast<std::size_t>(size));
      rest_.remove_prefix(static_cast<std::size_t>(size));
      return true;
    }
    case 5:
      wire_ = Wire::Fixed32;
      return read_fixed(4);
    default:  // groups are no part of any message here
      return fail();
  }
}

void append_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>((value & 0x7FU) | 0x80U));
    value >>= 7U;
  }
  out.push_back(static_cast<char>(value));
}

void append_bytes(std::string& out, int number, std::string_view value) {
  append_varint(out, (static_cast<std::uint64_t>(number) << 3U) | 2U);
  append_varint(out, value.size());
  out += value;
}

void append_integer(std::string& out, int number, std::uint64_t value) {
  append_varint(out, static_cast<std::uint64_t>(number) << 3U);
  append_varint(out, value);
}

bool is_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x80 && (c < 0xC2 || c > 0xF4)) return false;
    const int extra = c < 0x80 ? 0 : c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
    if (text.size() - i <= static_cast<std::size_t>(extra)) return false;
    std::uint32_t code = extra == 0 ? c : c & (0x3FU >> static_cast<unsigned>(extra));
    for (int k = 1; k <= extra; ++k) {
      const auto next = static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]);
      if ((next & 0xC0U) != 0x80U) return false;
      code = (code << 6U) | (next & 0x3FU);
    }
    const bool overlong = (extra == 2 && code < 0x800) || (extra == 3 && code < 0x10000);
    if (overlong || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    i += static_cast<std::size_t>(extra) + 1;
  }
  return true;
}

}  // namespace coracle::protobuf
