// What upstream servers have said, for as long as it holds, and longer when they are gone (RFC
// 2308, RFC 8767). Bounded memory, the least recently used goes first. No clock of its own, no I/O.
// Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>

#include "dns/message.h"

namespace coracle::dns {

struct CacheOptions {
  std::size_t max_bytes = std::size_t{4} << 20;
  std::chrono::seconds max_ttl{3600};
  std::chrono::seconds max_negative_ttl{300};
  std::chrono::seconds stale_for{86'400};  // beyond its TTL
  std::uint32_t stale_ttl = 30;            // of stale records in answers (RFC 8767, 5)
  std::chrono::seconds retry_after{5};     // after a failure, what is stale is good for so long
};

class Cache {
 public:
  using Time = std::chrono::steady_clock::time_point;
  explicit Cache(CacheOptions options = {}) : options_(options) {}

  enum class Age {
    Fresh,
    Ending,  // fresh, and asked for again: to be fetched anew before it ends. Said once.
    Stale,   // only if it cannot be fetched
    Spared,  // stale, and could not be fetched just now: to be taken as it is
  };
  struct Found {
    Reply reply;  // TTLs are what is left of them
    Age age = Age::Fresh;
  };
  std::optional<Found> find(const Question& question, Time now);
  // Keeps the reply if it is one that says something: records, or that there are none with a SOA
  // that says for how long.
  void put(const Question& question, const Reply& reply, Time now);
  // It could not be fetched.
  void failed(const Question& question, Time now);

  std::size_t bytes() const { return bytes_; }
  std::size_t size() const { return entries_.size(); }
  void clear();

 private:
  struct Entry {
    std::string key;
    Reply reply;
    Time stored, expires, spared_until;
    std::size_t bytes = 0;
    bool used = false, fetching = false;
  };
  using Entries = std::list<Entry>;  // the most recently used first

  void erase(Entries::iterator entry);

  const CacheOptions options_;
  Entries entries_;
  std::unordered_map<std::string, Entries::iterator> index_;
  std::size_t bytes_ = 0;
};

// For how long a reply holds; 0: not to be kept.
std::uint32_t compute_lifetime(const Question& question, const Reply& reply);

}  // namespace coracle::dns
