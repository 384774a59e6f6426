// The next snapshot of the zone from the last one: only the shards that change are copied.
#include <coracle/api/service.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>
#include <utility>

#include "dns/zone.h"

namespace coracle::dns {
namespace {

using internal::Namespaces;
using internal::ReverseShard;
using internal::ServiceShard;

// An address, and the labels of a name that it leads back to, with an end.
using Pointer = std::pair<Ip, std::string>;

void add_addresses(const PackedAddresses& packed, const std::string& labels,
                   std::vector<Pointer>& out) {
  std::string name = labels;
  name += '\0';
  for (const auto& [bytes, size] : {std::pair(&packed.v4, 4), std::pair(&packed.v6, 16)})
    for (std::size_t at = 0; at < bytes->size(); at += static_cast<std::size_t>(size))
      // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): characters as bytes
      out.emplace_back(Ip::from_bytes(reinterpret_cast<const std::uint8_t*>(bytes->data()) + at,
                                      static_cast<std::size_t>(size)),
                       name);
}

// Sorted, each once.
std::vector<Pointer> pointers_of(const std::string& labels, const ServiceRecords* records) {
  std::vector<Pointer> out;
  if (records == nullptr) return out;
  if (!records->headless) add_addresses(records->addresses, labels, out);
  for (const EndpointRecords& endpoint : records->endpoints)
    add_addresses(endpoint.addresses, wire_label(endpoint.label) + labels, out);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// The first of `names` that is `name` or sorts after it.
std::size_t place_of(const std::string& names, const std::string& name) {
  std::size_t at = 0;
  while (at < names.size()) {
    const std::string_view rest = std::string_view(names).substr(at);
    const std::size_t size = internal::first_name_size(rest);
    if (rest.substr(0, size) >= name) break;
    at += size;
  }
  return at;
}

void add_pointer(ReverseShard& shard, const Pointer& pointer) {
  const auto& [ip, name] = pointer;
  auto found = shard.begin() + (internal::find_pointers(shard, ip) - shard.cbegin());
  if (found == shard.end() || found->ip != ip) found = shard.insert(found, {ip, {}});
  found->names.insert(place_of(found->names, name), name);
}

void remove_pointer(ReverseShard& shard, const Pointer& pointer) {
  const auto& [ip, name] = pointer;
  const auto found = shard.begin() + (internal::find_pointers(shard, ip) - shard.cbegin());
  if (found == shard.end() || found->ip != ip) return;
  const std::size_t at = place_of(found->names, name);
  if (found->names.compare(at, name.size(), name) == 0) found->names.erase(at, name.size());
  if (found->names.empty()) shard.erase(found);
}

}  // namespace

namespace internal {

std::size_t shard_of(std::string_view labels) {
  return StringHash()(labels) % kShards;
}

std::size_t shard_of(const Ip& ip) {
  return std::accumulate(ip.bytes(), ip.bytes() + ip.size() - 1, 0U, std::bit_xor<>()) % kShards;
}

ReverseShard::const_iterator find_pointers(const ReverseShard& shard, const Ip& ip) {
  return std::lower_bound(
      shard.begin(), shard.end(), ip,
      [](const Pointers& pointers, const Ip& wanted) { return pointers.ip < wanted; });
}

std::size_t first_name_size(std::string_view names) {
  std::size_t at = 0;
  while (names[at] != '\0') at += static_cast<unsigned char>(names[at]) + 1U;
  return at + 1;
}

}  // namespace internal

ZoneTable::ZoneTable(const ZoneConfig& config)
    : config_(std::make_shared<const ZoneConfig>(config)) {
  current_.services.fill(std::make_shared<const ServiceShard>());
  current_.reverse.fill(std::make_shared<const ReverseShard>());
  current_.namespaces = std::make_shared<const Namespaces>();
  current_.serial = config.serial;
}

bool ZoneTable::set(const ObjectKey& key, const Service* service, const EndpointSlices& slices) {
  if (key.name.empty() || key.ns.empty() || key.name.size() > kMaxLabel ||
      key.ns.size() > kMaxLabel)
    return false;
  const std::string labels = wire_label(folded(key.name)) + wire_label(folded(key.ns));
  // The longest name below it: two labels of a port, "svc" and the zone.
  const ServiceShard& shard = *current_.services.at(internal::shard_of(labels));
  const auto found = shard.find(labels);
  const auto old = found == shard.end() ? nullptr : found->second;
  const auto now = service == nullptr ? nullptr : compile_service(*service, slices);
  if (old == now || (old && now && *old == *now)) return false;
  replace(key, labels, old, now);
  ++current_.serial;
  return true;
}

void ZoneTable::replace(const ObjectKey& key, const std::string& labels,
                        const std::shared_ptr<const ServiceRecords>& old,
                        const std::shared_ptr<const ServiceRecords>& now) {
  change_reverse(labels, old.get(), now.get());
  auto& shard = current_.services.at(internal::shard_of(labels));
  auto copy = std::make_shared<ServiceShard>(*shard);
  if (now)
    (*copy)[labels] = now;
  else
    copy->erase(labels);
  shard = std::move(copy);
  if ((old == nullptr) == (now == nullptr)) return;
  auto namespaces = std::make_shared<Namespaces>(*current_.namespaces);
  std::size_t& count = (*namespaces)[folded(key.ns)];
  count = now ? count + 1 : count - 1;
  if (count == 0) namespaces->erase(folded(key.ns));
  current_.namespaces = std::move(namespaces);
}

// Only the shards in which something changes are copied.
void ZoneTable::change_reverse(const std::string& labels, const ServiceRecords* old,
                               const ServiceRecords* now) {
  const auto before = pointers_of(labels, old);
  const auto after = pointers_of(labels, now);
  std::vector<Pointer> gone, come;
  std::set_difference(before.begin(), before.end(), after.begin(), after.end(),
                      std::back_inserter(gone));
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                      std::back_inserter(come));
  std::map<std::size_t, std::shared_ptr<ReverseShard>> copies;
  const auto shard = [&](const Pointer& pointer) -> ReverseShard& {
    const std::size_t at = internal::shard_of(pointer.first);
    auto& copy = copies[at];
    if (!copy) copy = std::make_shared<ReverseShard>(*current_.reverse.at(at));
    return *copy;
  };
  for (const Pointer& pointer : gone) remove_pointer(shard(pointer), pointer);
  for (const Pointer& pointer : come) add_pointer(shard(pointer), pointer);
  for (auto& [at, copy] : copies) {
    copy->shrink_to_fit();
    current_.reverse.at(at) = std::move(copy);
  }
}

std::shared_ptr<const Zone> ZoneTable::snapshot() const {
  return std::shared_ptr<const Zone>(new Zone(config_, current_));
}

}  // namespace coracle::dns
