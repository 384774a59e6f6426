#include "pods/pod_volumes.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "pods/pod_env.h"
#include "pods/resource_value.h"
#include "pods/volume_payload.h"

namespace coracle::pods {
namespace {

const Json& list_in(const Json& parent, const char* member) {
  static const Json kEmpty = Json::array();
  const Json* list = json_find(parent, {member});
  return list != nullptr && list->is_array() ? *list : kEmpty;
}

std::string quantity_text(const Json* value) {
  if (value == nullptr) return "";
  return value->is_string() ? value->get<std::string>() : value->dump();
}

std::optional<gid_t> group_of(const NodePod& pod) {
  const Json* group = json_find(pod.spec(), {"securityContext", "fsGroup"});
  if (group == nullptr || !group->is_number_integer()) return std::nullopt;
  return static_cast<gid_t>(group->get<std::int64_t>());
}

// What the containers may use in all, when each of them has a limit.
std::uint64_t memory_limit(const NodePod& pod) {
  std::uint64_t sum = 0;
  for (const PodContainer& container : pod.containers) {
    if (container.role == PodContainer::Role::Init) continue;
    const Json* limit = json_find(pod.document(container), {"resources", "limits", "memory"});
    if (limit == nullptr) return 0;
    sum += static_cast<std::uint64_t>(quantity(quantity_text(limit), 1));
  }
  return sum;
}

void fill_empty_dir(const NodePod& pod, const Json& source, PodVolume& out) {
  const std::string medium = json_string(source, {"medium"});
  if (medium == "Memory") {
    out.volume.kind = Volume::Kind::Memory;
    const auto wanted =
        static_cast<std::uint64_t>(quantity(quantity_text(json_find(source, {"sizeLimit"})), 1));
    const std::uint64_t limit = memory_limit(pod);
    out.volume.size = wanted == 0 || limit == 0 ? std::max(wanted, limit) : std::min(wanted, limit);
  } else if (!medium.empty()) {
    out.unsupported = "emptyDir with medium " + medium;
  }
}

// The member that says what it is.
std::string type_of(const Json& volume) {
  for (const auto& [member, value] : volume.items())
    if (member != "name" && !value.is_null()) return member;
  return "without a type";
}

// A projected source that cannot be given, and without which the others make no sense.
std::string unsupported_source(const Json& volume) {
  const Json* projected = json_find(volume, {"projected"});
  if (projected == nullptr) return "";
  for (const Json& source : list_in(*projected, "sources"))
    for (const char* type : {"clusterTrustBundle", "podCertificate"})
      if (json_find(source, {type}) != nullptr) return std::string("projected ") + type;
  return "";
}

PodVolume make_volume(const NodePod& pod, const Json& source) {
  PodVolume out;
  out.source = &source;
  out.volume.name = json_string(source, {"name"});
  if (has_payload(source)) {
    out.payload = true;
    out.volume.kind = Volume::Kind::Memory;
    out.unsupported = unsupported_source(source);
  } else if (const Json* host = json_find(source, {"hostPath"}); host != nullptr) {
    out.volume.kind = Volume::Kind::Host;
    out.volume.path = json_string(*host, {"path"});
    out.volume.type = json_string(*host, {"type"});
    return out;  // the node's files keep their owners
  } else if (const Json* empty = json_find(source, {"emptyDir"}); empty != nullptr) {
    fill_empty_dir(pod, *empty, out);
  } else {
    out.unsupported = type_of(source);
  }
  out.volume.group = group_of(pod);
  return out;
}

// The names that $(...) refers to and that are not there.
std::string missing_in(const std::string& text, const std::map<std::string, std::string>& env) {
  std::string out;
  for (std::size_t at = 0; (at = text.find('$', at)) != std::string::npos; ++at) {
    if (at + 1 < text.size() && text[at + 1] == '$') {
      ++at;
      continue;
    }
    const std::size_t end = text.find(')', at);
    if (at + 1 >= text.size() || text[at + 1] != '(' || end == std::string::npos) continue;
    const std::string name = text.substr(at + 2, end - at - 2);
    if (!env.contains(name)) out += (out.empty() ? "" : ", ") + name;
  }
  return out;
}

}  // namespace

bool is_token_volume(const std::string& name) {
  return name.starts_with("kube-api-access-") || name.find("-token-") != std::string::npos;
}

std::vector<PodVolume> volumes_of(const NodePod& pod) {
  std::vector<PodVolume> out;
  for (const Json& source : list_in(pod.spec(), "volumes"))
    if (!is_token_volume(json_string(source, {"name"}))) out.push_back(make_volume(pod, source));
  return out;
}

Result<std::vector<VolumeMount>> mounts_of(
    const NodePod& pod, const PodContainer& container,
    const std::vector<std::pair<std::string, std::string>>& env) {
  std::map<std::string, bool> known;  // and whether it is only read
  for (const PodVolume& volume : volumes_of(pod)) known[volume.volume.name] = volume.payload;
  std::vector<VolumeMount> out;
  for (const Json& mount : list_in(pod.document(container), "volumeMounts")) {
    const auto volume = known.find(json_string(mount, {"name"}));
    if (volume == known.end()) continue;
    VolumeMount& m = out.emplace_back();
    m.volume = volume->first;
    m.target = json_string(mount, {"mountPath"});
    m.sub_path = json_string(mount, {"subPath"});
    m.read_only = volume->second || json_bool(mount, {"readOnly"});
    const std::string recursive = json_string(mount, {"recursiveReadOnly"});
    m.submounts_read_only = recursive == "Enabled" || recursive == "IfPossible";
    const std::string expression = json_string(mount, {"subPathExpr"});
    if (expression.empty()) continue;
    const std::map<std::string, std::string> variables(env.begin(), env.end());
    if (const std::string missing = missing_in(expression, variables); !missing.empty())
      return Error{Code::NotFound, "failed to prepare subPath for volumeMount \"" + m.volume +
                                       "\" of container \"" + container.spec.name +
                                       "\": missing value for " + missing};
    m.sub_path = expand_variables(expression, variables);
  }
  return out;
}

}  // namespace coracle::pods
