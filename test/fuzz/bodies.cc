#include <apiserver/handlers_media.h>
#include <apiserver/schema.h>
#include <coracle/api/endpoint_slice.h>
#include <coracle/api/endpoints.h>
#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/api/service.h>

#include <nlohmann/json.hpp>

#include "server.h"

namespace coracle::fuzz {
namespace {

enum class Operation { DryRun, Create, Update, Status, Remove };
constexpr std::size_t kOperations = 5;

struct Send {
  const ResourceKind* kind = nullptr;
  Operation operation = Operation::DryRun;
  std::string query;
  std::string accept;
};

Send read_send(const Server& server, std::string_view& input) {
  static constexpr const char* kValidations[] = {"", "fieldValidation=Ignore",
                                                 "fieldValidation=Strict", "fieldValidation=Warn"};
  static constexpr const char* kAccepts[] = {
      "", "application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io",
      "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"};
  const auto& kinds = server.registry().kinds();
  Send send;
  send.kind = &kinds[take_choice(input, kinds.size())];
  send.operation = static_cast<Operation>(take_choice(input, kOperations));
  const std::size_t look = take_choice(input, 16);
  send.query = kValidations[look % 4];
  send.accept = kAccepts[look / 4];
  if (send.operation == Operation::DryRun) send.query += "&dryRun=All";
  return send;
}

template <typename T>
void require_decodes(const std::string& plural, const char* mine, const Json& object) {
  if (plural == mine)
    require(T::decode(Object(object)).has_value(), "our own code can read what was stored");
}

Json answered(const HttpResponse& response, int code, const std::string& promise) {
  require(response.code == code, promise + ": " + response.body);
  return Json::parse(response.body, nullptr, false);
}

std::string path_of(const Resource& resource, const Json& object) {
  return collection_path(resource, json_string(object, {"metadata", "namespace"})) + "/" +
         json_string(object, {"metadata", "name"});
}

// `stored` is an object as the server has just answered it.
void require_stored(Server& server, const ResourceKind& kind, const Json& stored) {
  Json again = stored;
  if (kind.apply_defaults) kind.apply_defaults(again);
  require(again == stored, "defaults set twice are defaults set once");
  require_round_trips(stored);
  const std::string path = path_of(kind.resource, stored);
  require(answered(server.ask({.method = "GET", .path = path}), 200, "it is there") == stored,
          "what is read is what was answered");
  const auto put = server.ask({.method = "PUT", .path = path, .body = stored.dump()});
  require(answered(put, 200, "what was read can be written") == stored,
          "writing what was read changes nothing");
  const auto patched = server.ask({.method = "PATCH",
                                   .path = path,
                                   .content_type = "application/strategic-merge-patch+json",
                                   .body = "{}"});
  require(answered(patched, 200, "it can be patched") == stored, "an empty patch changes nothing");
  answered(server.ask({.method = "GET",
                       .path = path,
                       .accept = "application/json;as=Table;v=v1;g=meta.k8s.io"}),
           200, "it can be shown");
  const std::string& plural = kind.resource.plural;
  require_decodes<Service>(plural, "services", stored);
  require_decodes<Pod>(plural, "pods", stored);
  require_decodes<Node>(plural, "nodes", stored);
  require_decodes<Endpoints>(plural, "endpoints", stored);
  require_decodes<EndpointSlice>(plural, "endpointslices", stored);
}

Json object_of(const HttpResponse& response, const std::string& accept) {
  if (accept.empty()) return Json::parse(response.body, nullptr, false);
  if (accept != "application/yaml") return {};
  auto parsed = parse_yaml_body(response.body);
  return parsed ? std::move(parsed->document) : Json();
}

}  // namespace

void send_body(const std::string& content_type, std::string_view input) {
  Server& server = Server::instance();
  const Send send = read_send(server, input);
  Ask ask{.method = "POST",
          .path = collection_path(send.kind->resource, "default"),
          .query = send.query,
          .content_type = content_type,
          .accept = send.accept,
          .body = std::string(input)};
  if (send.operation >= Operation::Update) {
    for (const Example& example : server.examples())
      if (example.kind == send.kind) ask.path = path_of(send.kind->resource, example.object);
    ask.method = send.operation == Operation::Remove ? "DELETE" : "PUT";
    if (send.operation == Operation::Status) ask.path += "/status";
  }
  const HttpResponse response = server.ask(ask);
  if (response.code >= 300 || send.kind->answer) return;
  const Json object = object_of(response, send.accept);
  if (send.operation == Operation::DryRun) {
    Json again = object;
    if (object.is_object() && send.kind->apply_defaults) send.kind->apply_defaults(again);
    require(again == object, "defaults set twice are defaults set once");
    return;
  }
  const bool whole = object.is_object() && send.operation != Operation::Remove;
  if (whole) require_stored(server, *send.kind, object);
  server.renew();
}

}  // namespace coracle::fuzz
