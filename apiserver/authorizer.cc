#include "authorizer.h"

#include <algorithm>

#include "registry_errors.h"
#include "resources/fields.h"

namespace coracle {
namespace {

constexpr std::string_view kNodePrefix = "system:node:";
constexpr const char* kReviewGroups[] = {"authorization.k8s.io", "authentication.k8s.io"};
constexpr const char* kJoinPath = "/coracle/v1/join";

// Which of a kind's objects a node's rule is about.
enum class Whose {
  All,
  OwnNode,     // the Node of its name
  NewNode,     // as OwnNode; the name may come with the body, where admission() looks at it
  OwnLease,    // the Lease of its name in kube-node-lease
  NewLease,    // as OwnLease
  Selected,    // Pods, when the request selects those bound to it
  Bound,       // a Pod bound to it, or gone: then the answer is that it is gone
  Referenced,  // what a Pod bound to it names
};
struct NodeRule {
  std::string_view verbs, group, resources;
  Whose whose;
};
constexpr NodeRule kNodeRules[] = {
    {"get list watch", "", "services endpoints nodes namespaces", Whose::All},
    {"get list watch", "discovery.k8s.io", "endpointslices", Whose::All},
    {"create", "", "nodes", Whose::NewNode},
    {"update patch", "", "nodes nodes/status", Whose::OwnNode},
    {"create", "coordination.k8s.io", "leases", Whose::NewLease},
    {"get update patch delete", "coordination.k8s.io", "leases", Whose::OwnLease},
    {"list watch", "", "pods", Whose::Selected},
    {"get delete", "", "pods", Whose::Bound},
    {"get update patch", "", "pods/status", Whose::Bound},
    {"get", "", "configmaps secrets", Whose::Referenced},
    {"create patch", "", "events", Whose::All},
};

// Paths that tell what the API is, as upstream's system:discovery.
constexpr std::string_view kDiscovery[] = {"/api",     "/apis",   "/healthz", "/livez",
                                           "/openapi", "/readyz", "/version"};

bool has_word(std::string_view words, std::string_view word) {
  for (std::size_t at = words.find(word); at != std::string_view::npos && !word.empty();
       at = words.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || words[at - 1] == ' ') && (end == words.size() || words[end] == ' '))
      return true;
  }
  return false;
}

Json words_of(std::string_view words) {
  Json out = Json::array();
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    out.push_back(words.substr(0, end));
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return out;
}

bool is_discovery(const std::string& path) {
  return std::any_of(std::begin(kDiscovery), std::end(kDiscovery), [&](std::string_view prefix) {
    return path == prefix || path.starts_with(std::string(prefix) + "/");
  });
}

bool is_review(const AccessRequest& request) {
  return request.verb == "create" &&
         std::any_of(std::begin(kReviewGroups), std::end(kReviewGroups),
                     [&](const char* group) { return request.group == group; }) &&
         request.resource.starts_with("selfsubject");
}

bool names(const Json& parent, const char* reference, const char* field, const std::string& name) {
  return text_in(object_at(parent, reference), field) == name;
}

bool container_names(const Json& container, bool secret, const std::string& name) {
  for (const Json& variable : array_in(container, "env"))
    if (names(object_at(variable, "valueFrom"), secret ? "secretKeyRef" : "configMapKeyRef", "name",
              name))
      return true;
  for (const Json& source : array_in(container, "envFrom"))
    if (names(source, secret ? "secretRef" : "configMapRef", "name", name)) return true;
  return false;
}

bool volume_names(const Json& volume, bool secret, const std::string& name) {
  const char* kind = secret ? "secret" : "configMap";
  if (names(volume, kind, secret ? "secretName" : "name", name)) return true;
  for (const Json& source : array_in(object_at(volume, "projected"), "sources"))
    if (names(source, kind, "name", name)) return true;
  return false;
}

bool pod_names(const Json& pod, bool secret, const std::string& name) {
  const Json& spec = object_at(pod, "spec");
  for (const char* list : {"containers", "initContainers", "ephemeralContainers"})
    for (const Json& container : array_in(spec, list))
      if (container_names(container, secret, name)) return true;
  for (const Json& volume : array_in(spec, "volumes"))
    if (volume_names(volume, secret, name)) return true;
  for (const Json& pull : array_in(spec, "imagePullSecrets"))
    if (secret && text_in(pull, "name") == name) return true;
  return false;
}

bool selects_node(const FieldSelector& fields, const std::string& node) {
  const auto& terms = fields.terms();
  return std::any_of(terms.begin(), terms.end(), [&](const FieldSelector::Term& term) {
    return term.field == "spec.nodeName" && term.equal && term.value == node;
  });
}

// "": allowed.
std::string why_not_pod(const std::string& node, const AccessRequest& request,
                        const AccessView& view) {
  const auto pod = view.pod({request.ns, request.name});
  if (!pod || json_string(*pod, {"spec", "nodeName"}) == node) return "";
  return "the Pod is not bound to node \"" + node + "\"";
}

std::string why_not_reference(const std::string& node, const AccessRequest& request,
                              const AccessView& view) {
  const bool secret = request.resource == "secrets";
  const auto pods = view.pods_of(node, request.ns);
  if (!request.name.empty() && !request.ns.empty() &&
      std::any_of(pods.begin(), pods.end(),
                  [&](const Json& pod) { return pod_names(pod, secret, request.name); }))
    return "";
  return "no relationship found between node \"" + node + "\" and this object";
}

std::string why_not_here(const NodeRule& rule, const std::string& node,
                         const AccessRequest& request, const AccessView& view) {
  const bool create = rule.whose == Whose::NewNode || rule.whose == Whose::NewLease;
  const bool own = request.name == node || (create && request.name.empty());
  switch (rule.whose) {
    case Whose::All:
      return "";
    case Whose::OwnNode:
    case Whose::NewNode:
      if (own) return "";
      return "node \"" + node + "\" is not allowed to modify node \"" + request.name + "\"";
    case Whose::OwnLease:
    case Whose::NewLease:
      if (own && request.ns == "kube-node-lease") return "";
      return "node \"" + node + "\" can only access the lease of its name in kube-node-lease";
    case Whose::Selected:
      if (selects_node(request.fields, node)) return "";
      return "node \"" + node + "\" can only " + request.verb +
             " Pods with the field selector spec.nodeName=" + node;
    case Whose::Bound:
      return why_not_pod(node, request, view);
    case Whose::Referenced:
      return why_not_reference(node, request, view);
  }
  return "";
}

Decision decide_for_node(const std::string& node, const AccessRequest& request,
                         const AccessView& view) {
  for (const NodeRule& rule : kNodeRules) {
    if (request.group != rule.group || !has_word(rule.resources, request.full_resource()) ||
        !has_word(rule.verbs, request.verb))
      continue;
    const std::string why_not = why_not_here(rule, node, request, view);
    if (why_not.empty()) return {true, "a node may"};
    return {false, why_not};
  }
  return {false, "a node may not"};
}

class RegistryView : public AccessView {
 public:
  explicit RegistryView(const Registry& registry) : registry_(registry) {}

  std::optional<Json> pod(const ObjectKey& key) const override {
    const ResourceKind* kind = registry_.find("", "v1", "pods");
    const auto entry = kind == nullptr ? Result<EntryPtr>(Error{}) : registry_.get(*kind, key);
    if (!entry) return std::nullopt;
    return Json::parse((*entry)->value, nullptr, false);
  }

  std::vector<Json> pods_of(const std::string& node, const std::string& ns) const override {
    std::vector<Json> out;
    const ResourceKind* kind = registry_.find("", "v1", "pods");
    auto bound = FieldSelector::parse("spec.nodeName=" + node);
    if (kind == nullptr || !bound || ns.empty()) return out;
    ListRequest request;
    request.ns = ns;
    request.fields = std::move(*bound);
    const auto page = registry_.list(*kind, request);
    if (!page) return out;
    for (const EntryPtr& entry : page->entries)
      out.push_back(Json::parse(entry->value, nullptr, false));
    return out;
  }

  std::string node_key(const std::string& node) const override {
    const ResourceKind* kind = registry_.find("", "v1", "nodes");
    const auto entry =
        kind == nullptr ? Result<EntryPtr>(Error{}) : registry_.get(*kind, {"", node});
    if (!entry) return "";
    return json_string(Json::parse((*entry)->value, nullptr, false),
                       {"metadata", "annotations", kNodeKeyAnnotation});
  }

 private:
  const Registry& registry_;
};

}  // namespace

std::string AccessRequest::full_resource() const {
  return subresource.empty() ? resource : resource + "/" + subresource;
}

Result<AccessRequest> access_request(std::string_view method, std::string_view raw_path,
                                     const ApiPath& route, const Query& query) {
  AccessRequest out;
  if (route.target != ApiPath::Target::Resource) {
    out.path = percent_decode(raw_path, false).value_or("");
    for (const char c : method) out.verb += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return out;
  }
  out.verb = verb_name(TRY(verb_of(method, route, query)));
  out.group = route.group;
  out.resource = route.plural;
  out.subresource = route.subresource;
  out.ns = route.ns;
  out.name = route.name;
  out.fields = TRY(FieldSelector::parse(query.get("fieldSelector")));
  return out;
}

Result<AccessRequest> access_question(const Json& spec) {
  AccessRequest out;
  const Json& path = object_at(spec, "nonResourceAttributes");
  if (!path.empty()) {
    out.path = text_in(path, "path");
    out.verb = text_in(path, "verb");
    return out;
  }
  const Json& about = object_at(spec, "resourceAttributes");
  out.verb = text_in(about, "verb");
  out.group = text_in(about, "group");
  out.resource = text_in(about, "resource");
  out.subresource = text_in(about, "subresource");
  out.ns = text_in(about, "namespace");
  out.name = text_in(about, "name");
  out.fields = TRY(FieldSelector::parse(json_string(about, {"fieldSelector", "rawSelector"})));
  return out;
}

std::unique_ptr<AccessView> access_view(const Registry& registry) {
  return std::make_unique<RegistryView>(registry);
}

bool is_member(const Identity& who, std::string_view group) {
  return std::find(who.groups.begin(), who.groups.end(), group) != who.groups.end();
}

std::string node_of(const Identity& who) {
  if (!is_member(who, "system:nodes") || !who.user.starts_with(kNodePrefix)) return "";
  return who.user.substr(kNodePrefix.size());
}

Decision decide(const Identity& who, const AccessRequest& request, const AccessView& view) {
  if (is_member(who, "system:masters"))
    return {true, "members of system:masters may do everything"};
  const std::string node = node_of(who);
  const bool joins = request.verb == "post" && request.path == kJoinPath;
  if (!node.empty()) {
    const std::string key = view.node_key(node);
    if (!key.empty() && key != who.key)
      return {false, "node \"" + node + "\" has joined again with another key, which took the " +
                         "place of this one"};
  }
  if (who.lapsed && !joins)
    return {false, "the certificate has expired: it is only good for its renewal"};
  if (is_member(who, "system:bootstrappers"))
    return {joins, joins ? "a bootstrap token may join" : "a bootstrap token may only join"};
  if (joins && !node.empty()) return {true, "a node may renew its certificate"};
  if (!request.path.empty()) {
    const bool read = request.verb == "get" || request.verb == "head";
    if (read && is_discovery(request.path)) return {true, "everybody may see what the API is"};
    return {false, node.empty() ? "no rule allows it" : "a node may not"};
  }
  if (is_review(request)) return {true, "everybody may ask what they may"};
  if (node.empty()) return {false, "no rule allows it"};
  return decide_for_node(node, request, view);
}

Error access_forbidden(const Identity& who, const AccessRequest& request,
                       const std::string& reason) {
  const std::string user = "User \"" + who.user + "\" cannot " + request.verb;
  if (!request.path.empty())
    return {Code::Forbidden, "forbidden: " + user + " path \"" + request.path + "\": " + reason};
  std::string message = qualified_resource(
      {.group = request.group, .version = "", .plural = request.resource, .kind = ""});
  if (!request.name.empty()) message += " \"" + request.name + "\"";
  message += " is forbidden: " + user + " resource \"" + request.full_resource() +
             "\" in API group \"" + request.group + "\"";
  message +=
      request.ns.empty() ? " at the cluster scope" : " in the namespace \"" + request.ns + "\"";
  return {Code::Forbidden, message + ": " + reason};
}

Json access_rules(const Identity& who) {
  const Json all = Json::array({"*"});
  if (is_member(who, "system:masters"))
    return {
        {"resourceRules", Json::array({{{"verbs", all}, {"apiGroups", all}, {"resources", all}}})},
        {"nonResourceRules", Json::array({{{"verbs", all}, {"nonResourceURLs", all}}})},
        {"incomplete", false}};
  Json resources = Json::array();
  Json paths = Json::array();
  for (const char* group : kReviewGroups)
    resources.push_back({{"verbs", {"create"}}, {"apiGroups", {group}}, {"resources", {"*"}}});
  for (const std::string_view path : kDiscovery)
    for (const std::string& url : {std::string(path), std::string(path) + "/*"})
      paths.push_back(url);
  const std::string node = node_of(who);
  for (const NodeRule& rule : kNodeRules) {
    if (node.empty()) break;
    Json one = {{"verbs", words_of(rule.verbs)},
                {"apiGroups", {rule.group}},
                {"resources", words_of(rule.resources)}};
    if (rule.whose == Whose::OwnNode || rule.whose == Whose::OwnLease)
      one["resourceNames"] = {node};
    resources.push_back(std::move(one));
  }
  return {{"resourceRules", std::move(resources)},
          {"nonResourceRules",
           Json::array({{{"verbs", {"get"}}, {"nonResourceURLs", std::move(paths)}}})},
          {"incomplete", !node.empty()}};  // more depends on the objects
}

}  // namespace coracle
