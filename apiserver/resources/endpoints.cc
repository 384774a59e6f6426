// Endpoints and EndpointSlices: lists of addresses that others keep.
#include <coracle/net.h>

#include <nlohmann/json.hpp>
#include <set>

#include "resources/columns.h"
#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr std::size_t kMostSliceEndpoints = 1000;
constexpr std::size_t kMostSlicePorts = 20000;
constexpr std::size_t kMostEndpointAddresses = 100;

// Traffic to these would stay on, or come back to, the node: upstream refuses them, and so do we.
void check_endpoint_ip(const Json& value, const std::string& field, FieldErrors& errors) {
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  const auto ip = Ip::parse(text);
  if (!ip)
    return errors.invalid(field, text,
                          "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
  if (ip->is_unspecified()) errors.invalid(field, text, "may not be unspecified (0.0.0.0 or ::)");
  if (ip->is_loopback())
    errors.invalid(field, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
  if (ip->is_link_local())
    errors.invalid(field, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
  if (ip->is_multicast())
    errors.invalid(field, text,
                   "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
}

void check_addresses(const Json& subset, const char* key, const std::string& path,
                     FieldErrors& errors) {
  const Json& addresses = array_in(subset, key);
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::string field = indexed(path + "." + key, i);
    check_endpoint_ip(text_in(addresses[i], "ip"), field + ".ip", errors);
    const std::string host = text_in(addresses[i], "hostname");
    if (!host.empty())
      if (const std::string problem = dns1123_label_problem(host); !problem.empty())
        errors.invalid(field + ".hostname", host, problem);
    const std::string node = text_in(addresses[i], "nodeName");
    if (!node.empty())
      if (const std::string problem = dns1123_subdomain_problem(node); !problem.empty())
        errors.invalid(field + ".nodeName", node, problem);
  }
}

void check_endpoint_ports(const Json& subset, const std::string& path, FieldErrors& errors) {
  const Json& ports = array_in(subset, "ports");
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string field = indexed(path + ".ports", i);
    const std::string name = text_in(ports[i], "name");
    if (name.empty() && ports.size() > 1) errors.required(field + ".name");
    if (!name.empty())
      if (const std::string problem = dns1123_label_problem(name); !problem.empty())
        errors.invalid(field + ".name", name, problem);
    check_port(number_in(ports[i], "port"), field + ".port", errors);
    check_protocol(ports[i], field + ".protocol", errors);
  }
}

void check_endpoints(const Json& endpoints, FieldErrors& errors) {
  const Json& subsets = array_in(endpoints, "subsets");
  for (std::size_t i = 0; i < subsets.size(); ++i) {
    const std::string path = indexed("subsets", i);
    if (array_in(subsets[i], "addresses").empty() &&
        array_in(subsets[i], "notReadyAddresses").empty())
      errors.required(path, "must specify `addresses` or `notReadyAddresses`");
    check_addresses(subsets[i], "addresses", path, errors);
    check_addresses(subsets[i], "notReadyAddresses", path, errors);
    check_endpoint_ports(subsets[i], path, errors);
  }
}

void check_slice_endpoint(const Json& endpoint, const std::string& type, const std::string& path,
                          FieldErrors& errors) {
  const Json& addresses = array_in(endpoint, "addresses");
  if (addresses.empty()) errors.required(path + ".addresses", "must contain at least 1 address");
  if (addresses.size() > kMostEndpointAddresses)
    errors.too_long(path + ".addresses", "must have at most 100 items");
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::string field = indexed(path + ".addresses", i);
    const std::string text = addresses[i].is_string() ? addresses[i].get<std::string>() : "";
    if (type == "FQDN") {
      if (const std::string problem = dns1123_subdomain_problem(text); !problem.empty())
        errors.invalid(field, text, problem);
      continue;
    }
    check_endpoint_ip(text, field, errors);
    const auto ip = Ip::parse(text);
    if (ip && type == "IPv4" && !ip->is_v4())
      errors.invalid(field, text, "must be an IPv4 address");
    if (ip && type == "IPv6" && !ip->is_v6())
      errors.invalid(field, text, "must be an IPv6 address");
  }
  const std::string host = text_in(endpoint, "hostname");
  if (host.empty()) return;
  if (const std::string problem = dns1123_label_problem(host); !problem.empty())
    errors.invalid(path + ".hostname", host, problem);
}

void check_slice_ports(const Json& slice, FieldErrors& errors) {
  const Json& ports = array_in(slice, "ports");
  if (ports.size() > kMostSlicePorts) errors.too_long("ports", "must have at most 20000 items");
  std::set<std::string> names;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string path = indexed("ports", i);
    const std::string name = text_in(ports[i], "name");
    if (!name.empty())
      if (const std::string problem = dns1123_label_problem(name); !problem.empty())
        errors.invalid(path + ".name", name, problem);
    if (!names.insert(name).second) errors.duplicate(path + ".name", name);
    if (has(ports[i], "port")) check_port(number_in(ports[i], "port"), path + ".port", errors);
    check_protocol(ports[i], path + ".protocol", errors);
  }
}

void check_slice(const Json& slice, FieldErrors& errors) {
  const std::string type = text_in(slice, "addressType");
  if (type.empty()) {
    errors.required("addressType");
  } else {
    check_one_of(slice, "addressType", "addressType", {"FQDN", "IPv4", "IPv6"}, errors);
  }
  const Json& endpoints = array_in(slice, "endpoints");
  if (endpoints.size() > kMostSliceEndpoints)
    errors.too_long("endpoints", "must have at most 1000 items");
  for (std::size_t i = 0; i < endpoints.size() && i < kMostSliceEndpoints; ++i)
    check_slice_endpoint(endpoints[i], type, indexed("endpoints", i), errors);
  check_slice_ports(slice, errors);
}

}  // namespace

ResourceKind endpoints_kind() {
  ResourceKind kind;
  kind.resource = resources::kEndpoints;
  kind.singular = "endpoints";
  kind.short_names = {"ep"};
  kind.schema_type = "core.v1.Endpoints";
  kind.apply_defaults = [](Json& endpoints) {
    if (!endpoints.contains("subsets") || !endpoints["subsets"].is_array()) return;
    for (Json& subset : endpoints["subsets"])
      if (subset.is_object() && subset.contains("ports") && subset["ports"].is_array())
        for (Json& port : subset["ports"])
          if (port.is_object()) set_default(port, "protocol", "TCP");
  };
  kind.validate = check_endpoints;
  kind.columns = columns::endpoints();
  return kind;
}

ResourceKind endpoint_slice_kind() {
  ResourceKind kind;
  kind.resource = resources::kEndpointSlices;
  kind.singular = "endpointslice";
  kind.schema_type = "discovery.v1.EndpointSlice";
  kind.apply_defaults = [](Json& slice) {
    if (!slice.contains("endpoints") || !slice["endpoints"].is_array())
      slice["endpoints"] = Json::array();
    if (!slice.contains("ports") || !slice["ports"].is_array()) return;
    for (Json& port : slice["ports"]) {
      if (!port.is_object()) continue;
      if (!has(port, "name")) port["name"] = "";
      set_default(port, "protocol", "TCP");
    }
  };
  kind.prepare_create = [](Json& slice) { object_in(slice, "metadata")["generation"] = 1; };
  kind.validate = check_slice;
  kind.validate_update = [](const Json& slice, const Json& old, FieldErrors& errors) {
    if (text_in(slice, "addressType") != text_in(old, "addressType"))
      errors.invalid("addressType", text_in(slice, "addressType"), "field is immutable");
  };
  kind.columns = columns::endpoint_slices();
  return kind;
}

}  // namespace coracle
