// Domain names as values: uncompressed wire format (length, label, ..., 0), letters folded to lower
// case, at most 255 bytes, so that equal names are equal bytes. Pure, thread-safe.
#pragma once

#include <coracle/result.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace coracle::dns {

inline constexpr std::size_t kMaxName = 255;  // RFC 1035, 2.3.4
inline constexpr std::size_t kMaxLabel = 63;

using Bytes = std::span<const std::uint8_t>;

// 'A'..'Z' to lower case, whatever the locale.
inline char fold(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
std::string folded(std::string_view bytes);

class Name {
 public:
  Name() : wire_(1, '\0') {}  // the root
  // "a.b" or "a.b."; no escapes. BadRequest for empty or long labels and long names.
  static Result<Name> parse(std::string_view text);
  // Takes bytes that name_size() has measured.
  static Name from_wire(std::string_view wire) { return Name(folded(wire)); }
  // As from_wire, in the memory that this name has.
  void assign_wire(std::string_view wire);

  std::string_view wire() const { return wire_; }
  bool is_root() const { return wire_.size() == 1; }
  std::size_t label_count() const;
  // This name is `ancestor`, or below it.
  bool is_under(const Name& ancestor) const;
  // The labels before `ancestor`, in wire format without the end. REQUIRES: is_under(ancestor).
  std::string_view below(const Name& ancestor) const {
    return wire().substr(0, wire_.size() - ancestor.wire_.size());
  }
  // The name of whole labels (in wire format, without the end) before this one; BadRequest when
  // it is too long.
  Result<Name> with_prefix(std::string_view labels) const;
  std::string to_string() const;  // "a.b."; odd bytes as \DDD
  bool operator==(const Name&) const = default;

 private:
  explicit Name(std::string wire) : wire_(std::move(wire)) {}
  std::string wire_;
};

// "label" -> "\5label". REQUIRES: 1 to 63 bytes.
std::string wire_label(std::string_view label);
// The size of the uncompressed name at `at`; 0 when there is none: a pointer, too long, or cut off.
std::size_t name_size(Bytes bytes, std::size_t at);

}  // namespace coracle::dns
