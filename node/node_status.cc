#include "node_status.h"

#include <coracle/api/peers.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace coracle {
namespace {

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string os_release_name() {
  std::ifstream file("/etc/os-release");
  std::string line;
  const std::string key = "PRETTY_NAME=";
  while (std::getline(file, line)) {
    if (line.rfind(key, 0) != 0) continue;
    std::string value = line.substr(key.size());
    if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
    return value;
  }
  return "Linux";
}

// Go's names for machines, which node selectors use (kubernetes.io/arch).
std::string go_architecture(const std::string& machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (machine.rfind("arm", 0) == 0) return "arm";
  return machine;
}

Json condition(const char* type, bool status, const std::string& reason, const std::string& message,
               const std::string& now, const Json& existing) {
  Json out = {{"type", type},
              {"status", status ? "True" : "False"},
              {"reason", reason},
              {"message", message},
              {"lastHeartbeatTime", now},
              {"lastTransitionTime", now}};
  const Json* conditions = json_find(existing, {"status", "conditions"});
  if (conditions == nullptr || !conditions->is_array()) return out;
  for (const Json& old : *conditions) {
    if (json_string(old, {"type"}) != type ||
        json_string(old, {"status"}) != json_string(out, {"status"}))
      continue;
    out["lastTransitionTime"] = json_string(old, {"lastTransitionTime"});
    // Heartbeats live in the Lease; the Node is written when something changed (KEP-589).
    if (json_string(old, {"reason"}) == reason && json_string(old, {"message"}) == message)
      out["lastHeartbeatTime"] = json_string(old, {"lastHeartbeatTime"});
  }
  return out;
}

// Pods cannot be where the set-up failed; how far they reach is the peers' word.
PeerFinding network_of(const NodeCondition& state) {
  if (!state.ready) return {true, "PodNetworkNotReady", state.message};
  if (state.peers && state.peers->finding) return *state.peers->finding;
  return {false, "PodNetworkReady", "the Pod network is set up"};
}

}  // namespace

NodeFacts read_node_facts(const std::string& name, const Ip& ip, const std::string& version,
                          const std::string& data_dir) {
  NodeFacts facts;
  facts.name = name;
  facts.ip = ip;
  facts.version = version;
  utsname uts{};
  if (uname(&uts) == 0) {
    facts.kernel_version = uts.release;
    facts.architecture = go_architecture(uts.machine);
  }
  facts.os_image = os_release_name();
  facts.machine_id = first_line("/etc/machine-id");
  facts.system_uuid = first_line("/sys/class/dmi/id/product_uuid");
  facts.boot_id = first_line("/proc/sys/kernel/random/boot_id");
  facts.cpus = std::max(1U, std::thread::hardware_concurrency());
  struct sysinfo info {};
  if (sysinfo(&info) == 0) facts.memory_kib = info.totalram / 1024 * info.mem_unit;
  struct statvfs disk {};
  if (statvfs(data_dir.c_str(), &disk) == 0)
    facts.storage_kib = disk.f_blocks * (disk.f_frsize / 1024);
  return facts;
}

Object compute_node(const NodeFacts& facts) {
  return Object(Json{{"apiVersion", "v1"},
                     {"kind", "Node"},
                     {"metadata",
                      {{"name", facts.name},
                       {"labels",
                        {{"kubernetes.io/hostname", facts.name},
                         {"kubernetes.io/os", "linux"},
                         {"kubernetes.io/arch", facts.architecture}}}}},
                     {"spec", Json::object()}});
}

bool ready_since_boot(const Json& node, const std::string& boot_id) {
  const Json* conditions = json_find(node, {"status", "conditions"});
  if (conditions == nullptr || !conditions->is_array() ||
      json_string(node, {"status", "nodeInfo", "bootID"}) != boot_id)
    return false;
  return std::any_of(conditions->begin(), conditions->end(), [](const Json& condition) {
    return json_string(condition, {"type"}) == "Ready" &&
           json_string(condition, {"status"}) == "True";
  });
}

bool annotate_peers(Json& node, const std::optional<PeerReport>& peers) {
  if (!peers ||
      json_string(node, {"metadata", "annotations", kPeersAnnotation}) == peers->annotation)
    return false;
  Json& annotations = node["metadata"]["annotations"];
  if (peers->annotation.empty()) {
    annotations.erase(kPeersAnnotation);
  } else {
    annotations[kPeersAnnotation] = peers->annotation;
  }
  return true;
}

Json compute_node_status(const NodeFacts& facts, const NodeCondition& state, const Json& existing) {
  Json resources = {{"cpu", std::to_string(facts.cpus)},
                    {"memory", std::to_string(facts.memory_kib) + "Ki"},
                    {"pods", "250"}};
  if (facts.storage_kib > 0)
    resources["ephemeral-storage"] = std::to_string(facts.storage_kib) + "Ki";
  const PeerFinding network = network_of(state);
  Json status;
  status["addresses"] = {{{"type", "InternalIP"}, {"address", facts.ip.to_string()}},
                         {{"type", "Hostname"}, {"address", facts.name}}};
  status["capacity"] = resources;
  status["allocatable"] = resources;
  status["conditions"] = {
      condition("NetworkUnavailable", network.unavailable, network.reason, network.message,
                state.now, existing),
      condition("MemoryPressure", false, "NotMeasured", "Pods are not evicted for memory",
                state.now, existing),
      condition("DiskPressure", false, "NotMeasured", "Pods are not evicted for disk space",
                state.now, existing),
      condition("PIDPressure", false, "NotMeasured", "Pods are not evicted for process ids",
                state.now, existing),
      condition("Ready", state.ready, state.reason, state.message, state.now, existing)};
  status["nodeInfo"] = {{"architecture", facts.architecture},
                        {"bootID", facts.boot_id},
                        {"containerRuntimeVersion", "process://" + facts.version},
                        {"kernelVersion", facts.kernel_version},
                        {"kubeProxyVersion", facts.version},
                        {"kubeletVersion", facts.version},
                        {"machineID", facts.machine_id},
                        {"operatingSystem", "linux"},
                        {"osImage", facts.os_image},
                        {"systemUUID", facts.system_uuid}};
  return status;
}

}  // namespace coracle
