// The schema's types as OpenAPI schemas.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "openapi.h"

namespace coracle::openapi {
namespace {

using Kind = SchemaField::Kind;
using Shape = SchemaField::Shape;

constexpr const char* kGvk = "x-kubernetes-group-version-kind";

Json scalar(const SchemaField& field) {
  const char* type = "string";
  if (field.kind == Kind::Integer) type = "integer";
  if (field.kind == Kind::Number) type = "number";
  if (field.kind == Kind::Boolean) type = "boolean";
  Json out = {{"type", type}};
  if (field.kind == Kind::Any) out["type"] = "object";
  if (!field.format.empty()) out["format"] = field.format;
  return out;
}

class Writer {
 public:
  explicit Writer(bool v3) : v3_(v3) {}

  Json reference(const SchemaType& type) const {
    return {
        {"$ref", (v3_ ? "#/components/schemas/" : "#/definitions/") + definition_name(type.name)}};
  }

  // In v3 a reference may have no siblings: what else is to be said stands around an allOf.
  Json element(const SchemaField& field, bool alone) const {
    if (field.type == nullptr) return scalar(field);
    if (!v3_) return reference(*field.type);
    Json out = {{"allOf", Json::array({reference(*field.type)})}};
    if (field.kind == Kind::Object && alone) out["default"] = Json::object();
    return out;
  }

  Json field(const SchemaField& f) const {
    Json out;
    if (f.shape == Shape::List) {
      out = {{"type", "array"}, {"items", element(f, true)}};
    } else if (f.shape == Shape::Map) {
      out = {{"type", "object"}, {"additionalProperties", element(f, true)}};
    } else {
      out = element(f, false);
    }
    if (!f.description.empty()) out["description"] = f.description;
    if (!f.enumeration.empty()) out["enum"] = f.enumeration;
    if (!f.default_json.empty()) out["default"] = Json::parse(f.default_json, nullptr, false);
    if (!f.patch_strategy.empty()) out["x-kubernetes-patch-strategy"] = f.patch_strategy;
    if (!f.patch_merge_key.empty()) out["x-kubernetes-patch-merge-key"] = f.patch_merge_key;
    if (!f.list_type.empty()) out["x-kubernetes-list-type"] = f.list_type;
    if (!f.list_map_keys.empty()) out["x-kubernetes-list-map-keys"] = f.list_map_keys;
    return out;
  }

  Json named_scalar(const SchemaType& type) const {
    if (type.name == "meta.v1.Time" || type.name == "meta.v1.MicroTime")
      return {{"type", "string"}, {"format", "date-time"}};
    if (type.name == "util.intstr.IntOrString") {
      if (!v3_) return {{"type", "string"}, {"format", "int-or-string"}};
      return {{"oneOf", Json::array({{{"type", "integer"}}, {{"type", "string"}}})},
              {"format", "int-or-string"}};
    }
    if (type.name == "api.resource.Quantity") {
      if (!v3_) return {{"type", "string"}};
      return {{"oneOf", Json::array({{{"type", "string"}}, {{"type", "number"}}})}};
    }
    return {{"type", "object"}};
  }

  Json type(const SchemaType& t) const {
    Json out;
    if (t.fields.empty()) {
      out = named_scalar(t);
    } else {
      out = {{"type", "object"}};
      Json& properties = out["properties"] = Json::object();
      for (const SchemaField& f : t.fields) {
        if (f.inlined) continue;
        properties[f.name] = field(f);
        if (f.required) out["required"].push_back(f.name);
      }
    }
    if (!t.description.empty()) out["description"] = t.description;
    return out;
  }

 private:
  bool v3_;
};

void reach(const SchemaType& type, std::map<std::string, const SchemaType*>& found) {
  if (!found.emplace(type.name, &type).second) return;
  for (const SchemaField& field : type.fields)
    if (field.type != nullptr && !field.inlined) reach(*field.type, found);
}

}  // namespace

std::string definition_name(std::string_view type) {
  const std::string name(type);
  if (type.starts_with("meta.")) return "io.k8s.apimachinery.pkg.apis." + name;
  if (type.starts_with("api.") || type.starts_with("util."))
    return "io.k8s.apimachinery.pkg." + name;
  return "io.k8s.api." + name;
}

std::vector<std::string> roots_of(const std::vector<ResourceKind>& kinds) {
  std::vector<std::string> roots = {"meta.v1.DeleteOptions", "meta.v1.Status"};
  for (const ResourceKind& kind : kinds) {
    roots.push_back(kind.schema_type);
    roots.push_back(kind.schema_type + "List");
    for (const std::string& sub : kind.subresources) {
      if (sub == "binding") roots.emplace_back("core.v1.Binding");
      if (sub == "eviction") roots.emplace_back("policy.v1.Eviction");
      if (sub == "scale") roots.emplace_back("autoscaling.v1.Scale");
    }
  }
  return roots;
}

Json definitions(const std::vector<std::string>& roots, const std::vector<ResourceKind>& kinds,
                 bool v3) {
  const Schema& schema = Schema::instance();
  std::map<std::string, const SchemaType*> found;
  for (const std::string& root : roots)
    if (const SchemaType* type = schema.find(root)) reach(*type, found);
  const Writer writer(v3);
  Json out = Json::object();
  for (const auto& [name, type] : found) out[definition_name(name)] = writer.type(*type);
  const auto mark = [&](const std::string& type, const Resource& resource,
                        const std::string& kind) {
    const auto it = out.find(definition_name(type));
    if (it == out.end()) return;
    (*it)[kGvk].push_back(
        {{"group", resource.group}, {"version", resource.version}, {"kind", kind}});
  };
  for (const ResourceKind& kind : kinds) {
    mark(kind.schema_type, kind.resource, kind.resource.kind);
    mark(kind.schema_type + "List", kind.resource, kind.resource.kind + "List");
    mark("meta.v1.DeleteOptions", kind.resource, "DeleteOptions");
  }
  const Resource core{"", "v1", "", "", false};
  mark("meta.v1.Status", core, "Status");
  mark("core.v1.Binding", core, "Binding");
  // One entry is enough for options that every kind of a version shares.
  const auto options = out.find(definition_name("meta.v1.DeleteOptions"));
  if (options != out.end() && options->contains(kGvk)) {
    Json unique = Json::array();
    for (const Json& gvk : (*options)[kGvk])
      if (std::find(unique.begin(), unique.end(), gvk) == unique.end()) unique.push_back(gvk);
    (*options)[kGvk] = std::move(unique);
  }
  return out;
}

}  // namespace coracle::openapi
