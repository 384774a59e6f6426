// What a Service takes from the cluster's shared ranges, and gives back when its type or ports
// change.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "registry_errors.h"
#include "resources/fields.h"
#include "resources/ip_allocator.h"
#include "resources/kinds.h"

namespace coracle {
namespace {

struct Ranges {
  explicit Ranges(const ResourceOptions& options)
      : addresses(options.service_cidr),
        ports(options.node_port_first, options.node_port_last),
        first(options.service_cidr.network().plus(1)),
        dns(options.cluster_dns) {
    addresses.reserve(first);
    addresses.reserve(dns);
  }
  IpAllocator addresses;
  PortAllocator ports;
  Ip first, dns;
};

// What one Service holds.
struct Holding {
  std::set<Ip> addresses;
  std::set<std::int64_t> ports;
};

bool wants_address(const Json& spec) {
  return text_in(spec, "type") != "ExternalName" && text_in(spec, "clusterIP") != "None";
}

bool wants_node_ports(const Json& spec) {
  const std::string type = text_in(spec, "type");
  if (type == "NodePort") return true;
  return type == "LoadBalancer" && json_bool(spec, {"allocateLoadBalancerNodePorts"}, true);
}

bool may_have_node_ports(const Json& spec) {
  const std::string type = text_in(spec, "type");
  return type == "NodePort" || type == "LoadBalancer";
}

bool wants_health_port(const Json& spec) {
  return text_in(spec, "type") == "LoadBalancer" &&
         text_in(spec, "externalTrafficPolicy") == "Local";
}

Holding held_by(const Json& service) {
  const Json& spec = object_at(service, "spec");
  Holding held;
  if (wants_address(spec))
    if (const auto ip = Ip::parse(text_in(spec, "clusterIP"))) held.addresses.insert(*ip);
  if (may_have_node_ports(spec))
    for (const Json& port : array_in(spec, "ports"))
      if (const auto number = number_in(port, "nodePort"); number != 0) held.ports.insert(number);
  if (const auto number = number_in(spec, "healthCheckNodePort"); number != 0)
    held.ports.insert(number);
  return held;
}

// One number serves both protocols of a port, as upstream shares it (DNS over UDP and TCP).
class Sharing {
 public:
  void add(const Json& port) {
    const std::int64_t number = number_in(port, "nodePort");
    if (number == 0) return;
    numbers_[number_in(port, "port")].insert(number);
    used_.emplace(number, text_in(port, "protocol"));
  }
  // 0: there is none to share.
  std::int64_t for_port(const Json& port) const {
    const auto numbers = numbers_.find(number_in(port, "port"));
    if (numbers == numbers_.end()) return 0;
    const std::string protocol = text_in(port, "protocol");
    for (const std::int64_t number : numbers->second)
      if (used_.count({number, protocol}) == 0) return number;
    return 0;
  }

 private:
  std::map<std::int64_t, std::set<std::int64_t>> numbers_;  // node ports of a port
  std::set<std::pair<std::int64_t, std::string>> used_;     // node port and protocol
};

// One write's allocations. `taken` is given back if the write fails, `freed` once it has happened.
class Session {
 public:
  Session(Ranges& ranges, Json& service, Holding old)
      : ranges_(ranges),
        service_(service),
        spec_(object_in(service, "spec")),
        old_(std::move(old)) {}

  Result<void> run() {
    if (wants_address(spec_)) TRY(take_address());
    if (text_in(spec_, "clusterIP") == "None") spec_["clusterIPs"] = Json::array({"None"});
    if (may_have_node_ports(spec_)) TRY(take_node_ports());
    if (wants_health_port(spec_)) TRY(take_health_port());
    return {};
  }

  const Holding& taken() const { return taken_; }

 private:
  std::string name() const { return json_string(service_, {"metadata", "name"}); }
  std::string ns() const { return json_string(service_, {"metadata", "namespace"}); }

  Error refuse(const std::string& field, const Json& value, const std::string& why) const {
    FieldErrors errors;
    errors.invalid(field, value, why);
    return invalid(resources::kServices, name(), errors);
  }

  // The cluster's own addresses go only to the Services they are for.
  bool reserved_for_another(const Ip& ip) const {
    if (ip == ranges_.first) return ns() != "default" || name() != "kubernetes";
    return ip == ranges_.dns && ns() != "kube-system";
  }

  Result<void> take_address() {
    const std::string text = text_in(spec_, "clusterIP");
    if (text.empty()) {
      const auto any = ranges_.addresses.take_any();
      if (!any) return internal_error("failed to allocate a serviceIP: " + any.error().message);
      taken_.addresses.insert(*any);
      spec_["clusterIP"] = any->to_string();
      spec_["clusterIPs"] = Json::array({any->to_string()});
      return {};
    }
    spec_["clusterIPs"] = Json::array({text});
    const auto ip = Ip::parse(text);
    if (!ip)
      return refuse("spec.clusterIPs[0]", text,
                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    if (old_.addresses.count(*ip) != 0) return {};
    const auto took =
        reserved_for_another(*ip)
            ? Result<void>(Error{Code::AlreadyExists, "provided IP is already allocated"})
            : ranges_.addresses.take(*ip);
    if (!took)
      return refuse("spec.clusterIPs", spec_["clusterIPs"],
                    "failed to allocate IP " + text + ": " + took.error().message);
    taken_.addresses.insert(*ip);
    return {};
  }

  Result<void> take_port(std::int64_t number, const std::string& field) {
    if (old_.ports.count(number) != 0 || taken_.ports.count(number) != 0) return {};
    const auto took = ranges_.ports.take(number);
    if (!took) return refuse(field, number, took.error().message);
    taken_.ports.insert(number);
    return {};
  }

  Result<std::int64_t> take_any_port(const char* what) {
    const auto any = ranges_.ports.take_any();
    if (!any)
      return internal_error(std::string("failed to allocate a ") + what + ": " +
                            any.error().message);
    taken_.ports.insert(*any);
    return std::int64_t{*any};
  }

  Result<void> take_node_ports() {
    if (!spec_.contains("ports") || !spec_["ports"].is_array()) return {};
    Json& ports = spec_["ports"];
    // Requests first, so that an automatic port never takes what a later entry asks for.
    for (std::size_t i = 0; i < ports.size(); ++i)
      if (const auto number = number_in(ports[i], "nodePort"); number != 0)
        TRY(take_port(number, indexed("spec.ports", i) + ".nodePort"));
    if (!wants_node_ports(spec_)) return {};
    Sharing sharing;
    for (const Json& port : ports) sharing.add(port);
    for (Json& port : ports) {
      if (!port.is_object() || number_in(port, "nodePort") != 0) continue;
      const std::int64_t shared = sharing.for_port(port);
      port["nodePort"] = shared != 0 ? shared : TRY(take_any_port("nodePort"));
      sharing.add(port);
    }
    return {};
  }

  Result<void> take_health_port() {
    if (const auto number = number_in(spec_, "healthCheckNodePort"); number != 0)
      return take_port(number, "spec.healthCheckNodePort");
    spec_["healthCheckNodePort"] = TRY(take_any_port("HealthCheck NodePort"));
    return {};
  }

  Ranges& ranges_;
  Json& service_;
  Json& spec_;
  const Holding old_;
  Holding taken_;
};

void give_back(Ranges& ranges, const Holding& holding) {
  for (const Ip& ip : holding.addresses) ranges.addresses.release(ip);
  for (const std::int64_t port : holding.ports) ranges.ports.release(port);
}

Holding no_longer_held(const Holding& old, const Holding& now) {
  Holding freed;
  std::set_difference(old.addresses.begin(), old.addresses.end(), now.addresses.begin(),
                      now.addresses.end(), std::inserter(freed.addresses, freed.addresses.end()));
  std::set_difference(old.ports.begin(), old.ports.end(), now.ports.begin(), now.ports.end(),
                      std::inserter(freed.ports, freed.ports.end()));
  return freed;
}

}  // namespace

std::function<Result<Allocation>(Json*, const Json*, bool)> service_allocator(
    const ResourceOptions& options) {
  auto ranges = std::make_shared<Ranges>(options);
  return [ranges](Json* service, const Json* old, bool dry_run) -> Result<Allocation> {
    const Holding before = old != nullptr ? held_by(*old) : Holding{};
    if (service == nullptr)
      return Allocation{[ranges, before] { give_back(*ranges, before); }, nullptr};
    Session session(*ranges, *service, before);
    const auto done = session.run();
    const Holding taken = session.taken();
    if (!done || dry_run) give_back(*ranges, taken);
    if (!done) return done.error();
    if (dry_run) return Allocation{};
    const Holding freed = no_longer_held(before, held_by(*service));
    return Allocation{[ranges, freed] { give_back(*ranges, freed); },
                      [ranges, taken] { give_back(*ranges, taken); }};
  };
}

}  // namespace coracle
