// The STATUS of a Pod, as kubectl users know it, and its other columns.
#include <map>
#include <nlohmann/json.hpp>

#include "print_table.h"
#include "resources/columns.h"
#include "resources/fields.h"

namespace coracle {
namespace {

const Json* condition(const Json& pod, const std::string& type) {
  for (const Json& c : array_in(object_at(pod, "status"), "conditions"))
    if (text_in(c, "type") == type) return &c;
  return nullptr;
}

bool condition_true(const Json& pod, const std::string& type) {
  const Json* found = condition(pod, type);
  return found != nullptr && text_in(*found, "status") == "True";
}

std::string terminated_text(const Json& terminated) {
  if (const std::string reason = text_in(terminated, "reason"); !reason.empty()) return reason;
  if (const auto signal = number_in(terminated, "signal"); signal != 0)
    return "Signal:" + std::to_string(signal);
  return "ExitCode:" + std::to_string(number_in(terminated, "exitCode"));
}

void note_restart(const Json& status, PodSummary& out) {
  out.restarts += number_in(status, "restartCount");
  const std::string finished = json_string(status, {"lastState", "terminated", "finishedAt"});
  if (finished > out.last_restart) out.last_restart = finished;
}

std::map<std::string, bool> restartable_init_containers(const Json& pod) {
  std::map<std::string, bool> out;
  for (const Json& c : array_in(object_at(pod, "spec"), "initContainers"))
    out[text_in(c, "name")] = text_in(c, "restartPolicy") == "Always";
  return out;
}

// "" when this init container lets the next one start.
std::string init_status(const Json& status, bool restartable, std::size_t index,
                        std::size_t total) {
  const Json& state = object_at(status, "state");
  if (has(state, "terminated")) {
    const Json& terminated = state.at("terminated");
    if (number_in(terminated, "exitCode") == 0 && number_in(terminated, "signal") == 0) return "";
    return "Init:" + terminated_text(terminated);
  }
  if (restartable && json_bool(status, {"started"})) return "";
  const std::string reason = json_string(state, {"waiting", "reason"});
  if (!reason.empty() && reason != "PodInitializing") return "Init:" + reason;
  return "Init:" + std::to_string(index) + "/" + std::to_string(total);
}

// True while the Pod is still initializing; its status then says how far.
bool summarize_init(const Json& pod, PodSummary& out) {
  const auto restartable = restartable_init_containers(pod);
  const Json& statuses = array_in(object_at(pod, "status"), "initContainerStatuses");
  const std::size_t total = array_in(object_at(pod, "spec"), "initContainers").size();
  for (const auto& [name, keeps_running] : restartable) out.total += keeps_running ? 1 : 0;
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    const auto it = restartable.find(text_in(statuses[i], "name"));
    const bool keeps_running = it != restartable.end() && it->second;
    note_restart(statuses[i], out);
    if (keeps_running && json_bool(statuses[i], {"ready"})) ++out.ready;
    const std::string text = init_status(statuses[i], keeps_running, i, total);
    if (text.empty()) continue;
    out.status = text;
    return true;
  }
  return false;
}

void summarize_containers(const Json& pod, PodSummary& out) {
  out.restarts = 0;
  out.last_restart.clear();
  bool running = false;
  const Json& statuses = array_in(object_at(pod, "status"), "containerStatuses");
  for (std::size_t i = statuses.size(); i-- > 0;) {
    const Json& status = statuses[i];
    const Json& state = object_at(status, "state");
    note_restart(status, out);
    const std::string waiting = json_string(state, {"waiting", "reason"});
    if (!waiting.empty()) {
      out.status = waiting;
    } else if (has(state, "terminated")) {
      const std::string text = terminated_text(state.at("terminated"));
      // A failure says more than another container's completion.
      if (text != "Completed" || out.status == "Running" || out.status == "Pending" ||
          i + 1 == statuses.size())
        out.status = text;
    } else if (has(state, "running") && json_bool(status, {"ready"})) {
      running = true;
      ++out.ready;
    }
  }
  if (out.status == "Completed" && running)
    out.status = condition_true(pod, "Ready") ? "Running" : "NotReady";
}

std::string restarts_text(const PodSummary& summary, const Clock& clock) {
  const std::string count = std::to_string(summary.restarts);
  if (summary.restarts == 0 || summary.last_restart.empty()) return count;
  return count + " (" + age_of(summary.last_restart, clock) + " ago)";
}

std::string pod_ip(const Json& pod) {
  const Json& ips = array_in(object_at(pod, "status"), "podIPs");
  return columns::or_none(ips.empty() ? "" : text_in(ips.front(), "ip"));
}

std::string readiness_gates(const Json& pod) {
  const Json& gates = array_in(object_at(pod, "spec"), "readinessGates");
  if (gates.empty()) return "<none>";
  std::size_t met = 0;
  for (const Json& gate : gates)
    if (condition_true(pod, text_in(gate, "conditionType"))) ++met;
  return std::to_string(met) + "/" + std::to_string(gates.size());
}

}  // namespace

PodSummary summarize_pod(const Json& pod) {
  PodSummary out;
  const Json& status = object_at(pod, "status");
  const std::string phase = text_in(status, "phase");
  const std::string reason = text_in(status, "reason");
  out.status = reason.empty() ? phase : reason;
  if (const Json* scheduled = condition(pod, "PodScheduled");
      scheduled != nullptr && text_in(*scheduled, "reason") == "SchedulingGated")
    out.status = "SchedulingGated";
  out.total = static_cast<int>(array_in(object_at(pod, "spec"), "containers").size());
  const bool initializing = summarize_init(pod, out);
  if (!initializing || condition_true(pod, "Initialized")) summarize_containers(pod, out);
  if (!has(object_at(pod, "metadata"), "deletionTimestamp")) return out;
  if (reason == "NodeLost")
    out.status = "Unknown";
  else if (phase != "Succeeded" && phase != "Failed")
    out.status = "Terminating";
  return out;
}

namespace columns {

std::vector<Column> pods() {
  return {name(),
          text("Ready", "Ready containers of all.",
               [](const Json& o) {
                 const PodSummary s = summarize_pod(o);
                 return std::to_string(s.ready) + "/" + std::to_string(s.total);
               }),
          text("Status", "What the Pod is doing.",
               [](const Json& o) { return summarize_pod(o).status; }),
          {"Restarts", "string", "", "How often its containers were restarted.", 0,
           [](const Json& o, const Clock& clock) {
             return Json(restarts_text(summarize_pod(o), clock));
           }},
          age(),
          text("IP", "Its address.", pod_ip, 1),
          text(
              "Node", "Where it runs.",
              [](const Json& o) {
                return or_none(json_string(o, {"spec", "nodeName"}));
              },
              1),
          text(
              "Nominated Node", "Where it may run.",
              [](const Json& o) {
                return or_none(json_string(o, {"status", "nominatedNodeName"}));
              },
              1),
          text("Readiness Gates", "Conditions met of those it waits for.", readiness_gates, 1)};
}

}  // namespace columns
}  // namespace coracle
