#include "pods/unsupported.h"

#include <nlohmann/json.hpp>

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

// The volume that admission adds for the service account's token.
bool is_token_volume(const std::string& name) {
  return name.starts_with("kube-api-access-") || name.find("-token-") != std::string::npos;
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
  for (const char* field : {"securityContext", "lifecycle", "stdin", "tty", "volumeDevices"})
    if (is_set(container, field)) out.push_back(path + "." + field);
  if (const Json* limits = json_find(container, {"resources", "limits"});
      limits && !limits->empty())
    out.push_back(path + ".resources.limits");
  for (const char* probe : {"readinessProbe", "livenessProbe", "startupProbe"})
    if (json_find(container, {probe, "grpc"}) != nullptr)
      out.push_back(path + "." + probe + ".grpc");
  check_ports(container, path, host_network, out);
  check_env(container, path, out);
}

}  // namespace

std::vector<std::string> unsupported_fields(const NodePod& pod) {
  std::vector<std::string> out;
  const Json& spec = pod.spec();
  if (is_set(spec, "volumes"))
    for (std::size_t i = 0; i < spec["volumes"].size(); ++i) {
      const std::string name = json_string(spec["volumes"][i], {"name"});
      if (!is_token_volume(name)) out.push_back("spec.volumes[" + std::to_string(i) + "]");
    }
  for (const char* list : {"initContainers", "containers"}) {
    if (!is_set(spec, list)) continue;
    for (std::size_t i = 0; i < spec[list].size(); ++i)
      check_container(spec[list][i], std::string("spec.") + list + "[" + std::to_string(i) + "]",
                      pod.pod.host_network, out);
  }
  for (const char* field :
       {"ephemeralContainers", "securityContext", "hostPID", "hostIPC", "shareProcessNamespace",
        "runtimeClassName", "activeDeadlineSeconds", "setHostnameAsFQDN", "resourceClaims"})
    if (is_set(spec, field)) out.push_back(std::string("spec.") + field);
  return out;
}

}  // namespace coracle::pods
