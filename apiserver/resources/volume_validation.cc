// What a Pod's volumes and a container's mounts of them must satisfy, after upstream's
// ValidateVolumes and ValidateVolumeMounts.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr std::int64_t kMostMode = 0777;

std::string member(const std::string& path, const std::string& name) {
  return path + "." + name;
}

bool has_backsteps(const std::string& path) {
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (path.compare(begin, end - begin, "..") == 0) return true;
    begin = end + 1;
  }
  return false;
}

void check_descending(const std::string& path, const std::string& field, FieldErrors& errors) {
  if (path.starts_with("/")) errors.invalid(field, path, "must be a relative path");
  if (has_backsteps(path)) errors.invalid(field, path, "must not contain '..'");
}

// Names that begin with ".." are those of the volume's own links.
// `paths`: those that no other may have, null when the last one counts.
void check_file_path(const Json& item, const std::string& field, std::set<std::string>* paths,
                     FieldErrors& errors) {
  const std::string path = text_in(item, "path");
  if (path.empty()) return errors.required(field + ".path");
  check_descending(path, field + ".path", errors);
  if (path.starts_with("..") && !has_backsteps(path))
    errors.invalid(field + ".path", path, "must not start with '..'");
  if (paths != nullptr && !paths->insert(path).second)
    errors.invalid(field + ".path", path, "conflicting duplicate paths");
}

void check_mode(const Json& holder, const char* key, const std::string& field,
                FieldErrors& errors) {
  if (!has(holder, key)) return;
  const std::int64_t mode = number_in(holder, key, -1);
  if (mode < 0 || mode > kMostMode)
    errors.invalid(field + "." + key, holder.at(key),
                   "must be a number between 0 and 0777 (octal), both inclusive");
}

void check_items(const Json& source, const std::string& field, std::set<std::string>* paths,
                 FieldErrors& errors) {
  const Json& items = array_in(source, "items");
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string at = indexed(field + ".items", i);
    if (unset(items[i], "key")) errors.required(at + ".key");
    check_file_path(items[i], at, paths, errors);
    check_mode(items[i], "mode", at, errors);
  }
}

void check_downward_field(const Json& reference, const std::string& field, FieldErrors& errors) {
  const std::string path = text_in(reference, "fieldPath");
  if (path.empty()) return errors.required(field);
  for (const std::string prefix : {"metadata.labels['", "metadata.annotations['"}) {
    if (!path.starts_with(prefix) || !path.ends_with("']") || path.size() < prefix.size() + 2)
      continue;
    const std::string key = path.substr(prefix.size(), path.size() - prefix.size() - 2);
    if (const std::string problem = qualified_name_problem(key); !problem.empty())
      errors.invalid(field, key, problem);
    return;
  }
  if (path != "metadata.annotations" && path != "metadata.labels" && path != "metadata.name" &&
      path != "metadata.namespace" && path != "metadata.uid")
    errors.not_supported(field, path,
                         {"metadata.annotations", "metadata.labels", "metadata.name",
                          "metadata.namespace", "metadata.uid"});
}

void check_downward(const Json& source, const std::string& field, std::set<std::string>* paths,
                    FieldErrors& errors) {
  const Json& items = array_in(source, "items");
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string at = indexed(field + ".items", i);
    check_file_path(items[i], at, paths, errors);
    check_mode(items[i], "mode", at, errors);
    if (has(items[i], "fieldRef")) {
      check_downward_field(items[i].at("fieldRef"), at + ".fieldRef.fieldPath", errors);
      if (has(items[i], "resourceFieldRef"))
        errors.invalid(at, "resource",
                       "fieldRef and resourceFieldRef can not be specified simultaneously");
    } else if (!has(items[i], "resourceFieldRef")) {
      errors.required(at, "one of fieldRef and resourceFieldRef is required");
    } else {
      const Json& reference = items[i].at("resourceFieldRef");
      if (unset(reference, "containerName"))
        errors.required(at + ".resourceFieldRef.containerName");
      if (unset(reference, "resource")) errors.required(at + ".resourceFieldRef.resource");
    }
  }
}

void check_projected(const Json& projected, const std::string& field, FieldErrors& errors) {
  check_mode(projected, "defaultMode", field, errors);
  std::set<std::string> paths;  // of all sources
  const Json& sources = array_in(projected, "sources");
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const std::string at = indexed(field + ".sources", i);
    int count = 0;
    for (const char* kind :
         {"secret", "downwardAPI", "configMap", "serviceAccountToken", "clusterTrustBundle"}) {
      if (!has(sources[i], kind)) continue;
      const std::string own = member(at, kind);
      const Json& source = sources[i].at(kind);
      if (++count > 1) errors.forbidden(own, "may not specify more than 1 volume type per source");
      if (std::string(kind) == "downwardAPI") check_downward(source, own, &paths, errors);
      if (std::string(kind) == "serviceAccountToken") check_file_path(source, own, &paths, errors);
      if (std::string(kind) != "secret" && std::string(kind) != "configMap") continue;
      if (unset(source, "name")) errors.required(own + ".name");
      check_items(source, own, &paths, errors);
    }
    if (count == 0 && sources[i].empty()) errors.required(at, "must specify a volume type");
  }
}

void check_host_path(const Json& source, const std::string& field, FieldErrors& errors) {
  const std::string path = text_in(source, "path");
  if (path.empty()) return errors.required(field + ".path");
  if (has_backsteps(path)) errors.invalid(field + ".path", path, "must not contain '..'");
  const std::string type = text_in(source, "type");
  static const std::set<std::string> kTypes{
      "",     "BlockDevice",  "CharDevice", "Directory", "DirectoryOrCreate",
      "File", "FileOrCreate", "Socket"};
  if (kTypes.count(type) == 0)
    errors.not_supported(field + ".type", type,
                         std::vector<std::string>(kTypes.begin(), kTypes.end()));
}

void check_source(const Json& volume, const std::string& field, FieldErrors& errors) {
  if (has(volume, "hostPath")) check_host_path(volume.at("hostPath"), field + ".hostPath", errors);
  if (has(volume, "projected"))
    check_projected(volume.at("projected"), field + ".projected", errors);
  for (const auto& [kind, name] :
       {std::pair{"configMap", "name"}, std::pair{"secret", "secretName"}}) {
    if (!has(volume, kind)) continue;
    const std::string own = member(field, kind);
    if (unset(volume.at(kind), name)) errors.required(member(own, name));
    check_mode(volume.at(kind), "defaultMode", own, errors);
    check_items(volume.at(kind), own, nullptr, errors);
  }
  if (has(volume, "downwardAPI")) {
    check_mode(volume.at("downwardAPI"), "defaultMode", field + ".downwardAPI", errors);
    check_downward(volume.at("downwardAPI"), field + ".downwardAPI", nullptr, errors);
  }
  const std::string limit = text_in(object_at(volume, "emptyDir"), "sizeLimit");
  if (limit.starts_with("-"))
    errors.forbidden(field + ".emptyDir.sizeLimit",
                     "SizeLimit field must be a valid resource quantity");
}

void check_propagation(const Json& mount, const Json& container, const std::string& field,
                       FieldErrors& errors) {
  const std::string propagation = text_in(mount, "mountPropagation");
  if (propagation.empty()) return;
  check_one_of(mount, "mountPropagation", field, {"Bidirectional", "HostToContainer", "None"},
               errors);
  if (propagation == "Bidirectional" &&
      !json_bool(object_at(container, "securityContext"), {"privileged"}))
    errors.forbidden(field,
                     "Bidirectional mount propagation is available only to privileged containers");
}

void check_recursive(const Json& mount, const std::string& field, FieldErrors& errors) {
  const std::string recursive = text_in(mount, "recursiveReadOnly");
  if (recursive.empty() || recursive == "Disabled") return;
  if (recursive != "IfPossible" && recursive != "Enabled")
    return errors.not_supported(field, recursive, {"Disabled", "Enabled", "IfPossible"});
  if (!json_bool(mount, {"readOnly"}))
    errors.forbidden(field, "may only be specified when readOnly is true");
  const std::string propagation = text_in(mount, "mountPropagation");
  if (!propagation.empty() && propagation != "None")
    errors.forbidden(field, "may only be specified when mountPropagation is None or not specified");
}

}  // namespace

std::set<std::string> validate_volumes(const Json& spec, const std::string& path,
                                       FieldErrors& errors) {
  std::set<std::string> names;
  const Json& volumes = array_in(spec, "volumes");
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    const std::string field = indexed(path + ".volumes", i);
    const std::string name = text_in(volumes[i], "name");
    if (name.empty()) {
      errors.required(field + ".name");
    } else if (const std::string problem = dns1123_label_problem(name); !problem.empty()) {
      errors.invalid(field + ".name", name, problem);
    }
    if (!name.empty() && !names.insert(name).second) errors.duplicate(field + ".name", name);
    int sources = 0;
    const Json& volume = volumes[i].is_object() ? volumes[i] : object_at(Json(), "");
    for (const auto& [source, value] : volume.items())
      if (source != "name" && !value.is_null() && ++sources > 1)
        errors.forbidden(member(field, source), "may not specify more than 1 volume type");
    if (sources == 1) check_source(volume, field, errors);
  }
  return names;
}

void validate_volume_mounts(const Json& container, const std::string& path,
                            const std::set<std::string>& volumes, FieldErrors& errors) {
  std::set<std::string> paths;
  const Json& mounts = array_in(container, "volumeMounts");
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const std::string field = indexed(path + ".volumeMounts", i);
    const std::string name = text_in(mounts[i], "name");
    const std::string where = text_in(mounts[i], "mountPath");
    if (name.empty())
      errors.required(field + ".name");
    else if (volumes.count(name) == 0)
      errors.not_found(field + ".name", name);
    if (where.empty())
      errors.required(field + ".mountPath");
    else if (!paths.insert(where).second)
      errors.invalid(field + ".mountPath", where, "must be unique");
    check_descending(text_in(mounts[i], "subPath"), field + ".subPath", errors);
    check_descending(text_in(mounts[i], "subPathExpr"), field + ".subPathExpr", errors);
    if (!unset(mounts[i], "subPath") && !unset(mounts[i], "subPathExpr"))
      errors.invalid(field + ".subPathExpr", text_in(mounts[i], "subPathExpr"),
                     "subPathExpr and subPath are mutually exclusive");
    check_propagation(mounts[i], container, field + ".mountPropagation", errors);
    check_recursive(mounts[i], field + ".recursiveReadOnly", errors);
  }
}

}  // namespace coracle
