// Defaults of a Pod's spec, as clients see them come back.
#include <coracle/api/taints.h>

#include <nlohmann/json.hpp>

#include "resources/fields.h"
#include "resources/kinds.h"

namespace coracle {
namespace {

constexpr int kDefaultMode = 420;  // 0644

// "repo:port/name:tag@digest": no tag, or "latest", means Always.
std::string pull_policy(const std::string& image) {
  if (image.find('@') != std::string::npos) return "IfNotPresent";
  const std::size_t slash = image.rfind('/');
  const std::size_t colon = image.rfind(':');
  const bool tagged = colon != std::string::npos && (slash == std::string::npos || colon > slash);
  return !tagged || image.substr(colon + 1) == "latest" ? "Always" : "IfNotPresent";
}

void default_http(Json& handler) {
  if (!handler.contains("httpGet") || !handler["httpGet"].is_object()) return;
  set_default(handler["httpGet"], "path", "/");
  set_default(handler["httpGet"], "scheme", "HTTP");
}

void default_container_ports(Json& container, bool host_network) {
  if (!container.contains("ports") || !container["ports"].is_array()) return;
  for (Json& port : container["ports"]) {
    if (!port.is_object()) continue;
    set_default(port, "protocol", "TCP");
    if (number_in(port, "hostPort", -1) == 0) port.erase("hostPort");
    if (host_network && !has(port, "hostPort") && has(port, "containerPort"))
      port["hostPort"] = port["containerPort"];
  }
}

void default_env(Json& container) {
  if (!container.contains("env") || !container["env"].is_array()) return;
  for (Json& variable : container["env"])
    if (variable.is_object() && has(variable, "valueFrom") && variable["valueFrom"].is_object() &&
        has(variable["valueFrom"], "fieldRef") && variable["valueFrom"]["fieldRef"].is_object())
      set_default(variable["valueFrom"]["fieldRef"], "apiVersion", "v1");
}

void default_container(Json& container, bool host_network) {
  set_default(container, "imagePullPolicy", pull_policy(text_in(container, "image")));
  set_default(container, "terminationMessagePath", "/dev/termination-log");
  set_default(container, "terminationMessagePolicy", "File");
  Json& resources = object_in(container, "resources");
  const Json limits = object_at(resources, "limits");
  for (const auto& [name, amount] : limits.items())
    if (!has(object_at(resources, "requests"), name.c_str()))
      object_in(resources, "requests")[name] = amount;
  default_container_ports(container, host_network);
  default_env(container);
  for (const char* probe : {"livenessProbe", "readinessProbe", "startupProbe"})
    default_probe(container, probe);
  if (!has(container, "lifecycle") || !container["lifecycle"].is_object()) return;
  for (const char* hook : {"postStart", "preStop"})
    if (container["lifecycle"].contains(hook) && container["lifecycle"][hook].is_object())
      default_http(container["lifecycle"][hook]);
}

bool has_source(const Json& volume) {
  return volume.size() > (volume.contains("name") ? 1U : 0U);
}

void default_downward(Json& source) {
  if (!source.contains("items") || !source["items"].is_array()) return;
  for (Json& item : source["items"])
    if (item.is_object() && has(item, "fieldRef") && item["fieldRef"].is_object())
      set_default(item["fieldRef"], "apiVersion", "v1");
}

void default_projected(Json& volume) {
  Json& projected = volume["projected"];
  set_default(projected, "defaultMode", kDefaultMode);
  if (!projected.contains("sources") || !projected["sources"].is_array()) return;
  for (Json& source : projected["sources"]) {
    if (!source.is_object()) continue;
    if (source.contains("serviceAccountToken") && source["serviceAccountToken"].is_object())
      set_default(source["serviceAccountToken"], "expirationSeconds", 3600);
    if (source.contains("downwardAPI") && source["downwardAPI"].is_object())
      default_downward(source["downwardAPI"]);
  }
}

void default_volume(Json& volume) {
  if (!has_source(volume)) volume["emptyDir"] = Json::object();
  for (const char* source : {"configMap", "secret", "downwardAPI"})
    if (volume.contains(source) && volume[source].is_object())
      set_default(volume[source], "defaultMode", kDefaultMode);
  if (volume.contains("downwardAPI") && volume["downwardAPI"].is_object())
    default_downward(volume["downwardAPI"]);
  if (volume.contains("projected") && volume["projected"].is_object()) default_projected(volume);
  if (volume.contains("hostPath") && volume["hostPath"].is_object() &&
      !has(volume["hostPath"], "type"))
    volume["hostPath"]["type"] = "";
}

}  // namespace

void default_probe(Json& container, const char* key) {
  if (!container.contains(key) || !container[key].is_object()) return;
  Json& probe = container[key];
  const auto fill = [&](const char* field, int value) {
    if (number_in(probe, field) == 0) probe[field] = value;
  };
  fill("timeoutSeconds", 1);
  fill("periodSeconds", 10);
  fill("successThreshold", 1);
  fill("failureThreshold", 3);
  default_http(probe);
}

void default_pod_spec(Json& spec) {
  set_default(spec, "restartPolicy", "Always");
  set_default(spec, "dnsPolicy", "ClusterFirst");
  set_default(spec, "schedulerName", "default-scheduler");
  if (!has(spec, "terminationGracePeriodSeconds")) spec["terminationGracePeriodSeconds"] = 30;
  if (!has(spec, "enableServiceLinks")) spec["enableServiceLinks"] = true;
  // kubectl debug 1.33 dereferences it without looking.
  object_in(spec, "securityContext");
  if (unset(spec, "serviceAccountName") && !unset(spec, "serviceAccount"))
    spec["serviceAccountName"] = spec["serviceAccount"];
  if (!unset(spec, "serviceAccountName")) spec["serviceAccount"] = spec["serviceAccountName"];
  for (const char* key : {"hostNetwork", "hostPID", "hostIPC"})
    if (!json_bool(spec, {key})) spec.erase(key);
  const bool host_network = json_bool(spec, {"hostNetwork"});
  for (const char* list : {"initContainers", "containers", "ephemeralContainers"})
    if (spec.contains(list) && spec[list].is_array())
      for (Json& container : spec[list])
        if (container.is_object()) default_container(container, host_network);
  if (!spec.contains("volumes") || !spec["volumes"].is_array()) return;
  for (Json& volume : spec["volumes"])
    if (volume.is_object()) default_volume(volume);
}

// Admission's DefaultTolerationSeconds: unless the Pod says how it bears a node that does not
// answer, it does so for a while.
void default_tolerations(Json& spec, const TolerationSeconds& seconds) {
  const auto add = [&](const char* taint, std::int64_t how_long) {
    for (const Json& t : array_in(spec, "tolerations")) {
      const std::string effect = text_in(t, "effect");
      if ((unset(t, "key") || text_in(t, "key") == taint) &&
          (effect.empty() || effect == kNoExecute))
        return;
    }
    if (!has(spec, "tolerations")) spec["tolerations"] = Json::array();
    if (!spec["tolerations"].is_array()) return;
    spec["tolerations"].push_back({{"key", taint},
                                   {"operator", "Exists"},
                                   {"effect", kNoExecute},
                                   {"tolerationSeconds", how_long}});
  };
  add(kTaintNotReady, seconds.not_ready);
  add(kTaintUnreachable, seconds.unreachable);
}

}  // namespace coracle
