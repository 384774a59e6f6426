// Join tokens, and the credential that an agent keeps.
#include <coracle/api/node.h>
#include <coracle/files.h>
#include <coracle/join.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "node_key.h"

namespace coracle {
namespace {

constexpr std::size_t kIdSize = 6, kSecretSize = 16, kHashSize = 64;
constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::string_view kHex = "0123456789abcdef";
constexpr const char* kServerName = "kubernetes";

Result<std::string> part(std::string_view text, const char* what, std::size_t size,
                         std::string_view alphabet) {
  const std::string name = std::string("the join token's ") + what;
  if (text.size() != size)
    return Error{Code::BadRequest, name + " has " + std::to_string(text.size()) +
                                       " characters instead of " + std::to_string(size)};
  if (text.find_first_not_of(alphabet) != std::string_view::npos)
    return Error{Code::BadRequest, name + " has a character other than " +
                                       (alphabet == kHex ? "0-9 and a-f" : "a-z and 0-9")};
  return std::string(text);
}

std::string credential_path(const std::string& directory) {
  return directory + "/credential.json";
}

Result<NodeCredential> read_credential(const std::string& directory, const Json& json) {
  NodeCredential out;
  out.node_name = json_string(json, {"nodeName"});
  out.servers = json_string_list(json, {"servers"});
  out.ca_pem = json_string(json, {"ca"});
  out.certificate_pem = json_string(json, {"certificate"});
  out.key_pem = TRY(read_whole_file(directory + "/node.key"));
  out.renew_at = parse_time(json_string(json, {"renewAt"}));
  const Json* cluster = json_find(json, {"cluster"});
  if (out.node_name.empty() || out.servers.empty() || cluster == nullptr)
    return Error{Code::Internal, "it is not complete"};
  out.cluster = TRY(read_cluster_settings(*cluster));
  TRY(certificate_der(out.ca_pem));
  TRY(certificate_end(out.certificate_pem, out.key_pem));
  return out;
}

}  // namespace

Result<ClusterSettings> read_cluster_settings(const Json& json) {
  ClusterSettings out;
  out.pod_cidr = TRY(Cidr::parse(json_string(json, {"podCIDR"})));
  out.service_cidr = TRY(Cidr::parse(json_string(json, {"serviceCIDR"})));
  out.cluster_domain = json_string(json, {"clusterDomain"});
  out.cluster_dns = TRY(Ip::parse(json_string(json, {"clusterDNS"})));
  out.proxy_mode = json_string(json, {"proxyMode"});
  out.backend = json_string(json, {"backend"});
  return out;
}

Result<JoinToken> JoinToken::parse(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  const std::size_t end = text.find_last_not_of(kSpace);
  text = text.substr(begin, end == std::string_view::npos ? 0 : end + 1 - begin);
  const std::size_t first = text.find('.');
  const std::size_t second = first == std::string_view::npos ? first : text.find('.', first + 1);
  if (text.empty()) return Error{Code::BadRequest, "the join token is empty"};
  if (second == std::string_view::npos || text.find('.', second + 1) != std::string_view::npos)
    return Error{Code::BadRequest,
                 "the join token does not have three parts, ID.SECRET.HASH: was all of it copied?"};
  JoinToken out;
  out.id = TRY(part(text.substr(0, first), "id", kIdSize, kAlphabet));
  out.secret =
      TRY(part(text.substr(first + 1, second - first - 1), "secret", kSecretSize, kAlphabet));
  out.ca_hash = TRY(part(text.substr(second + 1), "hash", kHashSize, kHex));
  return out;
}

Result<std::string> certificate_hash(const std::string& pem) {
  return sha256_of(TRY(certificate_der(pem)));
}

HttpClientOptions NodeCredential::client_options() const {
  HttpClientOptions out;
  out.server = servers.empty() ? "" : servers.front();
  out.ca_pem = ca_pem;
  out.client_cert_pem = certificate_pem;
  out.client_key_pem = key_pem;
  out.server_name = kServerName;
  return out;
}

bool remember_servers(NodeCredential& credential, const std::vector<Object>& control_plane) {
  if (credential.servers.empty()) return false;
  const std::string port = credential.servers.front().substr(credential.servers.front().rfind(':'));
  std::vector<std::string> all = {credential.servers.front()};
  const auto add = [&](const std::string& server) {
    if (all.size() < kMostServers && std::find(all.begin(), all.end(), server) == all.end())
      all.push_back(server);
  };
  for (const Object& node : control_plane) {
    const auto decoded = Node::decode(node);
    if (!decoded) continue;
    for (const std::string& address : decoded->internal_ips) {
      const auto ip = Ip::parse(address);
      if (!ip) continue;
      std::string server = "https://";
      server += ip->is_v4() ? address : "[" + address + "]";
      add(server + port);
    }
  }
  for (const std::string& server : credential.servers) add(server);
  if (all == credential.servers) return false;
  credential.servers = std::move(all);
  return true;
}

Result<NodeCredential> load_credential(const std::string& directory) {
  const std::string path = credential_path(directory);
  const std::string text = TRY(read_whole_file(path));
  auto credential = read_credential(directory, Json::parse(text, nullptr, false));
  if (!credential)
    return Error{Code::Internal, path + " is damaged: " + credential.error().message};
  return credential;
}

Result<void> store_credential(const std::string& directory, const NodeCredential& credential) {
  const ClusterSettings& cluster = credential.cluster;
  const Json document = {{"nodeName", credential.node_name},
                         {"servers", credential.servers},
                         {"ca", credential.ca_pem},
                         {"certificate", credential.certificate_pem},
                         {"renewAt", format_time(credential.renew_at)},
                         {"cluster",
                          {{"podCIDR", cluster.pod_cidr.to_string()},
                           {"serviceCIDR", cluster.service_cidr.to_string()},
                           {"clusterDomain", cluster.cluster_domain},
                           {"clusterDNS", cluster.cluster_dns.to_string()},
                           {"proxyMode", cluster.proxy_mode},
                           {"backend", cluster.backend}}}};
  return write_file_atomically(credential_path(directory), document.dump(2) + "\n", 0600);
}

}  // namespace coracle
