#include "handlers.h"

#include <coracle/log.h>
#include <coracle/metrics.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "handlers_options.h"
#include "registry_pages.h"
#include "watch_filter.h"

namespace coracle {
namespace {

constexpr const char* kNoSuchPath = "the server could not find the requested resource";

HttpResponse failure(const Error& error, const StatusSubject& subject) {
  HttpResponse response = error_response(error);
  response.body =
      error_status(error, subject).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return response;
}

Error not_supported(const ApiPath& route, Verb verb) {
  return {Code::MethodNotAllowed,
          verb_name(verb) + " is not supported on resources of kind \"" + route.plural + "\""};
}

bool has_subresource(const ResourceKind& kind, const std::string& name) {
  if (name == "status") return kind.has_status;
  return std::find(kind.subresources.begin(), kind.subresources.end(), name) !=
         kind.subresources.end();
}

bool subresource_allows(const std::string& name, Verb verb) {
  if (name == "binding" || name == "eviction") return verb == Verb::Create;
  if (name == "finalize") return verb == Verb::Update;
  if (name == "log") return verb == Verb::Get;
  return verb == Verb::Get || verb == Verb::Update || verb == Verb::Patch;
}

// An object is no list and a list no object, whatever the client would like best.
Result<void> check_shape(const OutputOptions& output, Verb verb) {
  using Shape = Accepted::Shape;
  const bool object =
      verb == Verb::Get || verb == Verb::Create || verb == Verb::Update || verb == Verb::Patch;
  if (object && output.accepted.shape == Shape::PartialMetadataList)
    return Error{Code::NotAcceptable,
                 "you requested PartialObjectMetadataList, but what you named is an object"};
  if (verb == Verb::List && output.accepted.shape == Shape::PartialMetadata)
    return Error{Code::NotAcceptable,
                 "you requested PartialObjectMetadata, but what you named is a list"};
  return {};
}

// Those that are asked before, or without, a credential.
bool answers_anybody(const HttpRequest& request) {
  return is_public_path(request.path) && request.method != "POST";
}

StatusSubject subject_of(const ApiPath& route) {
  return {route.name, route.group, route.plural, "", ""};
}

metrics::Counter requests("apiserver_request_total",
                          "Requests by verb, resource and code; watches count as they begin.");
metrics::Histogram durations("apiserver_request_duration_seconds",
                             "Time to the answer by verb and resource, watches left out.", 0.0001);

// Verb and resource are known once the path was understood: what a client makes up is no label.
void count(const HttpRequest& request, const StatusSubject& subject, const HttpResponse& response,
           std::chrono::steady_clock::time_point begin) {
  const bool resource = !subject.kind.empty();
  const bool text = response.content_type.starts_with("text/plain");  // streams that no watch is
  std::string verb = response.stream && !text ? "WATCH" : request.method;
  if (!resource && verb != "GET" && verb != "HEAD") verb = "other";
  const std::string plural = resource ? subject.plural : "";
  requests.add(1, {{"verb", verb}, {"resource", plural}, {"code", std::to_string(response.code)}});
  if (!response.stream) durations.observe_since(begin, {{"verb", verb}, {"resource", plural}});
}

}  // namespace

std::optional<HttpResponse> Handlers::admit(const HttpRequest& request) const {
  const auto known =
      options_.authenticator.authenticate(request.certificate_der, request.header("Authorization"));
  if (!known && !answers_anybody(request)) return failure(known.error(), {});
  const auto route = parse_route(request.path);
  if (!route) return failure(route.error(), {});
  const auto query = Query::parse(request.query);
  if (!query) return failure(query.error(), {});
  const auto allowed = check(request, *route, *query);
  if (!allowed) return failure(allowed.error(), subject_of(*route));
  return std::nullopt;
}

Result<Identity> Handlers::check(const HttpRequest& request, const ApiPath& route,
                                 const Query& query) const {
  auto known =
      options_.authenticator.authenticate(request.certificate_der, request.header("Authorization"));
  if (answers_anybody(request)) return known ? std::move(*known) : Identity{};
  if (!known || is_member(*known, "system:masters")) return known;
  const AccessRequest asked = TRY(access_request(request.method, request.path, route, query));
  const Decision decision = decide(*known, asked, *view_);
  if (!decision.allowed) return access_forbidden(*known, asked, decision.reason);
  return known;
}

bool Handlers::is_node(const HttpRequest& request) const {
  const auto known =
      options_.authenticator.authenticate(request.certificate_der, request.header("Authorization"));
  return known && std::find(known->groups.begin(), known->groups.end(), "system:nodes") !=
                      known->groups.end();
}

HttpResponse Handlers::handle(const HttpRequest& request) const {
  const auto begin = std::chrono::steady_clock::now();
  StatusSubject subject;
  // Exceptions of libraries end where they are called. Should one be forgotten, the request fails,
  // not the server.
  auto answer = [&]() -> Answer {
    try {
      return dispatch(request, subject);
    } catch (const Json::exception& error) {
      log::error("api", "a request met an exception",
                 {{"path", request.path}, {"error", error.what()}});
      return Error{Code::Internal, error.what()};
    }
  }();
  HttpResponse response = answer ? std::move(*answer) : failure(answer.error(), subject);
  count(request, subject, response, begin);
  return response;
}

Handlers::Answer Handlers::dispatch(const HttpRequest& request, StatusSubject& subject) const {
  const ApiPath route = TRY(parse_route(request.path));
  const Query query = TRY(Query::parse(request.query));
  const auto who = check(request, route, query);
  if (!who) {
    subject = subject_of(route);
    return who.error();
  }
  if (request.method == "OPTIONS") {
    HttpResponse response;
    response.headers.emplace_back("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE");
    return response;
  }
  if (route.target == ApiPath::Target::Resource)
    return resource({request, route, query, *who}, subject);
  if (route.target == ApiPath::Target::Unknown) return Error{Code::NotFound, kNoSuchPath};
  if (route.target == ApiPath::Target::Join) return join(request, *who);
  if (request.method != "GET" && request.method != "HEAD")
    return Error{Code::MethodNotAllowed,
                 "the server does not allow this method on the requested resource"};
  return info(request, route, query);
}

Result<const ResourceKind*> Handlers::kind_of(const ApiPath& route) const {
  const Error unknown{Code::NotFound, kNoSuchPath};
  const ResourceKind* kind = options_.registry.find(route.group, route.version, route.plural);
  if (kind == nullptr) return unknown;
  if (!kind->resource.namespaced && !route.ns.empty()) return unknown;
  if (kind->resource.namespaced && route.ns.empty() && !route.name.empty()) return unknown;
  if (!route.subresource.empty() && !has_subresource(*kind, route.subresource)) return unknown;
  return kind;
}

Handlers::Answer Handlers::resource(const Asked& asked, StatusSubject& subject) const {
  const auto& [request, route, query, who] = asked;
  const ResourceKind* kind = TRY(kind_of(route));
  subject = {route.name, route.group, route.plural, kind->resource.kind, ""};
  if (route.subresource == "proxy" && !route.watch) return proxy(asked, *kind);
  const Verb verb = TRY(verb_of(request.method, route, query));
  if (!route.subresource.empty() && !subresource_allows(route.subresource, verb))
    return not_supported(route, verb);
  if (route.subresource == "log") return log(asked, *kind);
  const bool write_all = route.ns.empty() && kind->resource.namespaced;
  if (write_all && (verb == Verb::Create || verb == Verb::DeleteCollection))
    return not_supported(route, verb);
  OutputOptions output =
      TRY(output_options(request, query, verb == Verb::Watch ? Offer::Stream : Offer::Objects));
  TRY(check_shape(output, verb));
  return run({request, route, query, *kind, std::move(output), who}, verb, subject);
}

Handlers::Answer Handlers::run(const Call& call, Verb verb, StatusSubject& subject) const {
  if (call.kind.answer)
    return verb == Verb::Create ? ask(call) : Answer(not_supported(call.route, verb));
  const bool scale = call.route.subresource == "scale";
  switch (verb) {
    case Verb::Get:
      return scale ? get_scale(call) : get(call);
    case Verb::List:
      return list(call);
    case Verb::Watch:
      return watch(call);
    case Verb::Create:
      if (call.route.subresource == "binding") return bind(call);
      if (call.route.subresource == "eviction") return evict(call);
      return create(call, subject);
    case Verb::Update:
      return scale ? update_scale(call) : update(call);
    case Verb::Patch:
      return scale ? patch_scale(call) : patch(call);
    case Verb::Delete:
      return remove(call);
    case Verb::DeleteCollection:
      if (!call.kind.delete_collection) return not_supported(call.route, verb);
      return remove_collection(call);
  }
  return Error{Code::MethodNotAllowed, "unknown verb"};
}

Handlers::Answer Handlers::get(const Call& call) const {
  TRY(options_.registry.await_revision(TRY(get_options(call.query))));
  const EntryPtr entry = TRY(options_.registry.get(call.kind, call.key()));
  const OutputOptions& output = call.output;
  if (output.accepted.shape == Accepted::Shape::Object && !output.accepted.yaml && !output.pretty) {
    HttpResponse response;
    response.body = entry->value + "\n";
    return response;
  }
  return object_response(200, call.kind, parse_stored(entry->value), output, options_.clock);
}

Handlers::Answer Handlers::list(const Call& call) const {
  const ListRequest request = TRY(list_options(call.query, call.route));
  const auto page = options_.registry.list(call.kind, request);
  if (page) return list_response(call.kind, *page, call.output, options_.clock);
  if (!is_expired(page.error()) || request.continue_token.empty()) return page.error();
  // The way to go on all the same is in the Status itself.
  HttpResponse response = error_response(page.error());
  Json status = error_status(page.error(), {});
  status["metadata"]["continue"] = inconsistent_continuation(request.continue_token);
  response.body = status.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return response;
}

Result<WatchRequest> Handlers::begin_watch(const Call& call) const {
  WatchRequest request;
  request.kind = &call.kind;
  request.options = TRY(watch_options(call.query, call.route));
  request.output = call.output;
  request.output.pretty = false;
  const WatchOptions& options = request.options;
  TRY(check_fields(call.kind, options.fields));
  TRY(options_.registry.await_revision(options.from));
  request.from = options.from != 0 ? options.from : options_.registry.revision();
  if (!options.initial) return request;
  ListRequest all;
  all.ns = call.route.ns;
  all.labels = options.labels;
  all.fields = options.fields;
  request.initial = TRY(options_.registry.list(call.kind, all));
  request.from = request.initial.revision;
  return request;
}

Handlers::Answer Handlers::watch(const Call& call) const {
  WatchRequest request = TRY(begin_watch(call));
  auto events = options_.registry.watch(call.kind, call.route.ns, request.from);
  if (events) {
    request.events = std::move(*events);
  } else if (is_expired(events.error())) {
    request.error = events.error();  // a reflector lists again on this event, and only then
  } else {
    return events.error();
  }
  HttpResponse response;
  response.stream = watch_stream(std::move(request), options_.watch_times, options_.clock);
  return response;
}

}  // namespace coracle
