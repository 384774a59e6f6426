#include "dns/zone.h"

#include <algorithm>
#include <array>
#include <utility>

#include "dns/reverse_name.h"

namespace coracle::dns {
namespace {

constexpr int kMaxAliases = 8;         // of a chain inside the cluster
constexpr std::size_t kMaxLabels = 5;  // "_port._proto.<service>.<ns>.svc" before the zone
constexpr const char* kDnsVersion = "1.1.0";

class Labels {
 public:
  // Those of `wire` from the right, "svc" first; nothing for more than any name of ours has.
  static std::optional<Labels> of(std::string_view wire) {
    Labels out;
    for (std::size_t at = 0; at < wire.size();) {
      if (out.count_ == kMaxLabels) return std::nullopt;
      const std::size_t size = static_cast<unsigned char>(wire[at]);
      out.labels_.at(out.count_++) = wire.substr(at + 1, size);
      at += size + 1;
    }
    std::reverse(out.labels_.begin(), out.labels_.begin() + out.count_);
    return out;
  }
  std::size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  std::string_view front() const { return labels_.front(); }
  std::string_view operator[](std::size_t i) const { return labels_.at(i); }

 private:
  std::array<std::string_view, kMaxLabels> labels_;
  std::size_t count_ = 0;
};

// The wire bytes of two labels that are neighbours in one name.
std::string_view joined(std::string_view first, std::string_view second) {
  return {first.data() - 1, first.size() + second.size() + 2};
}

void put32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    out += static_cast<char>((value >> static_cast<unsigned>(shift)) & 255U);
}

bool is_address(const Cidr& range) {
  return range.prefix == static_cast<int>(range.ip.size() * 8);
}

Name child(const Name& parent, const char* label) {
  const auto name = parent.with_prefix(wire_label(label));
  return name ? *name : parent;
}

void rotate(std::vector<Record>& records, std::uint32_t turn) {
  if (records.size() < 2) return;
  const auto first = static_cast<std::ptrdiff_t>(turn % records.size());
  std::rotate(records.begin(), records.begin() + first, records.end());
}

}  // namespace

// One question's way through the zone.
class Zone::Lookup {
 public:
  Lookup(const Zone& zone, const Question& question, std::uint32_t turn)
      : zone_(zone), config_(zone.config()), question_(question), turn_(turn) {}

  ZoneAnswer run() {
    out_.reply.authoritative = true;
    if (question_.type == type::kAny) return any();
    if (question_.name.is_under(config_.domain))
      forward(question_.name);
    else
      reverse();
    return std::move(out_);
  }

 private:
  enum class Exists { No, Yes };

  // A minimal answer (RFC 8482), whether or not there is such a name.
  ZoneAnswer any() {
    out_.reply.answer.push_back(
        {question_.name, type::kHinfo, config_.ttl, wire_label("RFC8482") + std::string(1, '\0')});
    return std::move(out_);
  }

  void finish(Exists exists, const Name& name) {
    if (!found_.empty()) {
      rotate(found_, turn_);
      if (out_.reply.answer.empty()) return found_.swap(out_.reply.answer);
      std::move(found_.begin(), found_.end(), std::back_inserter(out_.reply.answer));
      return;
    }
    Reply no = zone_.negative(exists == Exists::Yes ? Rcode::NoError : Rcode::NxDomain, name);
    out_.reply.rcode = no.rcode;
    out_.reply.authority = std::move(no.authority);
  }

  void forward(const Name& name) {
    const auto labels = Labels::of(name.below(config_.domain));
    if (!labels) return finish(Exists::No, name);
    if (labels->empty()) return finish(apex(name), name);
    const std::string_view top = labels->front();
    if (top == "svc") return services(name, *labels);
    Exists exists = Exists::No;
    if (top == "pod") exists = pods(name, *labels);
    if (top == "dns") exists = name_server(name, *labels);
    if (top == "dns-version" && labels->size() == 1) {
      exists = Exists::Yes;
      add(name, type::kTxt, wire_label(kDnsVersion));
    }
    finish(exists, name);
  }

  Exists apex(const Name& name) {
    add(name, type::kNs, std::string(zone_server().wire()));
    if (question_.type == type::kSoa) found_.push_back(zone_.soa(name));
    return Exists::Yes;
  }

  Name zone_server() const { return child(child(config_.domain, "dns"), "ns"); }

  Exists name_server(const Name& name, const Labels& labels) {
    if (labels.size() == 1) return Exists::Yes;
    if (labels.size() != 2 || labels[1] != "ns") return Exists::No;
    add_address(name, config_.dns_address);
    return Exists::Yes;
  }

  // Every namespace might have Pods.
  Exists pods(const Name& name, const Labels& labels) {
    if (labels.size() <= 2) return Exists::Yes;
    const auto ip = parse_dashed_v4(labels[2]);
    if (labels.size() != 3 || !ip || !config_.pod_cidr.contains(*ip)) return Exists::No;
    add_address(name, *ip);
    return Exists::Yes;
  }

  void services(const Name& name, const Labels& labels) {
    const bool known = labels.size() < 2 || zone_.snapshot_.namespaces->contains(labels[1]);
    if (labels.size() < 3) return finish(known ? Exists::Yes : Exists::No, name);
    const ServiceRecords* service = find(joined(labels[2], labels[1]));
    if (service == nullptr) return finish(Exists::No, name);
    if (service->external) {
      if (labels.size() == 3) return alias(name, *service->external);
      return finish(Exists::No, name);
    }
    Exists exists = Exists::No;
    if (labels.size() == 3) {
      exists = Exists::Yes;
      add_addresses(name, service->addresses);
    }
    if (labels.size() == 4) exists = below_service(name, *service, labels[3]);
    if (labels.size() == 5) exists = port(name, *service, joined(labels[4], labels[3]));
    finish(exists, name);
  }

  const ServiceRecords* find(std::string_view labels) const {
    const auto& shard = *zone_.snapshot_.services.at(internal::shard_of(labels));
    const auto found = shard.find(labels);
    return found == shard.end() ? nullptr : found->second.get();
  }

  // An endpoint, or the empty name between a Service and its ports.
  Exists below_service(const Name& name, const ServiceRecords& service, std::string_view label) {
    const auto endpoint =
        std::lower_bound(service.endpoints.begin(), service.endpoints.end(), label,
                         [](const EndpointRecords& e, std::string_view l) { return e.label < l; });
    if (endpoint != service.endpoints.end() && endpoint->label == label) {
      add_addresses(name, endpoint->addresses);
      return Exists::Yes;
    }
    const bool protocol =
        std::any_of(service.ports.begin(), service.ports.end(), [&](const PortRecords& port) {
          return std::string_view(port.protocol).substr(1) == label;
        });
    return protocol ? Exists::Yes : Exists::No;
  }

  Exists port(const Name& name, const ServiceRecords& service, std::string_view labels) {
    const auto port =
        std::lower_bound(service.ports.begin(), service.ports.end(), labels,
                         [](const PortRecords& p, std::string_view l) { return p.labels < l; });
    if (port == service.ports.end() || port->labels != labels) return Exists::No;
    if (question_.type == type::kSrv) add_targets(name, service, *port);
    return Exists::Yes;
  }

  // Equal shares of the load, and the addresses that go with them.
  void add_targets(const Name& name, const ServiceRecords& service, const PortRecords& port) {
    const Name owner = Name::from_wire(name.wire().substr(port.labels.size()));
    const auto weight = std::max<std::size_t>(1, 100 / port.targets.size());
    const PackedAddresses* last = nullptr;
    for (const PortRecords::Target& target : port.targets) {
      Name host = owner;
      const PackedAddresses* addresses = &service.addresses;
      if (target.endpoint != PortRecords::kService) {
        const auto& endpoint = service.endpoints.at(static_cast<std::size_t>(target.endpoint));
        const auto longer = owner.with_prefix(wire_label(endpoint.label));
        if (!longer) continue;
        host = *longer;
        addresses = &endpoint.addresses;
      }
      std::string data;
      put32(data, static_cast<std::uint32_t>(weight));  // priority 0, then the weight
      data += static_cast<char>(target.port >> 8U);
      data += static_cast<char>(target.port & 255U);
      add(name, type::kSrv, data.append(host.wire()));
      if (addresses != std::exchange(last, addresses))
        for (const std::uint16_t family : {type::kA, type::kAaaa})
          add_packed(host, family, *addresses, out_.reply.additional);
    }
  }

  // Inside the cluster the chain is followed here.
  void alias(const Name& name, const Name& target) {
    out_.reply.answer.push_back({name, type::kCname, config_.ttl, std::string(target.wire())});
    if (question_.type == type::kCname) return;
    if (!target.is_under(config_.domain)) {
      out_.follow = target;
      return;
    }
    if (++aliases_ < kMaxAliases) return forward(target);
    out_.reply.answer.clear();
    out_.reply.rcode = Rcode::ServFail;
  }

  void reverse() {
    const auto range = parse_reverse(question_.name);
    if (!range) return finish(Exists::No, question_.name);
    if (is_address(*range))
      if (const internal::Pointers* pointers = zone_.pointers_of(range->ip))
        add_pointers(*pointers);
    const Cidr* cidr = zone_.cidr_of(*range);
    if (cidr == nullptr) return finish(Exists::Yes, question_.name);
    const int apex = reverse_zone_bits(*cidr);
    if (range->prefix == apex) add_reverse_apex();
    finish(range->prefix <= apex || leads_anywhere(*range) ? Exists::Yes : Exists::No,
           question_.name);
  }

  bool leads_anywhere(const Cidr& range) const {
    const Ip last = range.last();
    const auto& shards = zone_.snapshot_.reverse;
    return std::any_of(shards.begin(), shards.end(), [&](const auto& shard) {
      const auto next = internal::find_pointers(*shard, range.ip);
      return next != shard->end() && next->ip <= last;
    });
  }

  void add_reverse_apex() {
    add(question_.name, type::kNs, std::string(zone_server().wire()));
    if (question_.type == type::kSoa) found_.push_back(zone_.soa(question_.name));
  }

  void add_pointers(const internal::Pointers& pointers) {
    const Name services = child(config_.domain, "svc");
    for (std::string_view left = pointers.names; !left.empty();) {
      const std::size_t size = internal::first_name_size(left);
      const auto name = services.with_prefix(left.substr(0, size - 1));
      if (name) add(question_.name, type::kPtr, std::string(name->wire()));
      left.remove_prefix(size);
    }
  }

  // Keeps what was asked for.
  void add(const Name& name, std::uint16_t type, std::string data) {
    if (type == question_.type) found_.push_back({name, type, config_.ttl, std::move(data)});
  }
  void add_address(const Name& name, const Ip& ip) {
    Record record = make_address(name, config_.ttl, ip);
    add(name, record.type, std::move(record.data));
  }
  void add_addresses(const Name& name, const PackedAddresses& addresses) {
    if (question_.type != type::kA && question_.type != type::kAaaa) return;
    add_packed(name, question_.type, addresses, found_);
  }
  void add_packed(const Name& name, std::uint16_t type, const PackedAddresses& addresses,
                  std::vector<Record>& out) const {
    const std::string& packed = type == type::kA ? addresses.v4 : addresses.v6;
    const std::size_t size = type == type::kA ? 4 : 16;
    out.reserve(out.size() + packed.size() / size);
    for (std::size_t at = 0; at < packed.size(); at += size)
      out.push_back({name, type, config_.ttl, packed.substr(at, size)});
  }

  const Zone& zone_;
  const ZoneConfig& config_;
  const Question& question_;
  const std::uint32_t turn_;
  int aliases_ = 0;
  std::vector<Record> found_;
  ZoneAnswer out_;
};

bool Zone::owns(const Question& question) const {
  if (question.name.is_under(config_->domain)) return true;
  const auto range = parse_reverse(question.name);
  if (!range) return false;
  if (cidr_of(*range) != nullptr) return true;
  return question.type == type::kPtr && is_address(*range) && pointers_of(range->ip) != nullptr;
}

const Cidr* Zone::cidr_of(const Cidr& range) const {
  for (const Cidr* cidr : {&config_->service_cidr, &config_->pod_cidr})
    if (range.prefix >= cidr->prefix && cidr->contains(range.ip)) return cidr;
  return nullptr;
}

const internal::Pointers* Zone::pointers_of(const Ip& ip) const {
  const internal::ReverseShard& shard = *snapshot_.reverse.at(internal::shard_of(ip));
  const auto found = internal::find_pointers(shard, ip);
  return found == shard.end() || found->ip != ip ? nullptr : &*found;
}

ZoneAnswer Zone::answer(const Question& question, std::uint32_t turn) const {
  return Lookup(*this, question, turn).run();
}

Reply Zone::negative(Rcode rcode, const Name& name) const {
  Name apex = config_->domain;
  if (const auto range = parse_reverse(name); range && !name.is_under(apex))
    if (const Cidr* cidr = cidr_of(*range))
      apex = reverse_name(range->ip, reverse_zone_bits(*cidr));
  Reply reply;
  reply.rcode = rcode;
  reply.authoritative = true;
  reply.authority.push_back(soa(apex));
  return reply;
}

Record Zone::soa(const Name& apex) const {
  std::string data(child(child(config_->domain, "dns"), "ns").wire());
  data.append(child(config_->domain, "hostmaster").wire());
  // serial, refresh, retry, expire; nobody transfers the zone. Then the TTL of what is not there.
  for (const std::uint32_t number : {snapshot_.serial, 7200U, 1800U, 86400U, config_->ttl})
    put32(data, number);
  return {apex, type::kSoa, config_->ttl, std::move(data)};
}

}  // namespace coracle::dns
