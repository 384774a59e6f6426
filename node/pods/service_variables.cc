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

void add_service(std::map<std::string, std::string>& out, const Json& service) {
  const std::string host = json_string(service, {"spec", "clusterIP"});
  const Json* ports = json_find(service, {"spec", "ports"});
  if (!Ip::parse(host) || ports == nullptr || !ports->is_array() || ports->empty()) return;
  const std::string name = upper_name(json_string(service, {"metadata", "name"}));
  const std::string url_host = host.find(':') == std::string::npos ? host : "[" + host + "]";
  bool first = true;
  for (const Json& p : *ports) {
    const std::string port = std::to_string(json_int(p, {"port"}));
    const std::string protocol = json_string(p, {"protocol"});
    std::string lower = protocol;
    for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    const std::string url = lower + "://" + url_host + ":" + port;
    if (first) {
      out[name + "_SERVICE_HOST"] = host;
      out[name + "_SERVICE_PORT"] = port;
      out[name + "_PORT"] = url;
    }
    first = false;
    const std::string port_name = upper_name(json_string(p, {"name"}));
    if (!port_name.empty()) out[name + "_SERVICE_PORT_" + port_name] = port;
    const std::string prefix = name + "_PORT_" + port + "_" + protocol;
    out[prefix] = url;
    out[prefix + "_PROTO"] = lower;
    out[prefix + "_PORT"] = port;
    out[prefix + "_ADDR"] = host;
  }
}

}  // namespace

std::map<std::string, std::string> service_variables(const std::vector<Object>& services) {
  std::map<std::string, std::string> out;
  for (const Object& service : services) add_service(out, service.json());
  return out;
}

}  // namespace coracle::pods
