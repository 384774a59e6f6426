#include "join.h"

#include <coracle/log.h>

#include "authorizer.h"
#include "registry_errors.h"
#include "resources/fields.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr int kMostAttempts = 16;  // a Node's status is written now and then
constexpr const char* kControlPlane = "node-role.kubernetes.io/control-plane";

struct Request {
  std::string node_name;
  bool replace = false;
  SigningRequest key;
};

Result<Request> read_request(const std::string& body) {
  const Json document = TRY(Object::parse(body)).json();
  Request out;
  out.node_name = text_in(document, "nodeName");
  const std::string problem = dns1123_subdomain_problem(out.node_name);
  if (!problem.empty())
    return Error{Code::Invalid, "nodeName \"" + out.node_name.substr(0, 253) + "\": " + problem};
  out.replace = json_bool(document, {"replace"});
  out.key = TRY(read_signing_request(text_in(document, "csr")));
  return out;
}

Json new_node(const Request& request) {
  return {
      {"metadata",
       {{"name", request.node_name},
        {"labels", {{"kubernetes.io/hostname", request.node_name}, {"kubernetes.io/os", "linux"}}},
        {"annotations", {{kNodeKeyAnnotation, request.key.key}}}}}};
}

Error name_taken(const Request& request) {
  return {Code::Conflict, "a node named \"" + request.node_name +
                              "\" is registered already, with another key: choose another "
                              "--node-name, or take its place with --replace"};
}

// The name is the key's from here on. True: done; false: look again.
Result<bool> claim_once(Registry& registry, const ResourceKind& kind, const Request& request) {
  const auto entry = registry.get(kind, {"", request.node_name});
  if (!entry && !is_not_found(entry.error())) return entry.error();
  if (!entry) {
    const auto made = registry.create(kind, "", new_node(request), {});
    if (!made && !is_already_exists(made.error())) return made.error();
    return made.has_value();
  }
  Json node = Json::parse((*entry)->value, nullptr, false);
  const std::string key = json_string(node, {"metadata", "annotations", kNodeKeyAnnotation});
  if (key == request.key.key) return true;
  if (json_find(node, {"metadata", "labels", kControlPlane}) != nullptr)
    return Error{Code::Conflict, "\"" + request.node_name +
                                     "\" is the server's own node: choose another --node-name"};
  if (!request.replace) return name_taken(request);
  Json& metadata = object_in(node, "metadata");
  object_in(metadata, "annotations")[kNodeKeyAnnotation] = request.key.key;
  const auto written = registry.update(kind, {"", request.node_name}, "", std::move(node), {});
  if (!written && !is_conflict(written.error()) && !is_not_found(written.error()))
    return written.error();
  if (written)
    log::info("join", "another machine takes a node's place", {{"node", request.node_name}});
  return written.has_value();
}

Result<void> claim(Registry& registry, const Request& request) {
  const ResourceKind* kind = registry.find("", "v1", "nodes");
  if (kind == nullptr) return Error{Code::Internal, "there are no nodes"};
  for (int i = 0; i < kMostAttempts; ++i)
    if (TRY(claim_once(registry, *kind, request))) return {};
  return modified(resources::kNodes, request.node_name);
}

}  // namespace

Json cluster_facts_json(const ClusterFacts& facts, int port) {
  return {{"podCIDR", facts.pod_cidr.to_string()},
          {"serviceCIDR", facts.service_cidr.to_string()},
          {"clusterDomain", facts.cluster_domain},
          {"clusterDNS", facts.cluster_dns.to_string()},
          {"proxyMode", facts.proxy_mode},
          {"backend", facts.backend},
          {"port", port}};
}

Result<Json> join_node(const JoinOptions& options, const Identity& who, const std::string& body) {
  const Request request = TRY(read_request(body));
  const std::string node = node_of(who);
  if (!node.empty() && (node != request.node_name || who.key != request.key.key))
    return Error{Code::Forbidden,
                 "node \"" + node + "\" can only renew its own certificate, for the same key"};
  TRY(claim(options.registry, request));
  const std::string certificate =
      TRY(options.signer.sign_node(request.key, request.node_name, options.certificate_life));
  log::info("join", node.empty() ? "a node joins" : "a node renews its certificate",
            {{"node", request.node_name}, {"by", who.user}});
  return Json{{"certificate", certificate},
              {"cluster", cluster_facts_json(options.facts, options.port)}};
}

}  // namespace coracle
