#include "bootstrap.h"

#include <coracle/tunnel.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

constexpr const char* kNamespaces[] = {"default", "kube-system", "kube-public", "kube-node-lease"};

Result<const ResourceKind*> kind_of(const Registry& registry, const Resource& resource) {
  const ResourceKind* kind = registry.find(resource.group, resource.version, resource.plural);
  if (kind == nullptr) return Error{Code::Internal, "bootstrap: no kind " + resource.plural};
  return kind;
}

Result<void> create_missing(Registry& registry, const Resource& resource, const std::string& ns,
                            Json object) {
  const ResourceKind* kind = TRY(kind_of(registry, resource));
  const auto created = registry.create(*kind, ns, std::move(object), {});
  if (!created && !is_already_exists(created.error()))
    return created.error().context("creating the built-in " + resource.plural);
  return {};
}

// Creates the object, or replaces what an earlier start wrote: the server's address may have
// changed.
Result<void> put(Registry& registry, const Resource& resource, const ObjectKey& key,
                 const Json& object) {
  const ResourceKind* kind = TRY(kind_of(registry, resource));
  const auto updated = registry.update(*kind, key, "", object, {});
  if (updated) return {};
  if (!is_not_found(updated.error()))
    return updated.error().context("updating " + resource.plural + " " + key.name);
  return create_missing(registry, resource, key.ns, object);
}

Json kubernetes_service(const BootstrapOptions& options) {
  return {{"metadata",
           {{"name", "kubernetes"},
            {"labels", {{"component", "apiserver"}, {"provider", "kubernetes"}}}}},
          {"spec",
           {{"type", "ClusterIP"},
            {"clusterIP", options.service_cidr.network().plus(1).to_string()},
            {"ports", Json::array({{{"name", "https"},
                                    {"protocol", "TCP"},
                                    {"port", 443},
                                    {"targetPort", options.server_port}}})}}}};
}

Json kubernetes_endpoints(const BootstrapOptions& options) {
  return {
      {"metadata",
       {{"name", "kubernetes"}, {"labels", {{"endpointslice.kubernetes.io/skip-mirror", "true"}}}}},
      {"subsets",
       Json::array({{{"addresses", Json::array({{{"ip", options.server_address.to_string()}}})},
                     {"ports", Json::array({{{"name", "https"},
                                             {"port", options.server_port},
                                             {"protocol", "TCP"}}})}}})}};
}

Json kubernetes_slice(const BootstrapOptions& options) {
  return {
      {"metadata",
       {{"name", "kubernetes"},
        {"labels",
         {{"kubernetes.io/service-name", "kubernetes"},
          {"endpointslice.kubernetes.io/managed-by", "coracle-apiserver"}}}}},
      {"addressType", options.server_address.is_v4() ? "IPv4" : "IPv6"},
      {"endpoints", Json::array({{{"addresses", Json::array({options.server_address.to_string()})},
                                  {"conditions", {{"ready", true}}}}})},
      {"ports",
       Json::array({{{"name", "https"}, {"port", options.server_port}, {"protocol", "TCP"}}})}};
}

// The port of the server may differ from the last start's; everything else of the Service is kept.
Result<void> ensure_service(Registry& registry, const BootstrapOptions& options) {
  const Resource& resource = resources::kServices;
  TRY(create_missing(registry, resource, "default", kubernetes_service(options)));
  const ResourceKind* kind = TRY(kind_of(registry, resource));
  const ObjectKey key{"default", "kubernetes"};
  const EntryPtr entry = TRY(registry.get(*kind, key));
  Json service = Json::parse(entry->value, nullptr, false);
  if (!service.is_object() || !service.contains("spec")) return {};
  service["spec"]["ports"] = kubernetes_service(options)["spec"]["ports"];
  const auto updated = registry.update(*kind, key, "", std::move(service), {});
  if (!updated) return updated.error().context("updating the kubernetes Service");
  return {};
}

Json dns_service(const Ip& address) {
  return {{"metadata",
           {{"name", "kube-dns"},
            {"labels",
             {{"k8s-app", "kube-dns"},
              {"kubernetes.io/cluster-service", "true"},
              {"kubernetes.io/name", "Coracle"}}}}},
          {"spec",
           {{"type", "ClusterIP"},
            {"clusterIP", address.to_string()},
            {"ports", Json::array({{{"name", "dns"}, {"protocol", "UDP"}, {"port", 53}},
                                   {{"name", "dns-tcp"}, {"protocol", "TCP"}, {"port", 53}}})}}}};
}

// "namespace/name" of the Service that has the address; "" when none has.
Result<std::string> holder_of(const Registry& registry, const Ip& address) {
  const ResourceKind* kind = TRY(kind_of(registry, resources::kServices));
  for (const EntryPtr& entry : TRY(registry.list(*kind, {})).entries) {
    const Json service = Json::parse(entry->value, nullptr, false);
    if (json_string(service, {"spec", "clusterIP"}) == address.to_string())
      return json_string(service, {"metadata", "namespace"}) + "/" +
             json_string(service, {"metadata", "name"});
  }
  return std::string();
}

// Its label tells agents which addresses are the server's, and keeps its name from being taken.
Result<void> ensure_node(Registry& registry, const std::string& name) {
  const Json labels = {{"node-role.kubernetes.io/control-plane", ""}};
  TRY(create_missing(registry, resources::kNodes, "",
                     {{"metadata", {{"name", name}, {"labels", labels}}}}));
  const ResourceKind* kind = TRY(kind_of(registry, resources::kNodes));
  const auto labelled =
      registry.patch(*kind, {"", name}, "",
                     {PatchType::JsonMerge, Json{{"metadata", {{"labels", labels}}}}}, {}, {});
  if (!labelled) return labelled.error().context("labelling the node " + name);
  return {};
}

}  // namespace

Result<void> bootstrap(Registry& registry, const BootstrapOptions& options) {
  for (const char* ns : kNamespaces) {
    TRY(create_missing(registry, resources::kNamespaces, "", {{"metadata", {{"name", ns}}}}));
    TRY(create_missing(registry, resources::kServiceAccounts, ns,
                       {{"metadata", {{"name", "default"}}}}));
  }
  TRY(ensure_service(registry, options));
  if (!options.node_name.empty()) TRY(ensure_node(registry, options.node_name));
  return publish_server(registry, options);
}

Result<void> ensure_dns_service(Registry& registry, const Ip& address, const std::string& domain) {
  const std::string holder = TRY(holder_of(registry, address));
  if (!holder.empty() && holder != "kube-system/kube-dns")
    return Error{Code::Conflict, "the Service " + holder + " has the cluster's DNS address " +
                                     address.to_string() +
                                     ", whose port 53 leads to the cluster's DNS on every node"};
  const ResourceKind* kind = TRY(kind_of(registry, resources::kServices));
  const ObjectKey key{"kube-system", "kube-dns"};
  if (holder.empty() && registry.get(*kind, key))
    return Error{Code::Conflict,
                 "the Service kube-system/kube-dns has another address than the cluster's DNS, " +
                     address.to_string() + ": delete it, and the next start makes it anew"};
  TRY(create_missing(registry, resources::kServices, key.ns, dns_service(address)));
  const Json annotations = {{kClusterDomainAnnotation, domain}};
  const auto told = registry.patch(
      *kind, key, "", {PatchType::JsonMerge, Json{{"metadata", {{"annotations", annotations}}}}},
      {}, {});
  if (!told) return told.error().context("telling the cluster's domain");
  return {};
}

Result<void> publish_tunnel(Registry& registry, int port) {
  const ResourceKind* kind = TRY(kind_of(registry, resources::kServices));
  const Json annotations = {{kTunnelPortAnnotation, std::to_string(port)}};
  const auto told = registry.patch(
      *kind, {"default", "kubernetes"}, "",
      {PatchType::JsonMerge, Json{{"metadata", {{"annotations", annotations}}}}}, {}, {});
  if (!told) return told.error().context("telling the nodes where their tunnels go");
  return {};
}

Result<void> publish_server(Registry& registry, const BootstrapOptions& options) {
  // Endpoints refuse these, and no Pod could use them; a server that only listens there has none.
  const Ip& server = options.server_address;
  if (server.is_loopback() || server.is_unspecified() || server.is_link_local()) return {};
  TRY(put(registry, resources::kEndpoints, {"default", "kubernetes"},
          kubernetes_endpoints(options)));
  return put(registry, resources::kEndpointSlices, {"default", "kubernetes"},
             kubernetes_slice(options));
}

}  // namespace coracle
