// Kinds with little of their own: Namespace, Node, ConfigMap, Secret, ServiceAccount, Event, Lease.
#include <coracle/net.h>

#include <nlohmann/json.hpp>
#include <set>

#include "resources/columns.h"
#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr std::size_t kContentLimit = 1024UL * 1024;

void default_namespace(Json& ns) {
  const std::string name = json_string(ns, {"metadata", "name"});
  // Not stored yet when a name is still to be generated; the registry names the object first.
  if (!name.empty())
    object_in(object_in(ns, "metadata"), "labels")["kubernetes.io/metadata.name"] = name;
  object_in(ns, "spec");
}

void check_node(const Json& node, FieldErrors& errors) {
  const Json& spec = object_at(node, "spec");
  const Json& cidrs = array_in(spec, "podCIDRs");
  for (std::size_t i = 0; i < cidrs.size(); ++i)
    if (!Cidr::parse(cidrs[i].is_string() ? cidrs[i].get<std::string>() : ""))
      errors.invalid(indexed("spec.podCIDRs", i), cidrs[i],
                     "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
  const std::string cidr = text_in(spec, "podCIDR");
  if (!cidr.empty() && !cidrs.empty() && cidrs.front() != cidr)
    errors.invalid("spec.podCIDRs", cidrs, "podCIDR and podCIDRs[0] must match");
  std::set<std::string> seen;
  const Json& taints = array_in(spec, "taints");
  for (std::size_t i = 0; i < taints.size(); ++i) {
    const std::string path = indexed("spec.taints", i);
    const std::string key = text_in(taints[i], "key");
    if (const std::string problem = qualified_name_problem(key); !problem.empty())
      errors.invalid(path + ".key", key, problem);
    if (const std::string problem = label_value_problem(text_in(taints[i], "value"));
        !problem.empty())
      errors.invalid(path + ".value", text_in(taints[i], "value"), problem);
    check_one_of(taints[i], "effect", path + ".effect",
                 {"NoSchedule", "PreferNoSchedule", "NoExecute"}, errors);
    if (!seen.insert(key + ":" + text_in(taints[i], "effect")).second)
      errors.duplicate(path, taints[i]);
  }
}

// The range of a node is what its Pods' addresses were given from.
void check_node_update(const Json& node, const Json& old, FieldErrors& errors) {
  const std::string before = json_string(old, {"spec", "podCIDR"});
  if (!before.empty() && json_string(node, {"spec", "podCIDR"}) != before)
    errors.forbidden("spec.podCIDRs",
                     "node updates may not change podCIDR except from \"\" to valid");
  const std::string provider = json_string(old, {"spec", "providerID"});
  if (!provider.empty() && json_string(node, {"spec", "providerID"}) != provider)
    errors.forbidden("spec.providerID",
                     "node updates may not change providerID except from \"\" to valid");
}

void check_keys(const Json& object, const char* field, std::size_t& size, FieldErrors& errors) {
  for (const auto& [key, value] : object_at(object, field).items()) {
    if (const std::string problem = config_key_problem(key); !problem.empty())
      errors.invalid(std::string(field) + "[" + key + "]", key, problem);
    size += key.size() + (value.is_string() ? value.get_ref<const std::string&>().size() : 0);
  }
}

void check_config_map(const Json& object, FieldErrors& errors) {
  std::size_t size = 0;
  check_keys(object, "data", size, errors);
  check_keys(object, "binaryData", size, errors);
  for (const auto& [key, value] : object_at(object, "binaryData").items())
    if (object_at(object, "data").contains(key))
      errors.invalid("data[" + key + "]", key, "duplicate of key present in binaryData");
  if (size > kContentLimit) errors.too_long("", "may not be more than 1048576 bytes");
}

// `immutable: true` is for ever, for the flag and for the content.
void check_immutable(const Json& object, const Json& old, FieldErrors& errors) {
  if (!json_bool(old, {"immutable"})) return;
  if (!json_bool(object, {"immutable"}))
    errors.forbidden("immutable", "field is immutable when `immutable` is set");
  for (const char* field : {"data", "binaryData"})
    if (object_at(object, field) != object_at(old, field))
      errors.forbidden(field, "field is immutable when `immutable` is set");
}

std::string base64(const std::string& bytes) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t k = 0; k < 3; ++k)
      group = (group << 8U) | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (unsigned k = 0; k < 4; ++k)
      out += k <= count ? kAlphabet[(group >> (18U - 6U * k)) & 63U] : '=';
  }
  return out;
}

void default_secret(Json& secret) {
  set_default(secret, "type", "Opaque");
  if (!has(secret, "stringData")) return;
  // Write-only convenience: it overrides data and is never read back.
  Json& data = object_in(secret, "data");
  for (const auto& [key, value] : object_at(secret, "stringData").items())
    if (value.is_string()) data[key] = base64(value.get<std::string>());
  secret.erase("stringData");
}

void check_secret(const Json& secret, FieldErrors& errors) {
  std::size_t size = 0;
  check_keys(secret, "data", size, errors);
  if (size / 4 * 3 > kContentLimit) errors.too_long("data", "may not be more than 1048576 bytes");
  const std::string type = text_in(secret, "type");
  const auto need = [&](const char* key) {
    if (!object_at(secret, "data").contains(key)) errors.required("data[" + std::string(key) + "]");
  };
  if (type == "kubernetes.io/tls") {
    need("tls.crt");
    need("tls.key");
  }
  if (type == "kubernetes.io/dockerconfigjson") need(".dockerconfigjson");
  if (type == "kubernetes.io/ssh-auth") need("ssh-privatekey");
  if (type == "kubernetes.io/service-account-token" &&
      unset(object_at(object_at(secret, "metadata"), "annotations"),
            "kubernetes.io/service-account.name"))
    errors.required("metadata.annotations[kubernetes.io/service-account.name]");
}

void check_secret_update(const Json& secret, const Json& old, FieldErrors& errors) {
  if (text_in(secret, "type") != text_in(old, "type"))
    errors.invalid("type", text_in(secret, "type"), "field is immutable");
  check_immutable(secret, old, errors);
}

void check_event(const Json& event, FieldErrors& errors) {
  const std::string about = json_string(event, {"involvedObject", "namespace"});
  const std::string ns = json_string(event, {"metadata", "namespace"});
  // Events about cluster-scoped objects lie in "default".
  if (about.empty() ? ns != "default" && ns != "kube-system" : about != ns)
    errors.invalid("involvedObject.namespace", about, "does not match event.namespace");
}

void check_lease(const Json& lease, FieldErrors& errors) {
  const Json& spec = object_at(lease, "spec");
  if (has(spec, "leaseDurationSeconds") && number_in(spec, "leaseDurationSeconds") <= 0)
    errors.invalid("spec.leaseDurationSeconds", spec.at("leaseDurationSeconds"),
                   "must be greater than 0");
  if (has(spec, "leaseTransitions") && number_in(spec, "leaseTransitions") < 0)
    errors.invalid("spec.leaseTransitions", spec.at("leaseTransitions"),
                   "must be greater than or equal to 0");
}

ResourceKind basic(const Resource& resource, const char* singular,
                   std::vector<std::string> short_names, const char* schema_type) {
  ResourceKind kind;
  kind.resource = resource;
  kind.singular = singular;
  kind.short_names = std::move(short_names);
  kind.schema_type = schema_type;
  return kind;
}

}  // namespace

ResourceKind namespace_kind() {
  ResourceKind kind = basic(resources::kNamespaces, "namespace", {"ns"}, "core.v1.Namespace");
  kind.has_status = true;
  kind.delete_collection = false;
  kind.name_rule = ResourceKind::NameRule::Label;
  kind.subresources = {"finalize"};
  kind.selectable_fields = {"status.phase"};
  kind.apply_defaults = default_namespace;
  kind.prepare_create = [](Json& ns) {
    // Other finalizers may be asked for, ours is always there: it keeps the namespace until it is
    // empty.
    Json finalizers = array_in(object_at(ns, "spec"), "finalizers");
    if (std::find(finalizers.begin(), finalizers.end(), "kubernetes") == finalizers.end())
      finalizers.push_back("kubernetes");
    object_in(ns, "spec")["finalizers"] = std::move(finalizers);
    ns["status"] = {{"phase", "Active"}};
  };
  kind.prepare_update = [](Json& ns, const Json& old) { ns["spec"] = object_at(old, "spec"); };
  kind.columns = columns::namespaces();
  return kind;
}

ResourceKind node_kind() {
  ResourceKind kind = basic(resources::kNodes, "node", {"no"}, "core.v1.Node");
  kind.has_status = true;
  kind.subresources = {"proxy"};
  kind.selectable_fields = {"spec.unschedulable"};
  kind.apply_defaults = [](Json& node) {
    Json& spec = object_in(node, "spec");
    if (!json_bool(spec, {"unschedulable"})) spec.erase("unschedulable");
    const Json& cidrs = array_in(spec, "podCIDRs");
    if (unset(spec, "podCIDR") && !cidrs.empty()) spec["podCIDR"] = cidrs.front();
    if (!unset(spec, "podCIDR") && array_in(spec, "podCIDRs").empty())
      spec["podCIDRs"] = Json::array({spec["podCIDR"]});
  };
  kind.validate = check_node;
  kind.validate_update = check_node_update;
  kind.columns = columns::nodes();
  return kind;
}

ResourceKind config_map_kind() {
  ResourceKind kind = basic(resources::kConfigMaps, "configmap", {"cm"}, "core.v1.ConfigMap");
  kind.validate = check_config_map;
  kind.validate_update = check_immutable;
  kind.columns = columns::config_maps();
  return kind;
}

ResourceKind secret_kind() {
  ResourceKind kind = basic(resources::kSecrets, "secret", {}, "core.v1.Secret");
  kind.selectable_fields = {"type"};
  kind.apply_defaults = default_secret;
  kind.prepare_update = [](Json& secret, const Json& old) {
    // A client that leaves the type out got "Opaque" from the defaults; the type is what it was.
    if (text_in(secret, "type") == "Opaque" && has(old, "type")) secret["type"] = old.at("type");
  };
  kind.validate = check_secret;
  kind.validate_update = check_secret_update;
  kind.columns = columns::secrets();
  return kind;
}

ResourceKind service_account_kind() {
  ResourceKind kind =
      basic(resources::kServiceAccounts, "serviceaccount", {"sa"}, "core.v1.ServiceAccount");
  kind.columns = columns::service_accounts();
  return kind;
}

ResourceKind event_kind() {
  ResourceKind kind = basic(resources::kEvents, "event", {"ev"}, "core.v1.Event");
  kind.ephemeral = true;
  kind.retention = {.age = std::chrono::hours(1), .most = 1000};  // kube-apiserver's --event-ttl
  for (const char* f :
       {"kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"})
    kind.selectable_fields.push_back(std::string("involvedObject.") + f);
  for (const char* f : {"reason", "reportingComponent", "source", "type"})
    kind.selectable_fields.emplace_back(f);
  kind.validate = check_event;
  kind.columns = columns::events();
  return kind;
}

ResourceKind lease_kind() {
  ResourceKind kind = basic(resources::kLeases, "lease", {}, "coordination.v1.Lease");
  kind.ephemeral = true;
  kind.validate = check_lease;
  kind.columns = columns::leases();
  return kind;
}

}  // namespace coracle
