// The scale subresource: how many replicas an object has and should have, as an autoscaling/v1
// Scale, whatever the object's kind.
#include <nlohmann/json.hpp>

#include "handlers.h"
#include "handlers_options.h"
#include "registry_errors.h"
#include "resources/columns.h"
#include "resources/fields.h"
#include "schema.h"

namespace coracle {
namespace {

// A lost race means somebody else got through; so many in a row are a storm.
constexpr int kMostAttempts = 64;

// Describes the documents of the subresource; nothing is stored under it.
const ResourceKind& scale_kind() {
  static const ResourceKind kind = [] {
    ResourceKind out;
    out.resource = {"autoscaling", "v1", "scales", "Scale", true};
    out.schema_type = "autoscaling.v1.Scale";
    out.columns = columns::scales();
    return out;
  }();
  return kind;
}

Json scale_of(const Json& object) {
  Json metadata = Json::object();
  for (const char* key : {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"})
    if (has(object_at(object, "metadata"), key)) metadata[key] = object.at("metadata").at(key);
  const Json& spec = object_at(object, "spec");
  Json status = {{"replicas", json_int(object, {"status", "replicas"})}};
  if (const auto selector = LabelSelector::from_json(object_at(spec, "selector")))
    status["selector"] = selector->to_string();
  return {{"kind", "Scale"},
          {"apiVersion", "autoscaling/v1"},
          {"metadata", std::move(metadata)},
          {"spec", {{"replicas", number_in(spec, "replicas")}}},
          {"status", std::move(status)}};
}

Result<void> check_scale(const Json& scale, const std::string& name) {
  FieldErrors errors;
  const std::int64_t replicas = json_int(scale, {"spec", "replicas"});
  if (replicas < 0) errors.invalid("spec.replicas", replicas, "must be greater than or equal to 0");
  if (errors.empty()) return {};
  return invalid(scale_kind().resource, name, errors);
}

Result<Json> patched_scale(const SchemaType& schema, PatchType type, const Json& current,
                           const Json& patch) {
  switch (type) {
    case PatchType::JsonMerge:
      return apply_json_merge_patch(current, patch);
    case PatchType::JsonPatch:
      return apply_json_patch(current, patch);
    case PatchType::StrategicMerge:
      return apply_strategic_merge_patch(schema, current, patch);
  }
  return current;
}

// What a Scale asks of the object it is of; its metadata says of which state.
Json replicas_patch(const Json& scale) {
  Json metadata = Json::object();
  for (const char* key : {"name", "namespace", "uid", "resourceVersion"})
    if (!unset(object_at(scale, "metadata"), key)) metadata[key] = scale.at("metadata").at(key);
  return {{"metadata", std::move(metadata)},
          {"spec", {{"replicas", json_int(scale, {"spec", "replicas"})}}}};
}

}  // namespace

Result<Json> Handlers::stored_scale(const Call& call) const {
  const EntryPtr entry = TRY(options_.registry.get(call.kind, call.key()));
  return scale_of(parse_stored(entry->value));
}

Result<Json> Handlers::write_scale(const Call& call, const Json& scale,
                                   const WriteOptions& options) const {
  TRY(check_scale(scale, call.route.name));
  return scale_of(TRY(options_.registry.patch(
      call.kind, call.key(), "", {PatchType::JsonMerge, replicas_patch(scale)}, options, nullptr)));
}

Handlers::Answer Handlers::get_scale(const Call& call) const {
  TRY(options_.registry.await_revision(TRY(get_options(call.query))));
  return object_response(200, scale_kind(), TRY(stored_scale(call)), call.output, options_.clock);
}

Handlers::Answer Handlers::update_scale(const Call& call) const {
  const WriteOptions options = TRY(write_options_of(call, "UpdateOptions"));
  const Json scale = TRY(decode_named_body(call, scale_kind(), "UpdateOptions"));
  const Json written = TRY(write_scale(call, scale, options));
  return object_response(200, scale_kind(), written, call.output, options_.clock);
}

Handlers::Answer Handlers::patch_scale(const Call& call) const {
  const WriteOptions options = TRY(write_options_of(call, "PatchOptions"));
  const PatchType type = TRY(patch_type(call.http.header("Content-Type")));
  if (call.http.body.empty()) return Error{Code::BadRequest, "the request has no body"};
  const ParsedBody body = TRY(parse_json_body(call.http.body));
  const SchemaType& schema = *Schema::instance().find(scale_kind().schema_type);
  for (int i = 1;; ++i) {
    const Json current = TRY(stored_scale(call));
    Json next = TRY(patched_scale(schema, type, current, body.document));
    if (!next.is_object()) return Error{Code::BadRequest, "the patch leaves no JSON object"};
    TRY(check_document(schema, next, FieldValidation::Ignore, {}));
    const auto written = write_scale(call, next, options);
    if (written) return object_response(200, scale_kind(), *written, call.output, options_.clock);
    const bool lost_race =
        is_conflict(written.error()) && json_string(next, {"metadata", "resourceVersion"}) ==
                                            json_string(current, {"metadata", "resourceVersion"});
    if (!lost_race || i == kMostAttempts) return written.error();
  }
}

}  // namespace coracle
