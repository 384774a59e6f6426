#include "discovery.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

// The Kubernetes release whose wire behaviour is offered.
constexpr const char* kMajor = "1";
constexpr const char* kMinor = "33";
constexpr const char* kVersion = "v1.33.1";

struct Subresource {
  std::string name;
  std::string kind;
  std::vector<std::string> verbs;
  std::string group = {}, version = {};  // of the kind, when they are not the resource's
};

std::vector<Subresource> subresources_of(const ResourceKind& kind) {
  static const std::vector<Subresource> kKnown = {
      {"binding", "Binding", {"create"}},
      {"eviction", "Eviction", {"create"}, "policy", "v1"},
      {"log", "", {"get"}},
      {"proxy", "NodeProxyOptions", {"get"}},
      {"scale", "Scale", {"get", "patch", "update"}, "autoscaling", "v1"},
      {"finalize", "", {"update"}}};
  std::vector<Subresource> out;
  for (const std::string& name : kind.subresources) {
    const auto it = std::find_if(kKnown.begin(), kKnown.end(),
                                 [&](const Subresource& s) { return s.name == name; });
    if (it == kKnown.end()) continue;
    out.push_back(*it);
    if (out.back().kind.empty()) out.back().kind = kind.resource.kind;
  }
  if (kind.has_status) out.push_back({"status", kind.resource.kind, {"get", "patch", "update"}});
  std::sort(out.begin(), out.end(),
            [](const Subresource& a, const Subresource& b) { return a.name < b.name; });
  return out;
}

std::vector<std::string> verbs_of(const ResourceKind& kind) {
  if (kind.answer) return {"create"};
  std::vector<std::string> verbs = {"create", "delete"};
  if (kind.delete_collection) verbs.emplace_back("deletecollection");
  verbs.insert(verbs.end(), {"get", "list", "patch", "update", "watch"});
  return verbs;
}

// Groups and their versions, in the order of the list of kinds.
std::vector<std::string> groups_of(const Kinds& kinds) {
  std::vector<std::string> groups;
  for (const ResourceKind& kind : kinds) {
    const std::string& group = kind.resource.group;
    if (!group.empty() && std::find(groups.begin(), groups.end(), group) == groups.end())
      groups.push_back(group);
  }
  return groups;
}

std::vector<std::string> versions_of(const Kinds& kinds, std::string_view group) {
  std::vector<std::string> versions;
  for (const ResourceKind& kind : kinds) {
    const Resource& r = kind.resource;
    if (r.group == group &&
        std::find(versions.begin(), versions.end(), r.version) == versions.end())
      versions.push_back(r.version);
  }
  return versions;
}

Json group_json(const Kinds& kinds, const std::string& group) {
  Json versions = Json::array();
  for (const std::string& version : versions_of(kinds, group))
    versions.push_back(
        {{"groupVersion", std::string(group).append("/").append(version)}, {"version", version}});
  return {{"name", group}, {"versions", versions}, {"preferredVersion", versions[0]}};
}

Json resource_json(const ResourceKind& kind) {
  Json out = {{"name", kind.resource.plural},
              {"singularName", kind.singular},
              {"namespaced", kind.resource.namespaced},
              {"kind", kind.resource.kind},
              {"verbs", verbs_of(kind)}};
  if (!kind.short_names.empty()) out["shortNames"] = kind.short_names;
  if (!kind.categories.empty()) out["categories"] = kind.categories;
  return out;
}

// Clients such as client-node take the first entry of a kind: the parent must stand before its
// subresources.
void append_resources(const ResourceKind& kind, Json& resources) {
  resources.push_back(resource_json(kind));
  for (const Subresource& sub : subresources_of(kind)) {
    Json out = {{"name", kind.resource.plural + "/" + sub.name},
                {"singularName", ""},
                {"namespaced", kind.resource.namespaced},
                {"kind", sub.kind},
                {"verbs", sub.verbs}};
    if (!sub.group.empty()) out.update({{"group", sub.group}, {"version", sub.version}});
    resources.push_back(std::move(out));
  }
}

Json response_kind(const std::string& kind, const std::string& group = "",
                   const std::string& version = "") {
  return {{"group", group}, {"version", version}, {"kind", kind}};
}

Json aggregated_resource(const ResourceKind& kind) {
  Json out = {{"resource", kind.resource.plural},
              {"responseKind", response_kind(kind.resource.kind)},
              {"scope", kind.resource.namespaced ? "Namespaced" : "Cluster"},
              {"singularResource", kind.singular},
              {"verbs", verbs_of(kind)}};
  if (!kind.short_names.empty()) out["shortNames"] = kind.short_names;
  if (!kind.categories.empty()) out["categories"] = kind.categories;
  for (const Subresource& sub : subresources_of(kind)) {
    out["subresources"].push_back(
        {{"subresource", sub.name},
         {"responseKind", response_kind(sub.kind, sub.group, sub.version)},
         {"verbs", sub.verbs}});
  }
  return out;
}

Json aggregated_group(const Kinds& kinds, const std::string& group) {
  Json versions = Json::array();
  for (const std::string& version : versions_of(kinds, group)) {
    Json resources = Json::array();
    for (const ResourceKind& kind : kinds) {
      if (kind.resource.group == group && kind.resource.version == version)
        resources.push_back(aggregated_resource(kind));
    }
    versions.push_back({{"version", version}, {"freshness", "Current"}, {"resources", resources}});
  }
  Json metadata = Json::object();
  if (!group.empty()) metadata["name"] = group;
  return {{"metadata", metadata}, {"versions", versions}};
}

std::string aggregated(Json items, std::string_view version) {
  const Json document = {{"kind", "APIGroupDiscoveryList"},
                         {"apiVersion", "apidiscovery.k8s.io/" + std::string(version)},
                         {"metadata", Json::object()},
                         {"items", std::move(items)}};
  return document.dump();
}

Error no_group(std::string_view what) {
  return {Code::NotFound, "the server could not find the requested resource: " + std::string(what)};
}

}  // namespace

std::string discovery_api_versions(const std::string& server_address) {
  const Json address = {{"clientCIDR", "0.0.0.0/0"}, {"serverAddress", server_address}};
  const Json document = {{"kind", "APIVersions"},
                         {"versions", Json::array({"v1"})},
                         {"serverAddressByClientCIDRs", Json::array({address})}};
  return document.dump();
}

std::string discovery_api_groups(const Kinds& kinds) {
  Json groups = Json::array();
  for (const std::string& group : groups_of(kinds)) groups.push_back(group_json(kinds, group));
  const Json document = {{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", groups}};
  return document.dump();
}

Result<std::string> discovery_api_group(const Kinds& kinds, std::string_view group) {
  if (group.empty() || versions_of(kinds, group).empty()) return no_group(group);
  Json document = group_json(kinds, std::string(group));
  document["kind"] = "APIGroup";
  document["apiVersion"] = "v1";
  return document.dump();
}

Result<std::string> discovery_resources(const Kinds& kinds, std::string_view group,
                                        std::string_view version) {
  Json resources = Json::array();
  for (const ResourceKind& kind : kinds) {
    if (kind.resource.group == group && kind.resource.version == version)
      append_resources(kind, resources);
  }
  if (resources.empty()) return no_group(std::string(group) + "/" + std::string(version));
  std::string group_version(version);
  if (!group.empty()) group_version.insert(0, std::string(group) + "/");
  const Json document = {{"kind", "APIResourceList"},
                         {"apiVersion", "v1"},
                         {"groupVersion", group_version},
                         {"resources", resources}};
  return document.dump();
}

std::string aggregated_core(const Kinds& kinds, std::string_view version) {
  return aggregated(Json::array({aggregated_group(kinds, "")}), version);
}

std::string aggregated_groups(const Kinds& kinds, std::string_view version) {
  Json items = Json::array();
  for (const std::string& group : groups_of(kinds)) items.push_back(aggregated_group(kinds, group));
  return aggregated(std::move(items), version);
}

std::string aggregated_discovery_type(std::string_view version) {
  return "application/json;g=apidiscovery.k8s.io;v=" + std::string(version) +
         ";as=APIGroupDiscoveryList";
}

std::string version_document(std::string_view coracle_version) {
  const Json document = {
    {"major", kMajor},
    {"minor", kMinor},
    {"gitVersion", kVersion + ("+coracle-" + std::string(coracle_version))},
    {"gitCommit", ""},
    {"gitTreeState", "clean"},
    {"buildDate", "1970-01-01T00:00:00Z"},
    {"goVersion", ""},
    {"compiler", "gcc"},
#if defined(__aarch64__)
    {"platform", "linux/arm64"}
#elif defined(__arm__)
    {"platform", "linux/arm"}
#else
    {"platform", "linux/amd64"}
#endif
  };
  return document.dump();
}

}  // namespace coracle
