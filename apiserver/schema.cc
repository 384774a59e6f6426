// Loads the embedded schemas once into tables. Everything else about types reads those tables.
#include "schema.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace coracle {

std::string_view embedded_schema(std::string_view name);
std::vector<std::string_view> embedded_schema_names();

namespace {

using Kind = SchemaField::Kind;
using Types = std::map<std::string, SchemaType, std::less<>>;

// The schemas are ours: one that does not load is a broken build.
[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "embedded schema: %s\n", what.c_str());
  std::abort();
}

std::string text_of(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it == json.end() || !it->is_string() ? std::string() : it->get<std::string>();
}

std::vector<std::string> texts_of(const Json& json, const char* key) {
  std::vector<std::string> out;
  const auto it = json.find(key);
  if (it == json.end()) return out;
  for (const Json& item : *it)
    if (item.is_string()) out.push_back(item.get<std::string>());
  return out;
}

Kind named_kind(std::string_view type) {
  if (type == "meta.v1.Time") return Kind::Time;
  if (type == "meta.v1.MicroTime") return Kind::MicroTime;
  if (type == "meta.v1.FieldsV1") return Kind::Any;
  if (type == "api.resource.Quantity") return Kind::Quantity;
  if (type == "util.intstr.IntOrString") return Kind::IntOrString;
  return Kind::Object;
}

Kind scalar_kind(const std::string& type, const std::string& format) {
  if (type == "integer") return Kind::Integer;
  if (type == "number") return Kind::Number;
  if (type == "boolean") return Kind::Boolean;
  if (type == "string") {
    if (format == "byte") return Kind::Bytes;
    if (format == "date-time") return Kind::Time;
    return Kind::String;
  }
  return Kind::Any;
}

void load_element(const Json& json, const Types& types, SchemaField& field) {
  const std::string reference = text_of(json, "$ref");
  if (!reference.empty()) {
    const auto it = types.find(reference);
    if (it == types.end()) die("no type " + reference);
    field.type = &it->second;
    field.kind = named_kind(reference);
    return;
  }
  field.format = text_of(json, "format");
  field.kind = scalar_kind(text_of(json, "type"), field.format);
}

SchemaField load_field(const std::string& name, const Json& json, const Types& types) {
  SchemaField field;
  field.name = name;
  field.description = text_of(json, "description");
  field.proto = json.value("x-proto", 0);
  field.pointer = json.value("x-pointer", false);
  field.inlined = json.value("x-inline", false);
  field.enumeration = texts_of(json, "enum");
  field.patch_strategy = text_of(json, "x-kubernetes-patch-strategy");
  field.patch_merge_key = text_of(json, "x-kubernetes-patch-merge-key");
  field.list_map_keys = texts_of(json, "x-kubernetes-list-map-keys");
  field.list_type = text_of(json, "x-kubernetes-list-type");
  if (const auto it = json.find("default"); it != json.end()) field.default_json = it->dump();
  if (const auto items = json.find("items"); items != json.end()) {
    field.shape = SchemaField::Shape::List;
    load_element(*items, types, field);
  } else if (const auto values = json.find("additionalProperties"); values != json.end()) {
    field.shape = SchemaField::Shape::Map;
    load_element(*values, types, field);
  } else {
    load_element(json, types, field);
  }
  return field;
}

void load_type(const Json& json, const Types& types, SchemaType& type) {
  type.description = text_of(json, "description");
  const auto properties = json.find("properties");
  if (properties == json.end()) return;
  const std::vector<std::string> required = texts_of(json, "required");
  type.fields.reserve(properties->size());
  // nlohmann's objects are sorted by name, which is what find() relies on.
  for (const auto& [name, value] : properties->items()) {
    type.fields.push_back(load_field(name, value, types));
    type.fields.back().required =
        std::find(required.begin(), required.end(), name) != required.end();
  }
}

}  // namespace

const SchemaField* SchemaType::find(std::string_view json_name) const {
  const auto it = std::lower_bound(fields.begin(), fields.end(), json_name,
                                   [](const SchemaField& f, std::string_view wanted) {
                                     return std::string_view(f.name) < wanted;
                                   });
  return it == fields.end() || it->name != json_name || it->inlined ? nullptr : &*it;
}

const SchemaField* SchemaType::find_proto(int number) const {
  for (const SchemaField& field : fields)
    if (field.proto == number) return &field;
  return nullptr;
}

Schema::Schema() {
  std::vector<Json> documents;
  for (const std::string_view name : embedded_schema_names()) {
    Json document = Json::parse(embedded_schema(name), nullptr, false);
    if (!document.is_object()) die(std::string(name) + " is no JSON object");
    for (const auto& [type, unused] : document.items()) types_[type].name = type;
    documents.push_back(std::move(document));
  }
  for (const Json& document : documents)
    for (const auto& [type, json] : document.items()) load_type(json, types_, types_[type]);
}

const Schema& Schema::instance() {
  static const Schema schema;
  return schema;
}

const SchemaType* Schema::find(std::string_view type) const {
  const auto it = types_.find(type);
  return it == types_.end() ? nullptr : &it->second;
}

const SchemaType* Schema::find_kind(std::string_view api_version, std::string_view kind) const {
  const auto slash = api_version.find('/');
  std::string type;
  if (slash == std::string_view::npos) {
    type = "core." + std::string(api_version);
  } else {
    // "discovery.k8s.io/v1" and "apps/v1" are both named by the group's first label.
    const std::string_view group = api_version.substr(0, slash);
    type = std::string(group.substr(0, group.find('.'))) + "." +
           std::string(api_version.substr(slash + 1));
  }
  if (const SchemaType* found = find(type + "." + std::string(kind))) return found;
  // Options and Status travel under the version of the kind that they are for.
  if (kind == "DeleteOptions" || kind == "Status") return find("meta.v1." + std::string(kind));
  return nullptr;
}

}  // namespace coracle
