// The next snapshot of the zone from the last one: only the shards that change are copied.
#include <coracle/api/service.h>

#include <functional>
#include <utility>

#include "dns/zone.h"

namespace coracle::dns {
namespace {

using internal::Namespaces;
using internal::ReverseShard;
using internal::ServiceShard;

std::size_t shard_of(std::string_view labels) {
  return internal::StringHash()(labels) % internal::kShards;
}

// Calls back with each IPv4 address and the labels of the name it leads back to.
void each_reverse(const std::string& labels, const ServiceRecords& records,
                  const std::function<void(std::uint32_t, const std::string&)>& visit) {
  const auto addresses = [&](const PackedAddresses& packed, const std::string& name) {
    for (std::size_t at = 0; at + 4 <= packed.v4.size(); at += 4) {
      std::uint32_t ip = 0;
      for (std::size_t i = 0; i < 4; ++i)
        ip = (ip << 8U) | static_cast<unsigned char>(packed.v4[at + i]);
      visit(ip, name);
    }
  };
  if (!records.headless) addresses(records.addresses, labels);
  for (const EndpointRecords& endpoint : records.endpoints)
    addresses(endpoint.addresses, wire_label(endpoint.label) + labels);
}

}  // namespace

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
  const ServiceShard& shard = *current_.services.at(shard_of(labels));
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
  if (old) change_reverse(labels, *old, false);
  if (now) change_reverse(labels, *now, true);
  auto& shard = current_.services.at(shard_of(labels));
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

void ZoneTable::change_reverse(const std::string& labels, const ServiceRecords& records, bool add) {
  std::map<std::size_t, std::shared_ptr<ReverseShard>> copies;
  each_reverse(labels, records, [&](std::uint32_t ip, const std::string& name) {
    const std::size_t at = (ip >> 8U) & 0xffU;
    auto& copy = copies[at];
    if (!copy) copy = std::make_shared<ReverseShard>(*current_.reverse.at(at));
    if (add) {
      (*copy)[ip].insert(name);
      return;
    }
    const auto found = copy->find(ip);
    if (found == copy->end()) return;
    found->second.erase(name);
    if (found->second.empty()) copy->erase(found);
  });
  for (auto& [at, copy] : copies) current_.reverse.at(at) = std::move(copy);
}

std::shared_ptr<const Zone> ZoneTable::snapshot() const {
  return std::shared_ptr<const Zone>(new Zone(config_, current_));
}

}  // namespace coracle::dns
