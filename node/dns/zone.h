// The cluster's names: question -> answer, by the Kubernetes DNS specification 1.1.0, from a
// snapshot of the Services. Pure. A Zone never changes and may be read by any thread; ZoneTable
// makes the next one, which shares with the last what did not change.
//
// An agent knows the Services of the cluster but not all Pods: "a-b-c-d.<ns>.pod.<zone>" is
// computed for every address of the cluster's Pod CIDR, whether or not a Pod has it.
//
// Addresses lead back to the names of Services and of headless Services' endpoints, also where they
// are not of the cluster's CIDRs: of such addresses others may know more, and so the zone speaks
// only for the names that it has.
#pragma once

#include <coracle/net.h>
#include <coracle/object.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "dns/message.h"
#include "dns/name.h"
#include "dns/service_records.h"

namespace coracle::dns {

struct ZoneConfig {
  Name domain;     // "cluster.local."
  Ip dns_address;  // of ns.dns.<domain>, the name in SOA and NS
  Cidr pod_cidr;   // the cluster's
  Cidr service_cidr;
  std::uint32_t ttl = 5;     // seconds, of all records and of negative answers
  std::uint32_t serial = 1;  // of the first snapshot; each further one adds 1
};

struct ZoneAnswer {
  Reply reply;
  // The reply ends in an alias of this name outside the cluster: what it is has to be added.
  std::optional<Name> follow = {};
};

namespace internal {  // what snapshots share

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
// By the Service's label and its namespace's, as they stand in names: "\3web\7default".
using ServiceShard = std::unordered_map<std::string, std::shared_ptr<const ServiceRecords>,
                                        StringHash, std::equal_to<>>;
// What an address leads back to: names below the zone's "svc", in wire format, each with an end of
// its own, sorted.
struct Pointers {
  Ip ip;
  std::string names;
};
using ReverseShard = std::vector<Pointers>;                          // sorted by address
using Namespaces = std::map<std::string, std::size_t, std::less<>>;  // Services with records

inline constexpr std::size_t kShards = 256;
struct Snapshot {
  std::array<std::shared_ptr<const ServiceShard>, kShards> services;
  std::array<std::shared_ptr<const ReverseShard>, kShards> reverse;
  std::shared_ptr<const Namespaces> namespaces;
  std::uint32_t serial = 0;
};

std::size_t shard_of(std::string_view labels);
// Neighbours, those of a /24 or a /120, are in one shard: a node's endpoints are neighbours.
std::size_t shard_of(const Ip& ip);
// The place of `ip` in a shard, or of the next address after it.
ReverseShard::const_iterator find_pointers(const ReverseShard& shard, const Ip& ip);
// The size of the name at the begin of `names`, with its end. REQUIRES: there is one.
std::size_t first_name_size(std::string_view names);

}  // namespace internal

class Zone {
 public:
  // What this zone speaks for: names below the domain, the reverse ones of the Service and Pod
  // CIDRs, and the PTR records that it has of other addresses. Others have to be asked elsewhere.
  bool owns(const Question& question) const;
  // REQUIRES: owns(question). Records of one kind come in turn: the `turn`th first.
  ZoneAnswer answer(const Question& question, std::uint32_t turn) const;
  // NXDOMAIN, or NODATA, with our SOA.
  Reply negative(Rcode rcode, const Name& name) const;
  const ZoneConfig& config() const { return *config_; }
  std::uint32_t serial() const { return snapshot_.serial; }

 private:
  friend class ZoneTable;
  class Lookup;
  // Null for addresses of neither.
  const Cidr* cidr_of(const Cidr& range) const;
  // Null for an address that leads nowhere.
  const internal::Pointers* pointers_of(const Ip& ip) const;
  Record soa(const Name& apex) const;
  Zone(std::shared_ptr<const ZoneConfig> config, internal::Snapshot snapshot)
      : config_(std::move(config)), snapshot_(std::move(snapshot)) {}

  std::shared_ptr<const ZoneConfig> config_;
  internal::Snapshot snapshot_;
};

// Not thread-safe; what snapshot() returns is.
class ZoneTable {
 public:
  explicit ZoneTable(const ZoneConfig& config);
  // The Service as it is now, with its EndpointSlices; null: it is gone. Costs what one Service
  // costs, however many there are. False when nothing in the DNS changes by it.
  bool set(const ObjectKey& key, const Service* service, const EndpointSlices& slices);
  std::shared_ptr<const Zone> snapshot() const;

 private:
  void replace(const ObjectKey& key, const std::string& labels,
               const std::shared_ptr<const ServiceRecords>& old,
               const std::shared_ptr<const ServiceRecords>& now);
  void change_reverse(const std::string& labels, const ServiceRecords* old,
                      const ServiceRecords* now);

  std::shared_ptr<const ZoneConfig> config_;
  internal::Snapshot current_;
};

}  // namespace coracle::dns
