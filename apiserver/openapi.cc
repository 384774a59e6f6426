// The documents as a whole; their parts are in openapi_schemas.cc and openapi_paths.cc.
#include "openapi.h"

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

std::string path_of(const Resource& resource) {
  return (resource.group.empty() ? "api/" : "apis/") + resource.api_version();
}

Json info() {
  return {{"title", "Kubernetes"}, {"version", "v1.33.1"}};
}

Json v2_document(const std::vector<ResourceKind>& kinds) {
  return {{"swagger", "2.0"},
          {"info", info()},
          {"paths", openapi::paths(kinds, false)},
          {"definitions", openapi::definitions(openapi::roots_of(kinds), kinds, false)}};
}

}  // namespace

std::string openapi_hash(std::string_view document) {
  // FNV-1a: the hash only has to change when the document does.
  std::uint64_t hash = 14695981039346656037U;
  for (const char c : document) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (unsigned shift = 64; shift > 0; shift -= 4)
    out.push_back(kDigits[(hash >> (shift - 4)) & 15U]);
  return out;
}

std::string openapi_v2_protobuf(const std::vector<ResourceKind>& kinds) {
  return openapi::encode_v2(v2_document(kinds));
}

std::string openapi_v2_json(const std::vector<ResourceKind>& kinds) {
  return v2_document(kinds).dump();
}

std::string openapi_v3_index(const std::vector<ResourceKind>& kinds) {
  Json found = Json::object();
  for (const ResourceKind& kind : kinds) {
    const std::string path = path_of(kind.resource);
    if (found.contains(path)) continue;
    const Result<std::string> document = openapi_v3_document(kinds, path);
    if (!document) continue;
    found[path] = {
        {"serverRelativeURL", "/openapi/v3/" + path + "?hash=" + openapi_hash(*document)}};
  }
  return Json{{"paths", std::move(found)}}.dump();
}

Result<std::string> openapi_v3_document(const std::vector<ResourceKind>& kinds,
                                        std::string_view path) {
  std::vector<ResourceKind> chosen;
  for (const ResourceKind& kind : kinds)
    if (path_of(kind.resource) == path) chosen.push_back(kind);
  if (chosen.empty()) {
    return Error{Code::NotFound,
                 "the server could not find the requested resource: " + std::string(path)};
  }
  const Json schemas = openapi::definitions(openapi::roots_of(chosen), chosen, true);
  const Json document = {{"openapi", "3.0.0"},
                         {"info", info()},
                         {"paths", openapi::paths(chosen, true)},
                         {"components", {{"schemas", schemas}}}};
  return document.dump();
}

}  // namespace coracle
