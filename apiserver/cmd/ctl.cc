// Commands that ask a running cluster or remove this node's traces.
#include <apiserver/bootstrap.h>
#include <coracle/http_client.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "commands.h"
#include "process.h"

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

// Server and agent keep nothing else in a data directory. The database has a journal, a lock and
// damaged predecessors, whose names begin with its own.
bool is_ours(const std::string& name) {
  constexpr std::array kOurs = {"agent", "ipam", "kept",      "kubeconfig", "network",
                                "pki",   "pods", "snapshots", "volumes",    ProcessLock::kFile};
  const std::string database = std::filesystem::path(database_path("")).filename();
  return name.starts_with(database) || std::find(kOurs.begin(), kOurs.end(), name) != kOurs.end();
}

// A directory of others' things is left with them.
Result<void> remove_files(const std::string& data_dir) {
  std::string kept;
  std::vector<std::filesystem::path> ours;
  std::error_code error;
  for (std::filesystem::directory_iterator it(data_dir, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    if (is_ours(name)) {
      ours.push_back(it->path());
    } else {
      kept += (kept.empty() ? "" : ", ") + name;
    }
  }
  for (const auto& path : ours) {
    std::filesystem::remove_all(path, error);
    if (error) return Error{Code::Internal, "removing " + path.string() + ": " + error.message()};
  }
  if (kept.empty()) {
    std::filesystem::remove(data_dir, error);
    if (error) return Error{Code::Internal, "removing " + data_dir + ": " + error.message()};
  } else {
    std::cout << data_dir << " stays, as it holds more than this program's files: " << kept << "\n";
  }
  return {};
}

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

Result<void> remove_node(const std::string& data_dir) {
  AgentOptions options{};
  options.data_dir = data_dir;
  // What is in the kernel can be told by its marks.
  if (!exists(data_dir)) return Agent::uninstall(options);
  const auto lock = TRY(ProcessLock::take(data_dir));  // a running agent would restore all of it
  // A server without an agent has nothing there that could be told from another program's.
  if (exists(data_dir + "/pods") || exists(data_dir + "/network")) TRY(Agent::uninstall(options));
  return remove_files(data_dir);
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
  return std::unique_ptr<Client>(TRY(make_http_client(TRY(admin_options(data_dir)))));
}

Result<ClusterDnsFacts> cluster_dns_facts(Client& client) {
  const Object service = TRY(client.get(resources::kServices, {"kube-system", "kube-dns"}));
  ClusterDnsFacts facts{json_string(service.json(), {"spec", "clusterIP"}), ""};
  const auto annotations = service.meta().annotations;
  const auto domain = annotations.find(kClusterDomainAnnotation);
  if (domain != annotations.end()) facts.domain = domain->second;
  if (facts.domain.empty())
    return Error{Code::NotFound, "kube-system/kube-dns is not this cluster's DNS"};
  return facts;
}

std::vector<std::string> names_of(const Object& service, const std::string& domain) {
  std::vector<std::string> out;
  const Json* ports = json_find(service.json(), {"spec", "ports"});
  if (ports == nullptr || !ports->is_array()) return out;
  for (const Json& port : *ports)
    if (json_string(port, {"protocol"}) == "TCP")
      out.push_back("http://" + service.name() + "." + service.ns() + ".svc." + domain + ":" +
                    std::to_string(json_int(port, {"port"})));
  return out;
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
  if (urls)
    for (const auto& url : *urls) std::cout << url << std::endl;
  // Not among the URLs: they are for this machine to use.
  const auto object = (*client)->get(resources::kServices, {ns, service});
  const auto dns = cluster_dns_facts(**client);
  if (object && dns)
    for (const std::string& name : names_of(*object, dns->domain))
      std::cerr << "from Pods: " << name << "\n";
  return urls ? 0 : fail(urls.error());
}

int uninstall(const ServerFlags& flags) {
  std::error_code error;
  const std::string data_dir = std::filesystem::absolute(flags.data_dir, error).lexically_normal();
  const auto removed = remove_node(data_dir);
  return removed ? 0 : fail(removed.error());
}

}  // namespace coracle
