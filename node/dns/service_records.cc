#include "dns/service_records.h"

#include <coracle/api/endpoint_slice.h>
#include <coracle/api/service.h>

#include <algorithm>
#include <map>
#include <set>

namespace coracle::dns {
namespace {

bool usable_label(const std::string& label) {
  return !label.empty() && label.size() <= kMaxLabel;
}

// Nothing for an unnamed port, which has no record (2.3.2).
std::optional<PortRecords> port_of(const std::string& name, const std::string& protocol) {
  const std::string proto = protocol.empty() ? "TCP" : protocol;
  if (!usable_label(name) || name.size() + 1 > kMaxLabel || proto.size() + 1 > kMaxLabel)
    return std::nullopt;
  PortRecords out;
  out.protocol = folded(wire_label("_" + proto));
  out.labels = folded(wire_label("_" + name)) + out.protocol;
  return out;
}

bool ready(const Endpoint& endpoint, const Service& service) {
  return service.publish_not_ready_addresses || endpoint.ready.value_or(true);
}

// Endpoints by label, then what their slices say of ports.
class Headless {
 public:
  explicit Headless(const Service& service) : service_(service) {}

  void add(const EndpointSlice& slice) {
    if (slice.meta.deleting() || slice.address_type == "FQDN") return;
    for (const Endpoint& endpoint : slice.endpoints) {
      if (!ready(endpoint, service_) || endpoint.addresses.empty()) continue;
      // Addresses beyond the first are aliases, which upstream ignores too.
      const auto ip = Ip::parse(endpoint.addresses.front());
      if (!ip) continue;
      const std::string label =
          usable_label(endpoint.hostname) ? folded(endpoint.hostname) : dashed(*ip);
      addresses_[label].insert(*ip);
      for (const EndpointPort& port : slice.ports) add_port(port, label);
    }
  }

  ServiceRecords records() const {
    ServiceRecords out{
        .addresses = {}, .endpoints = {}, .ports = {}, .external = {}, .headless = true};
    std::set<Ip> all;
    std::map<std::string, int> index;
    for (const auto& [label, ips] : addresses_) {
      index[label] = static_cast<int>(out.endpoints.size());
      out.endpoints.push_back({label, {}});
      for (const Ip& ip : ips) out.endpoints.back().addresses.add(ip);
      all.insert(ips.begin(), ips.end());
    }
    for (const Ip& ip : all) out.addresses.add(ip);
    for (const auto& [labels, targets] : targets_) {
      PortRecords port{labels, protocols_.at(labels), {}};
      for (const auto& [label, number] : targets) port.targets.push_back({number, index.at(label)});
      out.ports.push_back(std::move(port));
    }
    return out;
  }

 private:
  void add_port(const EndpointPort& port, const std::string& label) {
    const auto named = port_of(port.name, port.protocol);
    const std::int64_t number = port.port.value_or(0);
    if (!named || number < 1 || number > 65535) return;
    targets_[named->labels].insert({label, static_cast<Port>(number)});
    protocols_[named->labels] = named->protocol;
  }

  const Service& service_;
  std::map<std::string, std::set<Ip>> addresses_;
  std::map<std::string, std::set<std::pair<std::string, Port>>> targets_;
  std::map<std::string, std::string> protocols_;
};

ServiceRecords cluster_ip_records(const Service& service) {
  ServiceRecords out;
  std::vector<std::string> ips = service.cluster_ips;
  if (ips.empty()) ips.push_back(service.cluster_ip);
  for (const std::string& text : ips)
    if (const auto ip = Ip::parse(text)) out.addresses.add(*ip);
  for (const auto& port : service.ports) {
    auto named = port_of(port.name, port.protocol);
    if (!named || port.port < 1 || port.port > 65535) continue;
    named->targets.push_back({static_cast<Port>(port.port)});
    out.ports.push_back(std::move(*named));
  }
  std::sort(out.ports.begin(), out.ports.end(),
            [](const PortRecords& a, const PortRecords& b) { return a.labels < b.labels; });
  out.ports.shrink_to_fit();
  return out;
}

}  // namespace

void PackedAddresses::add(const Ip& ip) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as characters
  (ip.is_v4() ? v4 : v6).append(reinterpret_cast<const char*>(ip.bytes()), ip.size());
}

std::shared_ptr<const ServiceRecords> compile_service(const Service& service,
                                                      const EndpointSlices& slices) {
  ServiceRecords out;
  if (service.type == "ExternalName") {
    const auto target = Name::parse(service.external_name);
    if (!target || target->is_root()) return nullptr;
    out.external = *target;
  } else if (service.headless()) {
    Headless headless(service);
    for (const auto& slice : slices) headless.add(*slice);
    out = headless.records();
  } else {
    out = cluster_ip_records(service);
  }
  if (out.addresses.empty() && !out.external) return nullptr;
  return std::make_shared<const ServiceRecords>(std::move(out));
}

std::string dashed(const Ip& ip) {
  std::string out = ip.to_string();
  std::replace(out.begin(), out.end(), ip.is_v4() ? '.' : ':', '-');
  // No label begins or ends with a dash.
  if (out.starts_with('-')) out.insert(0, "0");
  if (out.ends_with('-')) out += "0";
  return out;
}

std::optional<Ip> parse_dashed_v4(std::string_view label) {
  std::string text(label);
  if (text.find('.') != std::string::npos) return std::nullopt;
  std::replace(text.begin(), text.end(), '-', '.');
  const auto ip = Ip::parse(text);
  if (!ip || !ip->is_v4()) return std::nullopt;
  return *ip;
}

}  // namespace coracle::dns
