// Commands that ask a running cluster or remove this node's traces.
#include <coracle/http_client.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "commands.h"

namespace coracle {
namespace {

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::from_errno(errno, path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The one "server:" line of a kubeconfig that this program wrote.
Result<std::string> server_url(const std::string& data_dir) {
  std::istringstream lines(TRY(read_file(data_dir + "/kubeconfig")));
  std::string line;
  while (std::getline(lines, line)) {
    const auto at = line.find("server: ");
    if (at == std::string::npos) continue;
    std::string url = line.substr(at + 8);
    url.erase(std::remove(url.begin(), url.end(), '"'), url.end());
    return url;
  }
  return Error{Code::NotFound, data_dir + "/kubeconfig names no server"};
}

}  // namespace

std::string node_address(const Object& node) {
  const Json* addresses = json_find(node.json(), {"status", "addresses"});
  if (addresses == nullptr || !addresses->is_array()) return "";
  for (const Json& a : *addresses)
    if (json_string(a, {"type"}) == "InternalIP") return json_string(a, {"address"});
  return "";
}

Result<HttpClientOptions> admin_options(const std::string& data_dir) {
  HttpClientOptions options;
  options.server = TRY(server_url(data_dir));
  options.ca_pem = TRY(read_file(data_dir + "/pki/ca.crt"));
  options.client_cert_pem = TRY(read_file(data_dir + "/pki/admin.crt"));
  options.client_key_pem = TRY(read_file(data_dir + "/pki/admin.key"));
  return options;
}

Result<std::unique_ptr<Client>> admin_client(const std::string& data_dir) {
  return make_http_client(TRY(admin_options(data_dir)));
}

Result<std::vector<std::string>> service_urls(Client& client, const ObjectKey& key) {
  const Object service = TRY(client.get(resources::kServices, key));
  const auto nodes = TRY(client.list(resources::kNodes, {}));
  std::vector<std::string> urls;
  const Json* ports = json_find(service.json(), {"spec", "ports"});
  if (ports == nullptr) ports = &service.json();  // ExternalName: no ports, no URL
  for (const Object& node : nodes.items) {
    const std::string address = node_address(node);
    if (address.empty() || !ports->is_array()) continue;
    for (const Json& port : *ports)
      if (const auto number = json_int(port, {"nodePort"}); number > 0)
        urls.push_back("http://" + address + ":" + std::to_string(number));
    if (!urls.empty()) break;  // every node serves every node port: one is enough
  }
  if (urls.empty()) {
    return Error{Code::BadRequest, "service " + key.to_string() + " has no node port (type " +
                                       json_string(service.json(), {"spec", "type"}) +
                                       "), so there is no URL from outside"};
  }
  return urls;
}

int print_url(const std::string& data_dir, const std::string& ns, const std::string& service) {
  auto client = admin_client(data_dir);
  if (!client) return fail(client.error());
  const auto urls = service_urls(**client, {ns, service});
  if (!urls) return fail(urls.error());
  for (const auto& url : *urls) std::cout << url << "\n";
  return 0;
}

int uninstall(const ServerFlags& flags) {
  AgentOptions options{};
  std::error_code error;
  options.data_dir = std::filesystem::absolute(flags.data_dir, error);
  const auto removed = Agent::uninstall(options);
  std::filesystem::remove_all(options.data_dir, error);
  if (error) return fail({Code::Internal, "removing " + options.data_dir + ": " + error.message()});
  return removed ? 0 : fail(removed.error());
}

}  // namespace coracle
