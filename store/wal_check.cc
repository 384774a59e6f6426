#include "wal_check.h"

#include <cstdint>

namespace coracle {
namespace {

constexpr std::size_t kHeader = 32;
constexpr std::size_t kFrameHeader = 24;
constexpr std::uint32_t kMagic = 0x377f0682;  // its lowest bit: sums are of big-endian words
constexpr std::uint32_t kVersion = 3007000;

std::uint32_t big_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 4; ++i) word = word << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return word;
}
std::uint32_t little_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t word = 0;
  for (std::size_t i = 4; i-- > 0;) word = word << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return word;
}

struct Sum {
  bool big = false;
  std::uint32_t first = 0, second = 0;
  void add(std::string_view bytes) {
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      first += (big ? big_endian(bytes, i) : little_endian(bytes, i)) + second;
      second += (big ? big_endian(bytes, i + 4) : little_endian(bytes, i + 4)) + first;
    }
  }
  bool is(std::string_view bytes, std::size_t at) const {
    return first == big_endian(bytes, at) && second == big_endian(bytes, at + 4);
  }
};

// With synchronous=FULL a transaction starts only after the one before it has been synced. So a bad
// frame, then a commit of the same generation (salts), then yet another frame of it: what is bad
// had been on the disk, whole.
bool was_synced(std::string_view bytes, std::size_t bad_frame, std::size_t frame_size) {
  bool committed = false;
  for (std::size_t at = bad_frame; at + frame_size <= bytes.size(); at += frame_size) {
    if (bytes.substr(at + 8, 8) != bytes.substr(16, 8)) continue;
    if (committed) return true;
    committed = big_endian(bytes, at + 4) != 0;
  }
  return false;
}

}  // namespace

std::string wal_damage(std::string_view bytes) {
  // SQLite syncs the header before it writes the first frame: less than that says nothing.
  const bool zeros = bytes.substr(0, kHeader).find_first_not_of('\0') == std::string_view::npos;
  if (bytes.size() < kHeader || (bytes.size() == kHeader && zeros)) return "";
  Sum sum;
  const std::uint32_t magic = big_endian(bytes, 0);
  sum.big = (magic & 1) != 0;
  sum.add(bytes.substr(0, 24));
  if ((magic & ~1U) != kMagic || big_endian(bytes, 4) != kVersion || !sum.is(bytes, 24))
    return "the header of its log is damaged";
  const std::size_t page = big_endian(bytes, 8);
  if (page < 512 || page > 65536) return "the header of its log is damaged";
  const std::size_t frame_size = kFrameHeader + page;
  std::size_t at = kHeader;
  for (; at + frame_size <= bytes.size(); at += frame_size) {
    if (bytes.substr(at + 8, 8) != bytes.substr(16, 8)) break;
    sum.add(bytes.substr(at, 8));
    sum.add(bytes.substr(at + kFrameHeader, page));
    if (!sum.is(bytes, at + 16)) break;
  }
  if (was_synced(bytes, at, frame_size)) return "its log is damaged at byte " + std::to_string(at);
  return "";
}

}  // namespace coracle
