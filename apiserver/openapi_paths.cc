// The paths of every kind with the operations on them. What clients look for: the GVK extension,
// and on PATCH the parameters dryRun and fieldValidation and the accepted patch types.
#include <nlohmann/json.hpp>

#include "openapi.h"

namespace coracle::openapi {
namespace {

constexpr const char* kPatchTypes[] = {"application/json-patch+json",
                                       "application/merge-patch+json",
                                       "application/strategic-merge-patch+json"};

struct Parameter {
  const char* name;
  const char* type;
  const char* description;
};
constexpr Parameter kPretty = {"pretty", "string", "Indent the answer."};
constexpr Parameter kDryRun = {"dryRun", "string",
                               "With All the request is checked but nothing is stored."};
constexpr Parameter kManager = {"fieldManager", "string",
                                "Names the program that makes the change."};
constexpr Parameter kValidation = {
    "fieldValidation", "string",
    "What to do about unknown or repeated fields: Ignore, Warn or Strict."};
constexpr Parameter kForce = {"force", "boolean",
                              "Take over fields of other managers; for apply patches only."};
constexpr Parameter kList[] = {
    {"allowWatchBookmarks", "boolean", "The watch may contain bookmarks."},
    {"continue", "string", "Where the page before ended."},
    {"fieldSelector", "string", "Only objects with these field values."},
    {"labelSelector", "string", "Only objects with these labels."},
    {"limit", "integer", "At most so many objects in one answer."},
    {"resourceVersion", "string", "The version to begin from."},
    {"resourceVersionMatch", "string", "How resourceVersion is meant."},
    {"timeoutSeconds", "integer", "When the call ends."},
    {"watch", "boolean", "Send changes as they come."}};
constexpr Parameter kRemove[] = {
    {"gracePeriodSeconds", "integer", "How long the object may take to end."},
    {"propagationPolicy", "string",
     "What happens to dependents: Orphan, Background or Foreground."}};

struct Verb {
  const char* method;
  const char* action;
  const char* id;
  const char* description;
};
constexpr Verb kRead = {"get", "get", "read", "read the specified "};
constexpr Verb kReplace = {"put", "put", "replace", "replace the specified "};
constexpr Verb kPatch = {"patch", "patch", "patch", "partially update the specified "};
constexpr Verb kDelete = {"delete", "delete", "delete", "delete a "};
constexpr Verb kListVerb = {"get", "list", "list", "list or watch objects of kind "};
constexpr Verb kCreate = {"post", "post", "create", "create a "};
constexpr Verb kDeleteAll = {"delete", "deletecollection", "deletecollection",
                             "delete collection of "};

// Builds the operations of one kind.
class Operations {
 public:
  Operations(const ResourceKind& kind, bool v3) : kind_(kind), v3_(v3) {}

  Json item(const std::string& suffix) const {
    Json out = {{"get", operation(kRead, suffix)},
                {"put", operation(kReplace, suffix)},
                {"patch", operation(kPatch, suffix)}};
    if (suffix.empty()) out["delete"] = operation(kDelete, suffix);
    out["parameters"] = path_parameters(true);
    return out;
  }
  Json collection() const {
    Json out = {{"get", operation(kListVerb, "")}, {"post", operation(kCreate, "")}};
    if (kind_.delete_collection) out["delete"] = operation(kDeleteAll, "");
    if (kind_.resource.namespaced) out["parameters"] = path_parameters(false);
    return out;
  }
  Json question() const { return {{"post", operation(kCreate, "")}}; }
  Json everywhere() const { return {{"get", operation(kListVerb, "ForAllNamespaces")}}; }

 private:
  Json parameter(const Parameter& p, const char* in) const {
    Json out = {{"name", p.name}, {"in", in}, {"description", p.description}};
    if (v3_) {
      out["schema"] = {{"type", p.type}, {"uniqueItems", true}};
    } else {
      out["type"] = p.type;
      out["uniqueItems"] = true;
    }
    if (std::string_view(in) == "path") out["required"] = true;
    return out;
  }

  Json path_parameters(bool named) const {
    static constexpr Parameter kName = {"name", "string", "The object's name."};
    static constexpr Parameter kNamespace = {"namespace", "string", "The object's namespace."};
    Json out = Json::array();
    if (named) out.push_back(parameter(kName, "path"));
    if (kind_.resource.namespaced) out.push_back(parameter(kNamespace, "path"));
    return out;
  }

  Json query_parameters(const Verb& verb) const {
    const std::string_view action = verb.action;
    Json out = Json::array({parameter(kPretty, "query")});
    const auto append = [&](const Parameter& p) { out.push_back(parameter(p, "query")); };
    if (action == "post" || action == "put" || action == "patch") {
      for (const Parameter& p : {kDryRun, kManager, kValidation}) append(p);
      if (action == "patch") append(kForce);
    }
    if (action == "delete" || action == "deletecollection") {
      append(kDryRun);
      for (const Parameter& p : kRemove) append(p);
    }
    if (action == "list" || action == "deletecollection")
      for (const Parameter& p : kList) append(p);
    return out;
  }

  Json reference(const std::string& type) const {
    return {{"$ref", (v3_ ? "#/components/schemas/" : "#/definitions/") + definition_name(type)}};
  }

  Json responses(const Verb& verb) const {
    const std::string_view action = verb.action;
    std::string type = kind_.schema_type;
    if (action == "list") type += "List";
    if (action == "delete" || action == "deletecollection") type = "meta.v1.Status";
    Json answer = {{"description", "OK"}};
    if (v3_) {
      answer["content"]["application/json"]["schema"] = reference(type);
    } else {
      answer["schema"] = reference(type);
    }
    Json out = {{"200", answer}, {"401", {{"description", "Unauthorized"}}}};
    if (action == "post") out["201"] = answer;
    return out;
  }

  // The request's body: in v3 a member of its own, in v2 one more parameter.
  void add_body(const Verb& verb, Json& operation) const {
    const std::string_view action = verb.action;
    if (action == "get" || action == "list") return;
    const bool patch = action == "patch";
    const bool remove = action == "delete" || action == "deletecollection";
    Json schema = reference(remove ? "meta.v1.DeleteOptions" : kind_.schema_type);
    if (patch) schema = {{"type", "object"}};
    if (v3_) {
      Json& content = operation["requestBody"]["content"];
      if (!patch) content["*/*"]["schema"] = schema;
      for (const char* type : kPatchTypes)
        if (patch) content[type]["schema"] = schema;
      return;
    }
    operation["consumes"] = Json::array({"*/*"});
    if (patch) operation["consumes"] = kPatchTypes;
    operation["parameters"].push_back({{"name", "body"}, {"in", "body"}, {"schema", schema}});
  }

  Json operation(const Verb& verb, const std::string& suffix) const {
    const Resource& r = kind_.resource;
    const std::string group = r.group.empty() ? "core" : r.group.substr(0, r.group.find('.'));
    std::string id = verb.id + capital(group) + capital(r.version);
    if (r.namespaced && suffix != "ForAllNamespaces") id += "Namespaced";
    id += r.kind + suffix;
    Json out = {{"operationId", id},
                {"description", verb.description + r.kind},
                {"x-kubernetes-action", verb.action},
                {"x-kubernetes-group-version-kind",
                 {{"group", r.group}, {"version", r.version}, {"kind", r.kind}}},
                {"parameters", query_parameters(verb)},
                {"responses", responses(verb)}};
    add_body(verb, out);
    return out;
  }

  static std::string capital(std::string text) {
    if (!text.empty() && text[0] >= 'a' && text[0] <= 'z')
      text[0] = static_cast<char>(text[0] - 32);
    return text;
  }

  const ResourceKind& kind_;
  bool v3_;
};

}  // namespace

Json paths(const std::vector<ResourceKind>& kinds, bool v3) {
  Json out = Json::object();
  for (const ResourceKind& kind : kinds) {
    const Resource& r = kind.resource;
    const Operations operations(kind, v3);
    const std::string root = (r.group.empty() ? "/api/" : "/apis/") + r.api_version() + "/";
    const std::string base = root + (r.namespaced ? "namespaces/{namespace}/" : "") + r.plural;
    if (kind.answer) {
      out[base] = operations.question();
      continue;
    }
    out[base] = operations.collection();
    out[base + "/{name}"] = operations.item("");
    if (kind.has_status) out[base + "/{name}/status"] = operations.item("Status");
    if (r.namespaced) out[root + r.plural] = operations.everywhere();
  }
  return out;
}

}  // namespace coracle::openapi
