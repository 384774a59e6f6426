// Requests that change something.
#include <nlohmann/json.hpp>

#include "handlers.h"
#include "handlers_options.h"
#include "registry_errors.h"
#include "resources/fields.h"
#include "schema.h"

namespace coracle {
namespace {

using Warnings = std::vector<std::string>;

// RFC 7234's warn-text: a quoted string. What a client named may hold anything, a header may not.
void add_warnings(HttpResponse& response, const Warnings& warnings) {
  for (const std::string& warning : warnings) {
    std::string quoted;
    for (const char c : warning) {
      if (c == '"' || c == '\\') quoted += '\\';
      const auto byte = static_cast<unsigned char>(c);
      quoted += byte < 0x20 || byte == 0x7f ? ' ' : c;
    }
    response.headers.emplace_back("Warning", "299 - \"" + quoted + "\"");
  }
}

Error cannot_handle(const Resource& resource, const Error& why) {
  Error error = why;
  error.message = resource.kind + " in version \"" + resource.version +
                  "\" cannot be handled as a " + resource.kind + ": " + why.message;
  return error;
}

// A document without kind and apiVersion is taken for what the URL names.
Result<void> check_type(const Resource& resource, Json& document) {
  for (const char* field : {"apiVersion", "kind"})
    if (document.contains(field) && !document.at(field).is_string())
      return Error{Code::BadRequest, std::string(field) + " is not a string"};
  const std::string version = json_string(document, {"apiVersion"});
  const std::string kind = json_string(document, {"kind"});
  if (!version.empty() && version != resource.api_version())
    return Error{Code::BadRequest, "the API version in the data (" + version.substr(0, 128) +
                                       ") does not match the expected API version (" +
                                       resource.api_version() + ")"};
  if (!kind.empty() && kind != resource.kind)
    return Error{Code::BadRequest, "the kind in the data (" + kind.substr(0, 128) +
                                       ") does not match the expected kind (" + resource.kind +
                                       ")"};
  document["apiVersion"] = resource.api_version();
  document["kind"] = resource.kind;
  return {};
}

Result<void> check_schema(const Resource& resource, const std::string& type_name, Json& document,
                          FieldValidation validation, const std::vector<std::string>& duplicates,
                          Warnings& warnings) {
  const SchemaType* type = Schema::instance().find(type_name);
  if (type == nullptr) return {};
  auto report = check_document(*type, document, validation, duplicates);
  if (!report) return cannot_handle(resource, report.error());
  for (std::string& warning : report->warnings) warnings.push_back(std::move(warning));
  return {};
}

// `validation` applies to unknown and duplicate fields; wrong types are always refused.
Result<Json> decode_body(const HttpRequest& http, const Resource& resource,
                         const std::string& type_name, FieldValidation validation,
                         Warnings& warnings) {
  if (http.body.empty()) return Error{Code::BadRequest, "the request has no body"};
  ParsedBody body = TRY(parse_body(http.header("Content-Type"), http.body));
  if (!body.document.is_object())
    return Error{Code::BadRequest, "the body of the request is not a JSON object"};
  TRY(check_type(resource, body.document));
  TRY(check_schema(resource, type_name, body.document, validation, body.duplicate_fields,
                   warnings));
  return std::move(body.document);
}

Result<void> check_name(const Json& document, const std::string& name) {
  const std::string own = json_string(document, {"metadata", "name"});
  if (own.empty() || own == name) return {};
  return Error{Code::BadRequest, "the name of the object (" + own.substr(0, 253) +
                                     ") does not match the name on the URL (" + name + ")"};
}

// A node that registers itself again, after its Node was deleted, is known by its key from then on.
void note_key(const Identity& who, Json& node) {
  if (node_of(who).empty() || who.key.empty() || !node.is_object()) return;
  Json& metadata = object_in(node, "metadata");
  object_in(metadata, "annotations")[kNodeKeyAnnotation] = who.key;
}

void name_after_url(Json& document, const std::string& name) {
  if (!document["metadata"].is_object()) document["metadata"] = Json::object();
  if (json_string(document, {"metadata", "name"}).empty()) document["metadata"]["name"] = name;
}

}  // namespace

Result<WriteOptions> Handlers::write_options_of(const Call& call,
                                                const std::string& options_kind) const {
  WriteOptions out = TRY(write_options(call.query, options_kind));
  out.admit = admission(call.who, call.kind.resource);
  return out;
}

Handlers::Answer Handlers::create(const Call& call, StatusSubject& subject) const {
  const WriteOptions options = TRY(write_options_of(call, "CreateOptions"));
  const FieldValidation validation = TRY(field_validation(call.query, "CreateOptions"));
  Warnings warnings;
  Json object =
      TRY(decode_body(call.http, call.kind.resource, call.kind.schema_type, validation, warnings));
  subject.name = json_string(object, {"metadata", "name"});
  if (call.kind.resource == resources::kNodes) note_key(call.who, object);
  const Json created =
      TRY(options_.registry.create(call.kind, call.route.ns, std::move(object), options));
  HttpResponse response = object_response(201, call.kind, created, call.output, options_.clock);
  add_warnings(response, warnings);
  return response;
}

Handlers::Answer Handlers::ask(const Call& call) const {
  const FieldValidation validation = TRY(field_validation(call.query, "CreateOptions"));
  Warnings warnings;
  Json object =
      TRY(decode_body(call.http, call.kind.resource, call.kind.schema_type, validation, warnings));
  FieldErrors errors;
  if (call.kind.validate) call.kind.validate(object, errors);
  if (!errors.empty()) return invalid(call.kind.resource, "", errors);
  if (!object["metadata"].is_object()) object["metadata"] = Json::object();
  call.kind.answer(object, {call.who, [&](const AccessRequest& question) {
                              return decide(call.who, question, *view_);
                            }});
  HttpResponse response = object_response(201, call.kind, object, call.output, options_.clock);
  add_warnings(response, warnings);
  return response;
}

Handlers::Answer Handlers::bind(const Call& call) const {
  const WriteOptions options = TRY(write_options_of(call, "CreateOptions"));
  const FieldValidation validation = TRY(field_validation(call.query, "CreateOptions"));
  const Resource binding{.group = "", .version = "v1", .plural = "bindings", .kind = "Binding"};
  Warnings warnings;
  Json object = TRY(decode_body(call.http, binding, "core.v1.Binding", validation, warnings));
  TRY(check_name(object, call.route.name));
  name_after_url(object, call.route.name);
  TRY(options_.registry.create(call.kind, call.route.ns, std::move(object), options));
  HttpResponse response = json_response(201, success_status({}), call.output);
  add_warnings(response, warnings);
  return response;
}

Result<Json> Handlers::decode_named_body(const Call& call, const ResourceKind& kind,
                                         const std::string& options_kind) {
  const FieldValidation validation = TRY(field_validation(call.query, options_kind));
  Warnings warnings;
  Json object = TRY(decode_body(call.http, kind.resource, kind.schema_type, validation, warnings));
  TRY(check_name(object, call.route.name));
  name_after_url(object, call.route.name);
  return object;
}

Handlers::Answer Handlers::update(const Call& call) const {
  const WriteOptions options = TRY(write_options_of(call, "UpdateOptions"));
  const FieldValidation validation = TRY(field_validation(call.query, "UpdateOptions"));
  Warnings warnings;
  Json object =
      TRY(decode_body(call.http, call.kind.resource, call.kind.schema_type, validation, warnings));
  TRY(check_name(object, call.route.name));
  name_after_url(object, call.route.name);
  const Json updated = TRY(options_.registry.update(call.kind, call.key(), call.route.subresource,
                                                    std::move(object), options));
  HttpResponse response = object_response(200, call.kind, updated, call.output, options_.clock);
  add_warnings(response, warnings);
  return response;
}

Handlers::Answer Handlers::patch(const Call& call) const {
  const WriteOptions options = TRY(write_options_of(call, "PatchOptions"));
  const FieldValidation validation = TRY(field_validation(call.query, "PatchOptions"));
  PatchRequest request;
  request.type = TRY(patch_type(call.http.header("Content-Type")));
  if (call.http.body.empty()) return Error{Code::BadRequest, "the request has no body"};
  ParsedBody body = TRY(parse_json_body(call.http.body));
  request.document = std::move(body.document);
  Warnings warnings;
  const auto decode = [&](Json& patched) -> Result<void> {
    warnings.clear();  // the patch may be applied again after a lost race
    TRY(check_type(call.kind.resource, patched));
    return check_schema(call.kind.resource, call.kind.schema_type, patched, validation,
                        body.duplicate_fields, warnings);
  };
  const Json patched = TRY(options_.registry.patch(call.kind, call.key(), call.route.subresource,
                                                   request, options, decode));
  HttpResponse response = object_response(200, call.kind, patched, call.output, options_.clock);
  add_warnings(response, warnings);
  return response;
}

namespace {

Result<RemoveOptions> read_remove_options(const HttpRequest& http, const Query& query) {
  if (http.body.empty()) return remove_options(query, nullptr);
  ParsedBody body = TRY(parse_body(http.header("Content-Type"), http.body));
  if (!body.document.is_object())
    return Error{Code::BadRequest, "the body of the request is not a JSON object"};
  const std::string kind = json_string(body.document, {"kind"});
  if (!kind.empty() && kind != "DeleteOptions")
    return Error{Code::BadRequest,
                 "the kind in the data (" + kind.substr(0, 128) + ") is not DeleteOptions"};
  const Resource options{
      .group = "meta.k8s.io", .version = "v1", .plural = "", .kind = "DeleteOptions"};
  Warnings ignored;
  TRY(check_schema(options, "meta.v1.DeleteOptions", body.document, FieldValidation::Ignore, {},
                   ignored));
  return remove_options(query, &body.document);
}

}  // namespace

Handlers::Answer Handlers::remove(const Call& call) const {
  RemoveOptions options = TRY(read_remove_options(call.http, call.query));
  options.write.admit = admission(call.who, call.kind.resource);
  const Registry::Removed removed =
      TRY(options_.registry.remove(call.kind, call.key(), options.options, options.write));
  if (!removed.gone)
    return object_response(200, call.kind, removed.object, call.output, options_.clock);
  const std::string uid = json_string(removed.object, {"metadata", "uid"});
  return json_response(
      200, success_status({call.route.name, call.route.group, call.route.plural, "", uid}),
      call.output);
}

// A deletion that asks. There are no PodDisruptionBudgets, so nothing says no.
Handlers::Answer Handlers::evict(const Call& call) const {
  const WriteOptions write = TRY(write_options(call.query, "CreateOptions"));
  const FieldValidation validation = TRY(field_validation(call.query, "CreateOptions"));
  if (call.http.body.empty()) return Error{Code::BadRequest, "the request has no body"};
  Resource eviction{.group = "policy", .version = "v1", .plural = "evictions", .kind = "Eviction"};
  ParsedBody body = TRY(parse_body(call.http.header("Content-Type"), call.http.body));
  if (!body.document.is_object())
    return Error{Code::BadRequest, "the body of the request is not a JSON object"};
  // The one older version has the same fields; clients before 1.22 send it.
  if (json_string(body.document, {"apiVersion"}) == "policy/v1beta1") eviction.version = "v1beta1";
  TRY(check_type(eviction, body.document));
  Warnings warnings;
  TRY(check_schema(eviction, "policy.v1.Eviction", body.document, validation, body.duplicate_fields,
                   warnings));
  TRY(check_name(body.document, call.route.name));
  const Json* asked = json_find(body.document, {"deleteOptions"});
  RemoveOptions options =
      TRY(remove_options({}, asked != nullptr && asked->is_object() ? asked : nullptr));
  options.write.dry_run = options.write.dry_run || write.dry_run;
  TRY(options_.registry.remove(call.kind, call.key(), options.options, options.write));
  HttpResponse response = json_response(201, success_status({}), call.output);
  add_warnings(response, warnings);
  return response;
}

Handlers::Answer Handlers::remove_collection(const Call& call) const {
  RemoveOptions options = TRY(read_remove_options(call.http, call.query));
  options.write.admit = admission(call.who, call.kind.resource);
  const ListRequest which = TRY(list_options(call.query, call.route));
  ListPage page = TRY(options_.registry.list(call.kind, which));
  ListPage removed;
  for (const EntryPtr& entry : page.entries) {
    const Json object = parse_stored(entry->value);
    DeleteOptions one = options.options;
    if (one.uid.empty())
      one.uid = json_string(object, {"metadata", "uid"});  // this one, not a later namesake
    const ObjectKey key{json_string(object, {"metadata", "namespace"}),
                        json_string(object, {"metadata", "name"})};
    const auto gone = options_.registry.remove(call.kind, key, one, options.write);
    if (gone) {
      removed.entries.push_back(entry);
    } else if (!is_not_found(gone.error()) && !is_conflict(gone.error()) &&
               gone.error().code != Code::Forbidden) {
      return gone.error();
    }
  }
  removed.revision = options_.registry.revision();
  removed.continue_token = page.continue_token;
  return list_response(call.kind, removed, call.output, options_.clock);
}

}  // namespace coracle
