// The types of the API as data: apiserver/schema/<group>_<version>.json, embedded in the binary.
// One source for unknown-field and type checks, defaults, strategic merge, OpenAPI and the protobuf
// decoder. Immutable, thread-safe.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace coracle {

struct SchemaType;

struct SchemaField {
  enum class Kind {
    String,
    Integer,
    Number,
    Boolean,
    Object,
    Any,
    IntOrString,
    Quantity,
    Time,
    MicroTime,
    Bytes
  };
  enum class Shape { Single, List, Map };
  std::string name;
  Kind kind = Kind::String;
  Shape shape = Shape::Single;
  const SchemaType* type = nullptr;  // Kind::Object; of a named scalar (Time, Quantity) its name
  std::string format;                // int32, int64, byte, date-time
  std::string description;
  int proto = 0;         // field number, 0 = none
  bool pointer = false;  // optional in Go: a zero on the wire is a value, not absence
  bool inlined = false;  // a protobuf-only message whose fields belong to the owner in JSON
  bool required = false;
  std::string default_json;  // "" = none
  std::vector<std::string> enumeration;
  std::string patch_strategy;  // "merge", "replace", "retainKeys", "merge,retainKeys"
  std::string patch_merge_key;
  std::vector<std::string> list_map_keys;
  std::string list_type;
};
struct SchemaType {
  std::string name;  // "core.v1.Pod"
  std::string description;
  std::vector<SchemaField> fields;
  // nullptr when there is none; protobuf-only messages have no JSON name.
  const SchemaField* find(std::string_view json_name) const;
  const SchemaField* find_proto(int number) const;
};

class Schema {
 public:
  // All embedded schemas. The first call parses them; an unreadable one is a programming error and
  // aborts.
  static const Schema& instance();
  const SchemaType* find(std::string_view type) const;
  // The type of an object by its apiVersion and kind ("discovery.k8s.io/v1", "EndpointSlice");
  // nullptr when unknown.
  const SchemaType* find_kind(std::string_view api_version, std::string_view kind) const;
  const std::map<std::string, SchemaType, std::less<>>& types() const { return types_; }

 private:
  Schema();
  std::map<std::string, SchemaType, std::less<>> types_;
};

enum class FieldValidation { Ignore, Warn, Strict };
struct DecodeReport {
  std::vector<std::string> warnings;  // Warn: `unknown field "spec.foo"`
};
// Checks the document against the type in place: wrong JSON types are a BadRequest naming the path;
// unknown fields are dropped, and reported or refused as asked (strict: `strict decoding error:
// unknown field "spec.foo", ...`); null members are dropped; schema defaults are NOT applied here.
Result<DecodeReport> check_document(const SchemaType& type, Json& document,
                                    FieldValidation validation,
                                    const std::vector<std::string>& duplicate_fields);
// Fills absent fields that have a schema default, recursively.
void apply_schema_defaults(const SchemaType& type, Json& document);

// Request bodies to JSON. Each checks depth (limit 1,000) without recursion overflow and reports
// duplicate keys by path.
struct ParsedBody {
  Json document;
  std::vector<std::string> duplicate_fields;
};
Result<ParsedBody> parse_json_body(std::string_view text);  // body_formats.cc
Result<ParsedBody> parse_yaml_body(std::string_view text);
// "k8s\0" + runtime.Unknown; the type is taken from the envelope's apiVersion and kind, which the
// document gets too.
Result<ParsedBody> parse_protobuf_body(std::string_view bytes);  // protobuf.cc

// patch.cc, pure. The result is the patched document; no "$..." directive survives.
// BadRequest/Invalid on a bad patch.
Result<Json> apply_json_merge_patch(Json document, const Json& patch);
Result<Json> apply_json_patch(Json document, const Json& patch);
Result<Json> apply_strategic_merge_patch(const SchemaType& type, Json document, const Json& patch);

}  // namespace coracle
