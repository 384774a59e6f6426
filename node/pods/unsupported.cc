#include "pods/unsupported.h"

#include <nlohmann/json.hpp>

#include "pods/pod_volumes.h"
#include "pods/security.h"

namespace coracle::pods {
namespace {

bool is_set(const Json& object, const char* member) {
  if (!object.is_object()) return false;
  const auto it = object.find(member);
  if (it == object.end() || it->is_null() || *it == false) return false;
  return !(it->is_object() || it->is_array() || it->is_string()) || !it->empty();
}

std::string at(const std::string& list, std::size_t index, const char* member) {
  return list + "[" + std::to_string(index) + "]." + member;
}

// Volumes that cannot be given keep the Pod from starting, with an Event of its own; this is about
// parts of the others.
void check_volume(const Json& volume, const std::string& path, std::vector<std::string>& out) {
  if (is_token_volume(json_string(volume, {"name"}))) return;
  if (json_find(volume, {"emptyDir", "sizeLimit"}) != nullptr &&
      json_string(volume, {"emptyDir", "medium"}).empty())
    out.push_back(path + ".emptyDir.sizeLimit");
  const Json* sources = json_find(volume, {"projected", "sources"});
  if (sources == nullptr || !sources->is_array()) return;
  for (std::size_t i = 0; i < sources->size(); ++i)
    if (json_find((*sources)[i], {"serviceAccountToken"}) != nullptr)
      out.push_back(at(path + ".projected.sources", i, "serviceAccountToken"));
}

void check_mounts(const Json& container, const std::string& path, std::vector<std::string>& out) {
  if (!is_set(container, "volumeMounts")) return;
  for (std::size_t i = 0; i < container["volumeMounts"].size(); ++i) {
    const std::string propagation = json_string(container["volumeMounts"][i], {"mountPropagation"});
    if (!propagation.empty() && propagation != "None")
      out.push_back(at(path + ".volumeMounts", i, "mountPropagation"));
  }
}

void check_ports(const Json& container, const std::string& path, bool host_network,
                 std::vector<std::string>& out) {
  if (host_network || !is_set(container, "ports")) return;
  for (std::size_t i = 0; i < container["ports"].size(); ++i)
    if (json_int(container["ports"][i], {"hostPort"}) != 0)
      out.push_back(at(path + ".ports", i, "hostPort"));
}

void check_env(const Json& container, const std::string& path, std::vector<std::string>& out) {
  if (!is_set(container, "env")) return;
  for (std::size_t i = 0; i < container["env"].size(); ++i)
    if (json_find(container["env"][i], {"valueFrom", "fileKeyRef"}) != nullptr)
      out.push_back(at(path + ".env", i, "valueFrom.fileKeyRef"));
}

void check_container(const Json& container, const std::string& path, bool host_network,
                     std::vector<std::string>& out) {
  for (const char* field : {"stdin", "tty", "volumeDevices"})
    if (is_set(container, field)) out.push_back(path + "." + field);
  if (const Json* limits = json_find(container, {"resources", "limits"}); limits != nullptr)
    for (const auto& [name, amount] : limits->items())
      if (name != "cpu" && name != "memory") out.push_back(path + ".resources.limits." + name);
  for (const char* probe : {"readinessProbe", "livenessProbe", "startupProbe"})
    if (json_find(container, {probe, "grpc"}) != nullptr)
      out.push_back(path + "." + probe + ".grpc");
  check_ports(container, path, host_network, out);
  check_env(container, path, out);
  check_mounts(container, path, out);
}

}  // namespace

std::vector<std::string> unsupported_fields(const NodePod& pod) {
  std::vector<std::string> out;
  const Json& spec = pod.spec();
  if (is_set(spec, "volumes"))
    for (std::size_t i = 0; i < spec["volumes"].size(); ++i)
      check_volume(spec["volumes"][i], "spec.volumes[" + std::to_string(i) + "]", out);
  for (const char* list : {"initContainers", "containers"}) {
    if (!is_set(spec, list)) continue;
    for (std::size_t i = 0; i < spec[list].size(); ++i)
      check_container(spec[list][i], std::string("spec.") + list + "[" + std::to_string(i) + "]",
                      pod.pod.host_network, out);
  }
  for (const char* field :
       {"ephemeralContainers", "hostPID", "hostIPC", "runtimeClassName", "resourceClaims"})
    if (is_set(spec, field)) out.push_back(std::string("spec.") + field);
  const auto security = unsupported_security(pod);
  out.insert(out.end(), security.begin(), security.end());
  return out;
}

}  // namespace coracle::pods
