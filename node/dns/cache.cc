#include "dns/cache.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace coracle::dns {
namespace {

using std::chrono::duration_cast;
using std::chrono::seconds;

constexpr std::size_t kEntryOverhead = 320;   // entry, list and index nodes
constexpr std::size_t kRecordOverhead = 112;  // a Record and what its strings round up to
constexpr auto kWorthFetching = seconds(10);  // shorter TTLs are fetched when they are needed

std::string key_of(const Question& question) {
  std::string key(question.name.wire());
  key += static_cast<char>(question.type >> 8U);
  key += static_cast<char>(question.type & 255U);
  return key;
}

std::size_t size_of(const std::vector<Record>& records) {
  std::size_t sum = 0;
  for (const Record& record : records)
    sum += kRecordOverhead + record.name.wire().size() + record.data.size();
  return sum;
}

// The last four bytes of a SOA: the TTL of what is not there.
std::optional<std::uint32_t> minimum_of(const Record& soa) {
  if (soa.type != type::kSoa || soa.data.size() < 22) return std::nullopt;
  std::uint32_t minimum = 0;
  for (const char c : soa.data.substr(soa.data.size() - 4))
    minimum = (minimum << 8U) | static_cast<unsigned char>(c);
  return std::min(minimum, soa.ttl);
}

void set_ttls(std::vector<Record>& records, std::uint32_t passed, std::uint32_t limit) {
  for (Record& record : records)
    record.ttl = std::min(limit, record.ttl > passed ? record.ttl - passed : 0);
}

}  // namespace

std::uint32_t compute_lifetime(const Question& question, const Reply& reply) {
  if (reply.rcode != Rcode::NoError && reply.rcode != Rcode::NxDomain) return 0;
  std::uint32_t lifetime = std::numeric_limits<std::uint32_t>::max();
  bool answered = false;
  for (const Record& record : reply.answer) {
    lifetime = std::min(lifetime, record.ttl);
    answered = answered || record.type == question.type;
  }
  if (answered && reply.rcode == Rcode::NoError) return lifetime;
  for (const Record& record : reply.authority)
    if (const auto minimum = minimum_of(record)) return std::min(lifetime, *minimum);
  return 0;
}

std::optional<Cache::Found> Cache::find(const Question& question, Time now) {
  const auto found = index_.find(key_of(question));
  if (found == index_.end()) return std::nullopt;
  const auto entry = found->second;
  if (now >= entry->expires + options_.stale_for) {
    erase(entry);
    return std::nullopt;
  }
  entries_.splice(entries_.begin(), entries_, entry);
  Found out{entry->reply, Age::Fresh};
  if (now >= entry->expires) {
    out.age = now < entry->spared_until ? Age::Spared : Age::Stale;
    for (auto* section : {&out.reply.answer, &out.reply.authority})
      for (Record& record : *section) record.ttl = options_.stale_ttl;
    return out;
  }
  const auto passed =
      static_cast<std::uint32_t>(duration_cast<seconds>(now - entry->stored).count());
  const auto left =
      static_cast<std::uint32_t>(duration_cast<seconds>(entry->expires - now).count());
  set_ttls(out.reply.answer, passed, left);
  set_ttls(out.reply.authority, passed, left);
  const auto whole = entry->expires - entry->stored;
  const bool ending = whole >= kWorthFetching && (entry->expires - now) * 10 <= whole;
  if (ending && entry->used && !std::exchange(entry->fetching, true)) out.age = Age::Ending;
  entry->used = true;
  return out;
}

void Cache::put(const Question& question, const Reply& reply, Time now) {
  const auto lifetime = seconds(compute_lifetime(question, reply));
  const std::string key = key_of(question);
  const auto old = index_.find(key);
  if (lifetime == seconds(0)) return;
  if (old != index_.end()) erase(old->second);
  const bool negative = reply.rcode != Rcode::NoError || reply.answer.empty();
  Entry entry;
  entry.key = key;
  entry.reply = reply;
  entry.reply.additional.clear();
  if (!negative) entry.reply.authority.clear();
  entry.stored = now;
  entry.expires = now + std::min(lifetime, negative ? options_.max_negative_ttl : options_.max_ttl);
  entry.bytes = kEntryOverhead + 2 * key.size() + size_of(entry.reply.answer) +
                size_of(entry.reply.authority);
  if (entry.bytes > options_.max_bytes) return;
  bytes_ += entry.bytes;
  entries_.push_front(std::move(entry));
  index_[key] = entries_.begin();
  while (bytes_ > options_.max_bytes) erase(std::prev(entries_.end()));
}

void Cache::failed(const Question& question, Time now) {
  const auto found = index_.find(key_of(question));
  if (found == index_.end()) return;
  found->second->spared_until = now + options_.retry_after;
  found->second->fetching = false;
}

void Cache::erase(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  index_.erase(entry->key);
  entries_.erase(entry);
}

void Cache::clear() {
  entries_.clear();
  index_.clear();
  bytes_ = 0;
}

}  // namespace coracle::dns
