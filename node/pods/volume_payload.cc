#include "pods/volume_payload.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "pods/pod_env.h"

namespace coracle::pods {
namespace {

constexpr std::int64_t kDefaultMode = 0644;

const Json& list_of(const Json& parent, const char* member) {
  static const Json kEmpty = Json::array();
  const Json* list = json_find(parent, {member});
  return list != nullptr && list->is_array() ? *list : kEmpty;
}

mode_t mode_of(const Json& holder, const char* member, mode_t otherwise) {
  return static_cast<mode_t>(json_int(holder, {member}, otherwise)) & 0777U;
}

// A value in Go's %q.
std::string quote(const std::string& text) {
  static const std::string plain = "\a\b\f\n\r\t\v\\\"", named = "abfnrtv\\\"";
  constexpr const char* kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (const auto at = plain.find(c); at != std::string::npos) {
      (out += '\\') += named[at];
    } else if (byte < 0x20 || byte == 0x7f) {
      ((out += "\\x") += kHex[byte >> 4U]) += kHex[byte & 15U];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// One kind of source of a projected volume; each alone is a volume too.
struct ObjectSource {
  const char* member;
  const char* name;  // of the object, in a volume; in a projected source it is "name"
  const Resource& resource;
  const char* missing_key;
};
const ObjectSource kObjectSources[] = {
    {"configMap", "name", resources::kConfigMaps, "configmap references non-existent config key: "},
    {"secret", "secretName", resources::kSecrets, "references non-existent secret key: "}};

class Payload {
 public:
  Payload(const NodePod& pod, const PayloadSources& sources) : pod_(pod), sources_(sources) {}

  Result<void> add_object(const ObjectSource& kind, const Json& source, const std::string& name,
                          mode_t mode) {
    const bool optional = json_bool(source, {"optional"});
    const auto object = sources_.fetch(kind.resource, name);
    if (!object && is_not_found(object.error()))
      return optional ? Result<void>() : not_found(kind.resource, name);
    if (!object) return object.error();
    const bool binary = kind.resource == resources::kConfigMaps;
    auto values = object_values(kind.resource, *object, binary);
    const Json& items = list_of(source, "items");
    for (const Json& item : items) {
      const std::string key = json_string(item, {"key"});
      const auto it = values.find(key);
      if (it == values.end() && optional) continue;
      if (it == values.end()) return Error{Code::NotFound, kind.missing_key + key};
      files_[json_string(item, {"path"})] = {it->second, mode_of(item, "mode", mode)};
    }
    if (items.empty())
      for (auto& [key, value] : values) files_[key] = {std::move(value), mode};
    return {};
  }

  Result<void> add_downward(const Json& source, mode_t mode) {
    for (const Json& item : list_of(source, "items"))
      files_[json_string(item, {"path"})] = {TRY(downward(item)), mode_of(item, "mode", mode)};
    return {};
  }

  VolumeFiles take() { return std::move(files_); }

 private:
  Result<std::string> downward(const Json& item) {
    const Json* resource = json_find(item, {"resourceFieldRef"});
    if (resource == nullptr) {
      const std::string path = json_string(item, {"fieldRef", "fieldPath"});
      if (path == "metadata.labels") return format_map(pod_.pod.meta.labels);
      if (path == "metadata.annotations") return format_map(pod_.pod.meta.annotations);
      return field_value(pod_, {}, path);
    }
    const std::string name = json_string(*resource, {"containerName"});
    const PodContainer* container = pod_.find(name);
    if (container == nullptr) return Error{Code::NotFound, "container " + name + " not found"};
    return resource_value(pod_, *container, *resource, TRY(sources_.allocatable()));
  }

  const NodePod& pod_;
  const PayloadSources& sources_;
  VolumeFiles files_;
};

// As upstream joins several errors.
Error joined(const std::vector<Error>& errors) {
  if (errors.size() == 1) return errors.front();
  std::string text;
  for (const Error& error : errors) text += (text.empty() ? "[" : ", ") + error.message;
  return {errors.front().code, text + "]"};
}

Result<VolumeFiles> project(Payload& payload, const Json& projected) {
  const mode_t mode = mode_of(projected, "defaultMode", kDefaultMode);
  std::vector<Error> errors;
  const auto note = [&](const Result<void>& done) {
    if (!done) errors.push_back(done.error());
  };
  for (const Json& source : list_of(projected, "sources")) {
    for (const ObjectSource& kind : kObjectSources)
      if (const Json* object = json_find(source, {kind.member}); object != nullptr)
        note(payload.add_object(kind, *object, json_string(*object, {"name"}), mode));
    if (const Json* downward = json_find(source, {"downwardAPI"}); downward != nullptr)
      note(payload.add_downward(*downward, mode));
  }
  if (!errors.empty()) return joined(errors);
  return payload.take();
}

}  // namespace

bool has_payload(const Json& volume) {
  static constexpr const char* kKinds[] = {"configMap", "secret", "downwardAPI", "projected"};
  return std::any_of(std::begin(kKinds), std::end(kKinds),
                     [&](const char* kind) { return json_find(volume, {kind}) != nullptr; });
}

bool refers_to_objects(const Json& volume) {
  const auto refers = [](const Json& source) {
    return json_find(source, {"configMap"}) != nullptr || json_find(source, {"secret"}) != nullptr;
  };
  const Json* projected = json_find(volume, {"projected"});
  if (projected == nullptr) return refers(volume);
  const Json& sources = list_of(*projected, "sources");
  return std::any_of(sources.begin(), sources.end(), refers);
}

Result<VolumeFiles> compute_payload(const NodePod& pod, const Json& volume,
                                    const PayloadSources& sources) {
  Payload payload(pod, sources);
  for (const ObjectSource& kind : kObjectSources) {
    const Json* source = json_find(volume, {kind.member});
    if (source == nullptr) continue;
    TRY(payload.add_object(kind, *source, json_string(*source, {kind.name}),
                           mode_of(*source, "defaultMode", kDefaultMode)));
  }
  if (const Json* downward = json_find(volume, {"downwardAPI"}); downward != nullptr)
    TRY(payload.add_downward(*downward, mode_of(*downward, "defaultMode", kDefaultMode)));
  if (const Json* projected = json_find(volume, {"projected"}); projected != nullptr)
    return project(payload, *projected);
  return payload.take();
}

std::string format_map(const std::map<std::string, std::string>& values) {
  std::string out;
  for (const auto& [key, value] : values)
    (((out += out.empty() ? "" : "\n") += key) += "=") += quote(value);
  return out;
}

}  // namespace coracle::pods
