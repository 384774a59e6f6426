// What every object's metadata must satisfy, after apimachinery's ValidateObjectMeta.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "resources/fields.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr std::size_t kAnnotationsLimit = 262144;

void check_annotations(const Json& annotations, FieldErrors& errors) {
  if (!annotations.is_object()) return;
  std::size_t size = 0;
  for (const auto& [key, value] : annotations.items()) {
    std::string lowered = key;
    std::transform(lowered.begin(), lowered.end(), lowered.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const std::string problem = qualified_name_problem(lowered);
    if (!problem.empty()) errors.invalid("metadata.annotations", key, problem);
    size += key.size() + (value.is_string() ? value.get_ref<const std::string&>().size() : 0);
  }
  if (size > kAnnotationsLimit)
    errors.too_long("metadata.annotations", "may not be more than 262144 bytes");
}

void check_owners(const Json& metadata, FieldErrors& errors) {
  std::string controller;
  bool second = false;
  const Json& owners = array_in(metadata, "ownerReferences");
  for (std::size_t i = 0; i < owners.size(); ++i) {
    const std::string field = indexed("metadata.ownerReferences", i);
    if (unset(owners[i], "apiVersion"))
      errors.invalid(field + ".apiVersion", "", "version must not be empty");
    for (const char* key : {"kind", "name", "uid"})
      if (unset(owners[i], key)) errors.invalid(field + "." + key, "", "must not be empty");
    if (!json_bool(owners[i], {"controller"})) continue;
    const std::string who = text_in(owners[i], "kind") + "/" + text_in(owners[i], "name");
    if (!controller.empty() && !second)
      errors.invalid(
          "metadata.ownerReferences", owners,
          "Only one reference can have Controller set to true. Found \"true\" in references for " +
              controller + " and " + who);
    second = !controller.empty();  // said once: it shows the whole list
    controller = who;
  }
}

void check_finalizers(const Json& metadata, FieldErrors& errors) {
  std::set<std::string> seen;
  for (const Json& finalizer : array_in(metadata, "finalizers")) {
    const std::string text = finalizer.is_string() ? finalizer.get<std::string>() : "";
    const std::string problem = qualified_name_problem(text);
    if (!problem.empty()) errors.invalid("metadata.finalizers", text, problem);
    seen.insert(text);
  }
  if (seen.count("orphan") != 0 && seen.count("foregroundDeletion") != 0)
    errors.invalid("metadata.finalizers", array_in(metadata, "finalizers"),
                   "finalizer orphan and foregroundDeletion cannot be both set");
}

void check_name(const ResourceKind& kind, const Json& metadata, FieldErrors& errors) {
  if (const std::string prefix = text_in(metadata, "generateName"); !prefix.empty()) {
    const std::string problem = name_problem(kind.name_rule, prefix, true);
    if (!problem.empty()) errors.invalid("metadata.generateName", prefix, problem);
  }
  const std::string name = text_in(metadata, "name");
  if (name.empty()) return errors.required("metadata.name", "name or generateName is required");
  const std::string problem = name_problem(kind.name_rule, name, false);
  if (!problem.empty()) errors.invalid("metadata.name", name, problem);
}

}  // namespace

void check_metadata(const ResourceKind& kind, const Json& metadata, FieldErrors& errors) {
  check_name(kind, metadata, errors);
  if (kind.resource.namespaced) {
    const std::string ns = text_in(metadata, "namespace");
    const std::string problem = ns.empty() ? "" : dns1123_label_problem(ns);
    if (ns.empty()) errors.required("metadata.namespace");
    if (!problem.empty()) errors.invalid("metadata.namespace", ns, problem);
  }
  check_labels(object_at(metadata, "labels"), "metadata.labels", errors);
  check_annotations(object_at(metadata, "annotations"), errors);
  check_owners(metadata, errors);
  check_finalizers(metadata, errors);
}

void check_metadata_update(const Json& metadata, const Json& old, FieldErrors& errors) {
  for (const char* key : {"name", "namespace", "uid", "creationTimestamp"}) {
    const std::string now = text_in(metadata, key);
    if (now != text_in(old, key))
      errors.invalid(std::string("metadata.") + key, now, "field is immutable");
  }
  if (!has(old, "deletionTimestamp")) return;
  std::string added;
  const Json& old_list = array_in(old, "finalizers");
  const std::set<Json> before(old_list.begin(), old_list.end());
  for (const Json& finalizer : array_in(metadata, "finalizers"))
    if (before.count(finalizer) == 0)
      added += (added.empty() ? "" : ", ") +
               finalizer.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (!added.empty())
    errors.forbidden(
        "metadata.finalizers",
        "no new finalizers can be added if the object is being deleted, found new finalizers "
        "[]string{" +
            added + "}");
}

}  // namespace coracle
