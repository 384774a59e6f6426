#include "dns/zone.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace coracle::dns {
namespace {

constexpr int kMaxAliases = 8;         // of a chain inside the cluster
constexpr std::size_t kMaxLabels = 5;  // "_port._proto.<service>.<ns>.svc" before the zone
constexpr const char* kDnsVersion = "1.1.0";

// The labels of `wire` from the right, "svc" first; nothing for more than any name of ours has.
std::optional<std::vector<std::string_view>> labels_of(std::string_view wire) {
  std::vector<std::string_view> out;
  out.reserve(kMaxLabels);
  for (std::size_t at = 0; at < wire.size();) {
    if (out.size() == kMaxLabels) return std::nullopt;
    const std::size_t size = static_cast<unsigned char>(wire[at]);
    out.push_back(wire.substr(at + 1, size));
    at += size + 1;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

// The wire bytes of two labels that are neighbours in one name.
std::string_view joined(std::string_view first, std::string_view second) {
  return {first.data() - 1, first.size() + second.size() + 2};
}

// What an in-addr.arpa name of 1 to 4 numbers stands for.
std::optional<Cidr> reverse_range(const Name& name) {
  static const Name arpa = *Name::parse("in-addr.arpa");
  if (!name.is_under(arpa)) return std::nullopt;
  const auto labels = labels_of(name.below(arpa));
  if (!labels || labels->empty() || labels->size() > 4) return std::nullopt;
  std::uint32_t ip = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    unsigned byte = 0;
    if (i < labels->size()) {
      const std::string_view text = (*labels)[i];
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), byte);
      const bool canonical = text.size() == 1 || text.front() != '0';
      if (error != std::errc() || end != text.data() + text.size() || byte > 255 || !canonical)
        return std::nullopt;
    }
    ip = (ip << 8U) | byte;
  }
  return Cidr{Ip::v4(ip), static_cast<int>(labels->size() * 8)};
}

bool inside(const Cidr& range, const Cidr& outer) {
  return outer.ip.is_v4() && range.prefix >= outer.prefix && outer.contains(range.ip);
}

// The reverse zone that an owned name belongs to: the CIDR's bytes, rounded up, but no single
// address.
Name reverse_apex(const Cidr& range, const Cidr& outer) {
  const int bytes = std::min((outer.prefix + 7) / 8, 3);
  std::string text = "in-addr.arpa";
  for (int i = 0; i < std::max(bytes, 1); ++i)
    text.insert(
        0,
        std::to_string((range.ip.to_v4() >> (24U - 8U * static_cast<unsigned>(i))) & 255U) + ".");
  return *Name::parse(text);
}

void put32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8)
    out += static_cast<char>((value >> static_cast<unsigned>(shift)) & 255U);
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
      std::move(found_.begin(), found_.end(), std::back_inserter(out_.reply.answer));
      return;
    }
    Reply no = zone_.negative(exists == Exists::Yes ? Rcode::NoError : Rcode::NxDomain, name);
    out_.reply.rcode = no.rcode;
    out_.reply.authority = std::move(no.authority);
  }

  void forward(const Name& name) {
    const auto labels = labels_of(name.below(config_.domain));
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

  Exists name_server(const Name& name, const std::vector<std::string_view>& labels) {
    if (labels.size() == 1) return Exists::Yes;
    if (labels.size() != 2 || labels[1] != "ns") return Exists::No;
    add_address(name, config_.dns_address);
    return Exists::Yes;
  }

  // Every namespace might have Pods.
  Exists pods(const Name& name, const std::vector<std::string_view>& labels) {
    if (labels.size() <= 2) return Exists::Yes;
    const auto ip = parse_dashed_v4(labels[2]);
    if (labels.size() != 3 || !ip || !config_.pod_cidr.contains(*ip)) return Exists::No;
    add_address(name, *ip);
    return Exists::Yes;
  }

  void services(const Name& name, const std::vector<std::string_view>& labels) {
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
    const std::size_t at = internal::StringHash()(labels) % internal::kShards;
    const auto& shard = *zone_.snapshot_.services.at(at);
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
        add_packed(host, *addresses, out_.reply.additional);
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
    const auto range = reverse_range(question_.name);
    if (!range) return finish(Exists::No, question_.name);
    const std::uint32_t first = range->ip.to_v4();
    const std::uint32_t last = range->last().to_v4();
    bool exists = range->prefix <= 8 * static_cast<int>(apex_of_reverse(*range));
    for (const auto& shard : zone_.snapshot_.reverse) {
      const auto found = shard->lower_bound(first);
      if (found == shard->end() || found->first > last) continue;
      exists = true;
      if (range->prefix == 32) add_pointers(found->second);
      break;
    }
    add_reverse_apex(*range);
    finish(exists ? Exists::Yes : Exists::No, question_.name);
  }

  std::size_t apex_of_reverse(const Cidr& range) const {
    const Cidr& outer =
        inside(range, config_.service_cidr) ? config_.service_cidr : config_.pod_cidr;
    return reverse_apex(range, outer).label_count() - 2;
  }

  void add_reverse_apex(const Cidr& range) {
    if (range.prefix != 8 * static_cast<int>(apex_of_reverse(range))) return;
    add(question_.name, type::kNs, std::string(zone_server().wire()));
    if (question_.type == type::kSoa) found_.push_back(zone_.soa(question_.name));
  }

  void add_pointers(const std::set<std::string>& names) {
    for (const std::string& below : names) {
      const auto name = child(config_.domain, "svc").with_prefix(below);
      if (name) add(question_.name, type::kPtr, std::string(name->wire()));
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
    std::vector<Record> all;
    add_packed(name, addresses, all);
    for (Record& record : all) add(name, record.type, std::move(record.data));
  }
  void add_packed(const Name& name, const PackedAddresses& addresses,
                  std::vector<Record>& out) const {
    for (std::size_t at = 0; at < addresses.v4.size(); at += 4)
      out.push_back({name, type::kA, config_.ttl, addresses.v4.substr(at, 4)});
    for (std::size_t at = 0; at < addresses.v6.size(); at += 16)
      out.push_back({name, type::kAaaa, config_.ttl, addresses.v6.substr(at, 16)});
  }

  const Zone& zone_;
  const ZoneConfig& config_;
  const Question& question_;
  const std::uint32_t turn_;
  int aliases_ = 0;
  std::vector<Record> found_;
  ZoneAnswer out_;
};

bool Zone::owns(const Name& name) const {
  if (name.is_under(config_->domain)) return true;
  const auto range = reverse_range(name);
  return range && (inside(*range, config_->service_cidr) || inside(*range, config_->pod_cidr));
}

ZoneAnswer Zone::answer(const Question& question, std::uint32_t turn) const {
  return Lookup(*this, question, turn).run();
}

Reply Zone::negative(Rcode rcode, const Name& name) const {
  Name apex = config_->domain;
  if (const auto range = reverse_range(name); range && !name.is_under(apex))
    apex = reverse_apex(
        *range, inside(*range, config_->service_cidr) ? config_->service_cidr : config_->pod_cidr);
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
