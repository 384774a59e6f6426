// Protobuf on the wire: a bounds-checked reader and a small writer. No reflection, no allocation
// beyond the output. What a field means comes from the schema (protobuf.cc, openapi_v2.cc).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace coracle::protobuf {

enum class Wire { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

// Reads fields one after the other. The first malformed byte makes it fail for good: ok() turns
// false and next() stops.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  // False at the end of the message and after an error.
  bool next();
  bool ok() const { return ok_; }
  // The field that next() stood on.
  int number() const { return number_; }
  Wire wire() const { return wire_; }
  std::uint64_t integer() const { return integer_; }  // Varint, Fixed64, Fixed32
  std::string_view bytes() const { return bytes_; }   // Bytes
  // A varint out of the middle of packed values.
  static bool read_varint(std::string_view& from, std::uint64_t& out);

 private:
  bool fail();
  bool read_fixed(std::size_t size);

  std::string_view rest_;
  bool ok_ = true;
  int number_ = 0;
  Wire wire_ = Wire::Varint;
  std::uint64_t integer_ = 0;
  std::string_view bytes_;
};

void append_varint(std::string& out, std::uint64_t value);
void append_bytes(std::string& out, int number, std::string_view value);
void append_integer(std::string& out, int number, std::uint64_t value);

// Valid UTF-8 as RFC 3629 says: no surrogates, no overlong forms.
bool is_utf8(std::string_view text);

}  // namespace coracle::protobuf
