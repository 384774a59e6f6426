// The rules of iptables-legacy as the kernel tells them to getsockopt: it sends no events, so this
// is how a change by others is noticed. Reads only.
#pragma once

#include <coracle/result.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace coracle {

class LegacyTables {
 public:
  // Of the calling thread's network namespace.
  static Result<LegacyTables> open();
  LegacyTables(LegacyTables&& other) noexcept;
  LegacyTables& operator=(LegacyTables&& other) noexcept;
  LegacyTables(const LegacyTables&) = delete;
  LegacyTables& operator=(const LegacyTables&) = delete;
  ~LegacyTables();

  // What a look of two microseconds shows of a table: any rule more or less changes it, an edit in
  // place does not. All zero for a table that the kernel does not have.
  struct Size {
    std::uint32_t rules = 0, bytes = 0;
    bool operator==(const Size&) const = default;
  };
  Result<Size> size(const std::string& table) const;

  // A hash of the rules of those chains of which `own` says so, and of the rules that jump to them;
  // counters and the rules of others leave it as it is. Copies the table: 0.6 µs for each rule,
  // 20 ms for 1,000 Services of five endpoints.
  Result<std::uint64_t> fingerprint(const std::string& table,
                                    const std::function<bool(const std::string&)>& own) const;

 private:
  explicit LegacyTables(int fd) : fd_(fd) {}
  int fd_;
};

// What the blob of a table (ip_tables' struct ipt_entry, one after the other) hashes to. Pure.
// `hooks`: where the built-in chains begin, by hook number; -1 for those that the table lacks.
std::uint64_t fingerprint(std::string_view blob, const std::array<int, 5>& hooks,
                          const std::function<bool(const std::string&)>& own);

}  // namespace coracle
