#include <coracle/api/pod.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace coracle {
namespace {

// The members of a list along the path that are objects.
std::vector<const Json*> items(const Json& json, std::initializer_list<const char*> path) {
  std::vector<const Json*> out;
  const Json* list = json_find(json, path);
  if (list == nullptr || !list->is_array()) return out;
  for (const Json& item : *list)
    if (item.is_object()) out.push_back(&item);
  return out;
}

std::string string_or(const Json& json, std::initializer_list<const char*> path,
                      const char* otherwise) {
  std::string value = json_string(json, path);
  return value.empty() ? otherwise : value;
}

void decode_port(const Json& from, Probe& out) {
  out.port = json_int(from, {"port"});
  out.port_name = json_string(from, {"port"});
  out.host = json_string(from, {"host"});
}

Probe decode_probe(const Json& container, const char* name) {
  Probe out;
  const Json* json = json_find(container, {name});
  if (json == nullptr || !json->is_object()) return out;
  if (const Json* get = json_find(*json, {"httpGet"}); get != nullptr && get->is_object()) {
    out.kind = Probe::Kind::HttpGet;
    decode_port(*get, out);
    out.path = string_or(*get, {"path"}, "/");
    out.scheme = string_or(*get, {"scheme"}, "HTTP");
    for (const Json* header : items(*get, {"httpHeaders"}))
      out.http_headers.emplace_back(json_string(*header, {"name"}),
                                    json_string(*header, {"value"}));
  } else if (const Json* tcp = json_find(*json, {"tcpSocket"});
             tcp != nullptr && tcp->is_object()) {
    out.kind = Probe::Kind::TcpSocket;
    decode_port(*tcp, out);
  } else if (json_find(*json, {"exec"}) != nullptr) {
    out.kind = Probe::Kind::Exec;
    out.command = json_string_list(*json, {"exec", "command"});
  }
  out.initial_delay_seconds = json_int(*json, {"initialDelaySeconds"}, 0);
  out.timeout_seconds = json_int(*json, {"timeoutSeconds"}, 1);
  out.period_seconds = json_int(*json, {"periodSeconds"}, 10);
  out.success_threshold = json_int(*json, {"successThreshold"}, 1);
  out.failure_threshold = json_int(*json, {"failureThreshold"}, 3);
  constexpr const char* kGrace = "terminationGracePeriodSeconds";
  if (json_find(*json, {kGrace}) != nullptr)
    out.termination_grace_period_seconds = json_int(*json, {kGrace});
  return out;
}

Container decode_container(const Json& json) {
  Container out;
  out.name = json_string(json, {"name"});
  out.image = json_string(json, {"image"});
  out.working_dir = json_string(json, {"workingDir"});
  out.image_pull_policy = json_string(json, {"imagePullPolicy"});
  out.termination_message_path =
      string_or(json, {"terminationMessagePath"}, "/dev/termination-log");
  out.termination_message_policy = string_or(json, {"terminationMessagePolicy"}, "File");
  out.command = json_string_list(json, {"command"});
  out.args = json_string_list(json, {"args"});
  for (const Json* e : items(json, {"env"}))
    out.env.push_back({json_string(*e, {"name"}), json_string(*e, {"value"}),
                       json_string(*e, {"valueFrom", "fieldRef", "fieldPath"})});
  for (const Json* p : items(json, {"ports"}))
    out.ports.push_back({json_string(*p, {"name"}), json_int(*p, {"containerPort"}),
                         json_int(*p, {"hostPort"}), string_or(*p, {"protocol"}, "TCP"),
                         json_string(*p, {"hostIP"})});
  out.readiness = decode_probe(json, "readinessProbe");
  out.liveness = decode_probe(json, "livenessProbe");
  out.startup = decode_probe(json, "startupProbe");
  return out;
}

void decode_spec(const Json& json, Pod& out) {
  out.node_name = json_string(json, {"spec", "nodeName"});
  out.hostname = json_string(json, {"spec", "hostname"});
  out.subdomain = json_string(json, {"spec", "subdomain"});
  out.service_account_name = json_string(json, {"spec", "serviceAccountName"});
  out.restart_policy = string_or(json, {"spec", "restartPolicy"}, "Always");
  out.dns_policy = string_or(json, {"spec", "dnsPolicy"}, "ClusterFirst");
  out.scheduler_name = string_or(json, {"spec", "schedulerName"}, "default-scheduler");
  out.host_network = json_bool(json, {"spec", "hostNetwork"});
  out.termination_grace_period_seconds =
      json_int(json, {"spec", "terminationGracePeriodSeconds"}, 30);
  out.node_selector = json_string_map(json, {"spec", "nodeSelector"});
  out.tolerations = decode_tolerations(json);
  out.placement = decode_placement(json);
  for (const Json* c : items(json, {"spec", "initContainers"}))
    out.init_containers.push_back(decode_container(*c));
  for (const Json* c : items(json, {"spec", "containers"}))
    out.containers.push_back(decode_container(*c));
}

void decode_restarts(const Json& json, Pod& out) {
  std::set<std::string> sidecars;
  for (const Json* c : items(json, {"spec", "initContainers"}))
    if (json_string(*c, {"restartPolicy"}) == "Always") sidecars.insert(json_string(*c, {"name"}));
  const auto raise = [](std::int64_t& most, const Json& status) {
    most = std::max(most, json_int(status, {"restartCount"}));
  };
  for (const Json* c : items(json, {"status", "containerStatuses"})) raise(out.restarts, *c);
  for (const Json* c : items(json, {"status", "initContainerStatuses"}))
    if (sidecars.contains(json_string(*c, {"name"}))) raise(out.sidecar_restarts, *c);
}

void decode_status(const Json& json, Pod& out) {
  out.phase = json_string(json, {"status", "phase"});
  out.reason = json_string(json, {"status", "reason"});
  out.pod_ip = json_string(json, {"status", "podIP"});
  out.host_ip = json_string(json, {"status", "hostIP"});
  for (const Json* ip : items(json, {"status", "podIPs"}))
    if (auto text = json_string(*ip, {"ip"}); !text.empty()) out.pod_ips.push_back(std::move(text));
  if (out.pod_ips.empty() && !out.pod_ip.empty()) out.pod_ips = {out.pod_ip};
  for (const Json* c : items(json, {"status", "conditions"}))
    out.conditions.push_back({json_string(*c, {"type"}), json_string(*c, {"status"}),
                              json_string(*c, {"reason"}), json_string(*c, {"message"}),
                              json_string(*c, {"lastTransitionTime"})});
  decode_restarts(json, out);
}

}  // namespace

bool Pod::ready() const {
  return std::any_of(conditions.begin(), conditions.end(),
                     [](const PodCondition& c) { return c.type == "Ready" && c.status == "True"; });
}

bool Pod::finished() const {
  return phase == "Succeeded" || phase == "Failed";
}

Result<Pod> Pod::decode(const Object& object) {
  Pod out;
  out.meta = object.meta();
  decode_spec(object.json(), out);
  decode_status(object.json(), out);
  return out;
}

}  // namespace coracle
