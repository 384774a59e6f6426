// What a client asks before it works with objects: version, health, discovery, OpenAPI.
#include <coracle/metrics.h>
#include <coracle/process_metrics.h>

#include <nlohmann/json.hpp>
#include <set>

#include "discovery.h"
#include "handlers.h"
#include "http_message.h"
#include "openapi.h"

namespace coracle {
namespace {

constexpr const char* kNoSuchPath = "the server could not find the requested resource";

HttpResponse text_response(int code, std::string body) {
  HttpResponse response;
  response.code = code;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

// The tag carries the representation: clients cache by URL alone.
std::string tag_of(const std::string& content_type, const std::string& body) {
  return "\"" + openapi_hash(content_type + body) + "\"";
}

// False: the client has it already, and a 304 says so.
bool begin_cached(const HttpRequest& request, const std::string& content_type,
                  const std::string& tag, HttpResponse& response) {
  response.content_type = content_type;
  response.headers = {{"ETag", tag}, {"Vary", "Accept"}};
  if (request.header("If-None-Match") != tag) return true;
  response.code = 304;
  return false;
}

HttpResponse cached(const HttpRequest& request, const std::string& content_type, std::string body) {
  HttpResponse response;
  if (begin_cached(request, content_type, tag_of(content_type, body), response))
    response.body = std::move(body);
  return response;
}

std::string document_path(const Resource& resource) {
  return resource.group.empty() ? "api/" + resource.version
                                : "apis/" + resource.group + "/" + resource.version;
}

bool wants_json(const HttpRequest& request) {
  for (const MediaType& media : parse_accept(request.header("Accept"))) {
    if (media.type.find("protobuf") != std::string::npos) return false;
    if (media.type == "application/json") return true;
  }
  return false;
}

}  // namespace

Handlers::Handlers(Options options)
    : options_(std::move(options)),
      view_(access_view(options_.registry)),
      node_turns_(options_.node_turns) {
  serve_process_metrics();
  const auto& kinds = options_.registry.kinds();
  openapi_v2_ = pack(std::string(kOpenApiV2Type), openapi_v2_protobuf(kinds));
  openapi_v2_json_ = pack("application/json", openapi_v2_json(kinds));
  openapi_v3_ = openapi_v3_index(kinds);
  std::set<std::string> paths;
  for (const ResourceKind& kind : kinds) paths.insert(document_path(kind.resource));
  for (const std::string& path : paths)
    if (auto document = openapi_v3_document(kinds, path))
      openapi_v3_documents_[path] = pack("application/json", *document);
}

Handlers::Packed Handlers::pack(std::string type, const std::string& document) {
  std::string tag = tag_of(type, document);
  return {std::move(type), std::move(tag), gzip(document)};
}

HttpResponse Handlers::serve_packed(const HttpRequest& request, const Packed& document) {
  HttpResponse response;
  if (!begin_cached(request, document.type, document.tag, response)) return response;
  response.packed = accepts_gzip(request);
  response.body = response.packed ? document.gzip : gunzip(document.gzip);
  return response;
}

Handlers::Answer Handlers::info(const HttpRequest& request, const ApiPath& route,
                                const Query& query) const {
  using Target = ApiPath::Target;
  HttpResponse response;
  switch (route.target) {
    case Target::Root:
      response.body = Json{{"paths",
                            {"/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2",
                             "/openapi/v3", "/readyz", "/version"}}}
                          .dump() +
                      "\n";
      return response;
    case Target::Version:
      response.body = version_document(options_.version);
      return response;
    case Target::Health:
      return health(route, query);
    case Target::Metrics:
      response.content_type = kMetricsType;
      response.body = metrics::Family::text();
      return response;
    case Target::CoreVersions:
    case Target::Groups:
    case Target::Group:
    case Target::ResourceList:
      return discovery(request, route);
    case Target::OpenApiV2:
    case Target::OpenApiV3:
    case Target::OpenApiV3Document:
      return openapi(request, route);
    case Target::CaCertificates:
      response.content_type = "application/x-pem-file";
      response.body = options_.ca_pem;
      return response;
    case Target::Join:
    case Target::Resource:
    case Target::Unknown:
      break;
  }
  return Error{Code::NotFound, kNoSuchPath};
}

Handlers::Answer Handlers::discovery(const HttpRequest& request, const ApiPath& route) const {
  using Target = ApiPath::Target;
  const auto& kinds = options_.registry.kinds();
  const bool root = route.target == Target::CoreVersions || route.target == Target::Groups;
  const Accepted accepted =
      TRY(negotiate(request.header("Accept"), root ? Offer::Discovery : Offer::Objects));
  if (root && accepted.shape == Accepted::Shape::Aggregated) {
    const bool core = route.target == Target::CoreVersions;
    return cached(request, aggregated_discovery_type(accepted.version),
                  core ? aggregated_core(kinds, accepted.version)
                       : aggregated_groups(kinds, accepted.version));
  }
  const std::string json = "application/json";
  if (route.target == Target::CoreVersions)
    return cached(request, json, discovery_api_versions(options_.server_address()));
  if (route.target == Target::Groups) return cached(request, json, discovery_api_groups(kinds));
  if (route.target == Target::Group)
    return cached(request, json, TRY(discovery_api_group(kinds, route.group)));
  return cached(request, json, TRY(discovery_resources(kinds, route.group, route.version)));
}

Handlers::Answer Handlers::openapi(const HttpRequest& request, const ApiPath& route) const {
  if (route.target == ApiPath::Target::OpenApiV3)
    return cached(request, "application/json", openapi_v3_);
  if (route.target == ApiPath::Target::OpenApiV2) {
    return serve_packed(request, wants_json(request) ? openapi_v2_json_ : openapi_v2_);
  }
  const auto document = openapi_v3_documents_.find(route.extra);
  if (document == openapi_v3_documents_.end()) return Error{Code::NotFound, kNoSuchPath};
  return serve_packed(request, document->second);
}

Handlers::Answer Handlers::join(const HttpRequest& request, const Identity& who) const {
  if (request.method != "POST")
    return Error{Code::MethodNotAllowed,
                 "the server does not allow this method on the requested resource"};
  if (!options_.join) return Error{Code::NotFound, kNoSuchPath};
  const Json answer = TRY(options_.join(who, request));
  HttpResponse response;
  response.body = answer.dump() + "\n";
  return response;
}

Handlers::Answer Handlers::health(const ApiPath& route, const Query& query) const {
  const std::size_t slash = route.extra.find('/');
  const std::string endpoint = route.extra.substr(0, slash);
  const std::string check = slash == std::string::npos ? "" : route.extra.substr(slash + 1);
  const bool needs_ready = endpoint != "livez";
  if (!check.empty() && check != "ping" && !(needs_ready && check == "started"))
    return Error{Code::NotFound, kNoSuchPath};
  const bool started = !needs_ready || ready_ || check == "ping";
  if (started && !query.flag("verbose")) return text_response(200, "ok");
  std::string text = "[+]ping ok\n";
  if (needs_ready)
    text += started ? "[+]started ok\n" : "[-]started failed: the server is starting\n";
  text += endpoint + (started ? " check passed\n" : " check failed\n");
  return text_response(started ? 200 : 500, text);
}

}  // namespace coracle
