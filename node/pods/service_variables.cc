// The variables by which a Pod finds Services, as Docker links once named them.
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
              const std::string& host, const ServicePort& service_port) {
  const std::string port = std::to_string(service_port.port);
  const std::string& protocol = service_port.protocol;
  const std::string url_host = host.find(':') == std::string::npos ? host : "[" + host + "]";
  const std::string url = lower_case(protocol) + "://" + url_host + ":" + port;
  // The first port is the one without a name.
  out.emplace(name + "_SERVICE_HOST", host);
  out.emplace(name + "_SERVICE_PORT", port);
  out.emplace(name + "_PORT", url);
  const std::string port_name = upper_name(service_port.name);
  if (!port_name.empty()) out[name + "_SERVICE_PORT_" + port_name] = port;
  const std::string prefix = name + "_PORT_" + port + "_" + protocol;
  out[prefix] = url;
  out[prefix + "_PROTO"] = lower_case(protocol);
  out[prefix + "_PORT"] = port;
  out[prefix + "_ADDR"] = host;
}

}  // namespace

std::map<std::string, std::string> service_variables(const std::vector<Service>& services) {
  std::map<std::string, std::string> out;
  for (const Service& service : services) {
    if (!Ip::parse(service.cluster_ip)) continue;
    for (const ServicePort& port : service.ports)
      add_port(out, upper_name(service.meta.name), service.cluster_ip, port);
  }
  return out;
}

bool wants_links(const NodePod& pod) {
  return json_bool(pod.spec(), {"enableServiceLinks"}, true);
}

std::vector<Service> services_for(const NodePod& pod,
                                  const std::vector<std::shared_ptr<const Service>>& all) {
  const bool links = wants_links(pod);
  std::vector<Service> out;
  const Service* server = nullptr;
  bool own = false;
  for (const auto& service : all) {
    const bool named = service->meta.name == kServerService;
    if (named && service->meta.ns == kServerNamespace) server = service.get();
    if (!links || service->meta.ns != pod.pod.meta.ns) continue;
    own = own || named;
    out.push_back(*service);
  }
  if (server != nullptr && !own) out.push_back(*server);
  return out;
}

}  // namespace coracle::pods
