// The variables by which a Pod finds Services, as Docker links once named them.
#include <nlohmann/json.hpp>

#include "pods/pod_env.h"

namespace coracle::pods {
namespace {

std::string upper_name(std::string name) {
  for (char& c : name) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (c == '-' || c == '.') c = '_';
  }
  return name;
}

std::string lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

// `name` is the Service's, in capitals.
void add_port(std::map<std::string, std::string>& out, const std::string& name,
              const std::string& host, const Json& service_port) {
  const std::string port = std::to_string(json_int(service_port, {"port"}));
  const std::string protocol = json_string(service_port, {"protocol"});
  const std::string url_host = host.find(':') == std::string::npos ? host : "[" + host + "]";
  const std::string url = lower_case(protocol) + "://" + url_host + ":" + port;
  // The first port is the one without a name.
  out.emplace(name + "_SERVICE_HOST", host);
  out.emplace(name + "_SERVICE_PORT", port);
  out.emplace(name + "_PORT", url);
  const std::string port_name = upper_name(json_string(service_port, {"name"}));
  if (!port_name.empty()) out[name + "_SERVICE_PORT_" + port_name] = port;
  const std::string prefix = name + "_PORT_" + port + "_" + protocol;
  out[prefix] = url;
  out[prefix + "_PROTO"] = lower_case(protocol);
  out[prefix + "_PORT"] = port;
  out[prefix + "_ADDR"] = host;
}

void add_service(std::map<std::string, std::string>& out, const Json& service) {
  const std::string host = json_string(service, {"spec", "clusterIP"});
  const Json* ports = json_find(service, {"spec", "ports"});
  if (!Ip::parse(host) || ports == nullptr || !ports->is_array()) return;
  const std::string name = upper_name(json_string(service, {"metadata", "name"}));
  for (const Json& port : *ports) add_port(out, name, host, port);
}

}  // namespace

std::map<std::string, std::string> service_variables(const std::vector<Object>& services) {
  std::map<std::string, std::string> out;
  for (const Object& service : services) add_service(out, service.json());
  return out;
}

}  // namespace coracle::pods
