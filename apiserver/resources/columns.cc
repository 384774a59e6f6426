#include "resources/columns.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "print_table.h"
#include "resources/fields.h"

namespace coracle::columns {
namespace {

std::string join(const std::vector<std::string>& parts, const char* separator = ",") {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : separator) + part;
  return out;
}

std::string first_three(const std::vector<std::string>& all) {
  if (all.size() <= 3) return join(all);
  return join({all.begin(), all.begin() + 3}) + " + " + std::to_string(all.size() - 3) + " more...";
}

std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> out;
  for (const Json& item : list)
    if (item.is_string()) out.push_back(item.get<std::string>());
  return out;
}

std::string host_port(const std::string& ip, std::int64_t port) {
  return (ip.find(':') == std::string::npos ? ip : "[" + ip + "]") + ":" + std::to_string(port);
}

std::string endpoints_text(const Json& endpoints) {
  std::vector<std::string> all;
  for (const Json& subset : array_in(endpoints, "subsets")) {
    const Json& ports = array_in(subset, "ports");
    for (const Json& address : array_in(subset, "addresses"))
      if (ports.empty()) all.push_back(text_in(address, "ip"));
    for (const Json& port : ports)
      for (const Json& address : array_in(subset, "addresses"))
        all.push_back(host_port(text_in(address, "ip"), number_in(port, "port")));
  }
  return or_none(first_three(all));
}

std::string slice_ports(const Json& slice) {
  std::vector<std::string> all;
  for (const Json& port : array_in(slice, "ports")) {
    if (has(port, "port"))
      all.push_back(std::to_string(number_in(port, "port")));
    else
      all.push_back(text_in(port, "name").empty() ? "*" : text_in(port, "name"));
  }
  return all.empty() ? "<unset>" : first_three(all);
}

std::string slice_endpoints(const Json& slice) {
  std::vector<std::string> all;
  for (const Json& endpoint : array_in(slice, "endpoints"))
    for (const std::string& address : strings(array_in(endpoint, "addresses")))
      all.push_back(address);
  return all.empty() ? "<unset>" : first_three(all);
}

std::string load_balancer_addresses(const Json& service) {
  std::set<std::string> all;
  for (const Json& ingress :
       array_in(object_at(object_at(service, "status"), "loadBalancer"), "ingress")) {
    const std::string ip = text_in(ingress, "ip");
    all.insert(ip.empty() ? text_in(ingress, "hostname") : ip);
  }
  return join({all.begin(), all.end()});
}

std::string external_ip(const Json& service) {
  const Json& spec = object_at(service, "spec");
  const std::string type = text_in(spec, "type");
  const std::string external = join(strings(array_in(spec, "externalIPs")));
  if (type == "ExternalName") return text_in(spec, "externalName");
  if (type != "LoadBalancer") return or_none(external);
  const std::string balancer = load_balancer_addresses(service);
  if (balancer.empty() && external.empty()) return "<pending>";
  return balancer + (balancer.empty() || external.empty() ? "" : ",") + external;
}

std::string service_ports(const Json& service) {
  std::vector<std::string> all;
  for (const Json& port : array_in(object_at(service, "spec"), "ports")) {
    std::string text = std::to_string(number_in(port, "port"));
    if (const auto node_port = number_in(port, "nodePort"); node_port > 0)
      text += ":" + std::to_string(node_port);
    all.push_back(text + "/" + text_in(port, "protocol"));
  }
  return or_none(join(all));
}

std::string cluster_ip(const Json& service) {
  const auto ips = strings(array_in(object_at(service, "spec"), "clusterIPs"));
  return ips.empty() ? "<none>" : or_none(ips.front());
}

std::string node_status(const Json& node) {
  std::string status = "Unknown";
  for (const Json& c : array_in(object_at(node, "status"), "conditions"))
    if (text_in(c, "type") == "Ready")
      status = text_in(c, "status") == "True" ? "Ready" : "NotReady";
  return status + (json_bool(node, {"spec", "unschedulable"}) ? ",SchedulingDisabled" : "");
}

std::string node_roles(const Json& node) {
  constexpr std::string_view kPrefix = "node-role.kubernetes.io/";
  std::set<std::string> roles;
  for (const auto& [key, value] : object_at(object_at(node, "metadata"), "labels").items()) {
    if (key.starts_with(kPrefix) && key.size() > kPrefix.size())
      roles.insert(key.substr(kPrefix.size()));
    if (key == "kubernetes.io/role" && value.is_string() && value != "")
      roles.insert(value.get<std::string>());
  }
  return or_none(join({roles.begin(), roles.end()}));
}

std::string node_address(const Json& node, const char* type) {
  for (const Json& address : array_in(object_at(node, "status"), "addresses"))
    if (text_in(address, "type") == type) return text_in(address, "address");
  return "<none>";
}

std::string node_fact(const Json& node, const char* key) {
  const std::string value = json_string(node, {"status", "nodeInfo", key});
  return value.empty() ? "<unknown>" : value;
}

std::string last_seen(const Json& event) {
  for (const std::string& time :
       {json_string(event, {"series", "lastObservedTime"}), text_in(event, "lastTimestamp"),
        text_in(event, "firstTimestamp"), text_in(event, "eventTime")})
    if (!time.empty()) return time;
  return "";
}

std::string first_seen(const Json& event) {
  const std::string first = text_in(event, "firstTimestamp");
  return first.empty() ? text_in(event, "eventTime") : first;
}

std::string event_object(const Json& event) {
  std::string kind = json_string(event, {"involvedObject", "kind"});
  std::transform(kind.begin(), kind.end(), kind.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return kind + "/" + json_string(event, {"involvedObject", "name"});
}

std::string event_source(const Json& event) {
  std::string component = json_string(event, {"source", "component"});
  if (component.empty()) component = text_in(event, "reportingComponent");
  std::string host = json_string(event, {"source", "host"});
  if (host.empty()) host = text_in(event, "reportingInstance");
  return component + (host.empty() ? "" : ", " + host);
}

std::string trimmed(const std::string& value) {
  const std::size_t from = value.find_first_not_of(" \t\r\n");
  if (from == std::string::npos) return "";
  return value.substr(from, value.find_last_not_of(" \t\r\n") - from + 1);
}

Column time_column(const char* name, const char* description, Text time, int priority = 0) {
  return {
      name,     "string",
      "",       description,
      priority, [time](const Json& o, const Clock& clock) { return Json(age_of(time(o), clock)); }};
}

}  // namespace

std::string or_none(const std::string& text) {
  return text.empty() ? "<none>" : text;
}

std::string selector_text(const Json& map) {
  std::vector<std::string> all;
  for (const auto& [key, value] : map.items())
    if (value.is_string()) all.push_back(key + "=" + value.get<std::string>());
  return or_none(join(all));
}

Column name() {
  return {"Name",
          "string",
          "name",
          "Name must be unique within a namespace.",
          0,
          [](const Json& o, const Clock&) { return Json(json_string(o, {"metadata", "name"})); }};
}

Column age() {
  return time_column("Age", "Time since the object was created.", [](const Json& o) {
    return json_string(o, {"metadata", "creationTimestamp"});
  });
}

Column text(const char* name, const char* description, Text cell, int priority) {
  return {name,        "string", "",
          description, priority, [cell](const Json& o, const Clock&) { return Json(cell(o)); }};
}

Column number(const char* name, const char* description, std::int64_t (*cell)(const Json& object)) {
  return {name,        "integer", "",
          description, 0,         [cell](const Json& o, const Clock&) { return Json(cell(o)); }};
}

std::vector<Column> services() {
  return {
      name(),
      text("Type", "How the Service is reached.",
           [](const Json& o) {
             return json_string(o, {"spec", "type"});
           }),
      text("Cluster-IP", "The address inside the cluster.", cluster_ip),
      text("External-IP", "The addresses outside the cluster.", external_ip),
      text("Port(s)", "port:nodePort/protocol of each port.", service_ports),
      age(),
      text(
          "Selector", "The labels of the Pods behind it.",
          [](const Json& o) { return selector_text(object_at(object_at(o, "spec"), "selector")); },
          1)};
}

std::vector<Column> endpoints() {
  return {name(), text("Endpoints", "The ready addresses and ports.", endpoints_text), age()};
}

std::vector<Column> endpoint_slices() {
  return {name(),
          text("AddressType", "What the addresses are.",
               [](const Json& o) { return text_in(o, "addressType"); }),
          text("Ports", "The ports of every endpoint.", slice_ports),
          text("Endpoints", "The addresses.", slice_endpoints), age()};
}

std::vector<Column> nodes() {
  return {name(),
          text("Status", "Whether the node is ready.", node_status),
          text("Roles", "The node's role labels.", node_roles),
          age(),
          text("Version", "The version the node runs.",
               [](const Json& o) {
                 return json_string(o, {"status", "nodeInfo", "kubeletVersion"});
               }),
          text(
              "Internal-IP", "Its address in the cluster.",
              [](const Json& o) { return node_address(o, "InternalIP"); }, 1),
          text(
              "External-IP", "Its address outside.",
              [](const Json& o) { return node_address(o, "ExternalIP"); }, 1),
          text(
              "OS-Image", "Its operating system.",
              [](const Json& o) { return node_fact(o, "osImage"); }, 1),
          text(
              "Kernel-Version", "Its kernel.",
              [](const Json& o) { return node_fact(o, "kernelVersion"); }, 1),
          text(
              "Container-Runtime", "What runs its Pods.",
              [](const Json& o) { return node_fact(o, "containerRuntimeVersion"); }, 1)};
}

std::vector<Column> namespaces() {
  return {name(),
          text("Status", "Active or Terminating.",
               [](const Json& o) {
                 return json_string(o, {"status", "phase"});
               }),
          age()};
}

std::vector<Column> config_maps() {
  return {name(),
          number("Data", "How many keys it has.",
                 [](const Json& o) {
                   return static_cast<std::int64_t>(object_at(o, "data").size() +
                                                    object_at(o, "binaryData").size());
                 }),
          age()};
}

std::vector<Column> secrets() {
  return {
      name(),
      text("Type", "What the Secret is for.", [](const Json& o) { return text_in(o, "type"); }),
      number("Data", "How many keys it has.",
             [](const Json& o) { return static_cast<std::int64_t>(object_at(o, "data").size()); }),
      age()};
}

std::vector<Column> service_accounts() {
  return {name(),
          number("Secrets", "How many Secrets it may use.",
                 [](const Json& o) {
                   return static_cast<std::int64_t>(array_in(o, "secrets").size());
                 }),
          age()};
}

std::vector<Column> events() {
  Column event_name = name();
  event_name.priority = 1;
  Column count = number("Count", "How often it was seen.", [](const Json& o) {
    const std::int64_t series = json_int(o, {"series", "count"});
    return std::max<std::int64_t>(1, series != 0 ? series : number_in(o, "count"));
  });
  count.priority = 1;
  return {time_column("Last Seen", "When it was last seen.", last_seen),
          text("Type", "Normal or Warning.", [](const Json& o) { return text_in(o, "type"); }),
          text("Reason", "Why, in one word.", [](const Json& o) { return text_in(o, "reason"); }),
          text("Object", "What it is about.", event_object),
          text(
              "Subobject", "The part it is about.",
              [](const Json& o) {
                return json_string(o, {"involvedObject", "fieldPath"});
              },
              1),
          text("Source", "Who reported it.", event_source, 1),
          text("Message", "What happened.",
               [](const Json& o) { return trimmed(text_in(o, "message")); }),
          time_column("First Seen", "When it was first seen.", first_seen, 1),
          count,
          event_name};
}

std::vector<Column> leases() {
  return {name(),
          text("Holder", "Who holds it.",
               [](const Json& o) {
                 return json_string(o, {"spec", "holderIdentity"});
               }),
          age()};
}

}  // namespace coracle::columns
