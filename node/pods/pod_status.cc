#include "pods/pod_status.h"

#include <coracle/utf8.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "pods/pod_actions.h"

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;
using Role = PodContainer::Role;
using Status = ContainerState::Status;

constexpr std::size_t kMaxPodMessages = std::size_t{12} << 10U;

Json waiting(const std::string& reason, const std::string& message = "") {
  Json out = {{"reason", reason}};
  if (!message.empty()) out["message"] = message;
  return {{"waiting", std::move(out)}};
}

std::string backoff_message(const PodView& view, const PodContainer& container,
                            std::chrono::seconds delay) {
  const Meta& meta = view.pod.pod.meta;
  const auto minutes = delay.count() / 60;
  const auto seconds = delay.count() % 60;
  const std::string text = (minutes > 0 ? std::to_string(minutes) + "m" : "") +
                           std::to_string(seconds) + "s";  // as Go prints a Duration
  return "back-off " + text + " restarting failed container=" + container.spec.name +
         " pod=" + meta.name + "_" + meta.ns + "(" + meta.uid + ")";
}

// The state of a container that does not run; `ended` is what it was, if it ever was.
Json idle_state(const PodView& view, const PodContainer& container,
                const std::optional<ContainerState>& ended) {
  const ContainerMemory* memory = view.memory.find(container.spec.name);
  if (memory && memory->failure && memory->failure->image == container.spec.image)
    return waiting(memory->failure->reason, memory->failure->message);
  if (!ended) {
    const bool created = container.role == Role::Main && !view.pod.has_init();
    return waiting(created ? "ContainerCreating" : "PodInitializing");
  }
  if (memory && view.alive() && restarts(view, container, ended->exit_code) &&
      backoff_left(memory->backoff, memory->exited_at, view.now) > 0ns)
    return waiting("CrashLoopBackOff", backoff_message(view, container, memory->backoff.delay));
  return {{"terminated", terminated_state(*ended)}};
}

Json container_status(const PodView& view, const PodContainer& container) {
  const std::string& name = container.spec.name;
  const auto s = view.state(name);
  const ContainerMemory* memory = view.memory.find(name);
  const bool settling = s && s->status == Status::Running && !view.settled(container, *s);
  const bool runs = s && s->status == Status::Running && !settling;
  Json out = {{"name", name},
              {"image", container.spec.image},
              {"imageID", ""},
              {"ready", view.ready(container)},
              {"started", view.started(container)},
              {"restartCount", memory ? std::max(0, memory->restarts) : 0},
              {"lastState", Json::object()}};
  if (memory && !memory->last_terminated.json().empty())
    out["lastState"] = {{"terminated", memory->last_terminated.json()}};
  if (runs) {
    out["state"] = {{"running", {{"startedAt", format_time(s->started_at)}}}};
  } else {
    out["state"] = idle_state(view, container, settling ? std::nullopt : s);
    // What it waits after is its last state.
    if (s && !settling && out["state"].contains("waiting"))
      out["lastState"] = {{"terminated", terminated_state(*s)}};
  }
  if (!s) return out;
  out["image"] = s->image.empty() ? container.spec.image : s->image;
  out["imageID"] = "process://" + out["image"].get<std::string>();
  out["containerID"] = container_id(*s);
  return out;
}

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : " ") + name;
  return "[" + out + "]";
}

struct Verdicts {
  bool finished = false;
  std::vector<std::string> uninitialized, unready;
};

Verdicts judge(const PodView& view, const std::string& phase) {
  Verdicts out;
  out.finished = phase == "Succeeded" || phase == "Failed";
  const bool init_over = initialized(view);
  for (const PodContainer& c : view.pod.containers) {
    const bool ready = view.ready(c);
    if (c.role == Role::Init && !ready && !init_over) out.uninitialized.push_back(c.spec.name);
    if (c.role == Role::Sidecar && !view.started(c) && !init_over)
      out.uninitialized.push_back(c.spec.name);
    if (c.role != Role::Init && !ready) out.unready.push_back(c.spec.name);
  }
  return out;
}

struct Condition {
  const char* type = "";
  bool status = false;
  std::string reason, message;
};

// Conditions that somebody else must set before the Pod is ready (spec.readinessGates).
std::string open_gates(const PodView& view) {
  std::string out;
  const Json* gates = json_find(view.pod.spec(), {"readinessGates"});
  if (gates == nullptr || !gates->is_array()) return out;
  for (const Json& gate : *gates) {
    const std::string type = json_string(gate, {"conditionType"});
    const auto& conditions = view.pod.pod.conditions;
    const bool met = std::any_of(conditions.begin(), conditions.end(), [&](const auto& c) {
      return c.type == type && c.status == "True";
    });
    if (met) continue;
    out.append(out.empty() ? "" : ", ").append("the status of pod readiness gate \"");
    out.append(type).append(R"(" is not "True")");
  }
  return out;
}

Condition readiness(const PodView& view, const char* type, const Verdicts& verdicts,
                    const std::string& phase) {
  if (verdicts.finished)
    return {type, false, phase == "Succeeded" ? "PodCompleted" : "PodFailed", ""};
  if (!verdicts.unready.empty() || !verdicts.uninitialized.empty())
    return {type, false, "ContainersNotReady",
            "containers with unready status: " + join(verdicts.unready)};
  if (std::string(type) == "Ready")
    if (const std::string gates = open_gates(view); !gates.empty())
      return {type, false, "ReadinessGatesNotReady", gates};
  return {type, true, "", ""};
}

std::vector<Condition> conditions_of(const PodView& view, const std::string& phase) {
  const Verdicts verdicts = judge(view, phase);
  Condition init{"Initialized", verdicts.uninitialized.empty(), "", ""};
  if (!init.status) {
    init.reason = "ContainersNotInitialized";
    init.message = "containers with incomplete status: " + join(verdicts.uninitialized);
  } else if (phase == "Succeeded") {
    init.reason = "PodCompleted";
  }
  return {{"PodReadyToStartContainers", view.alive() && view.memory.connected, "", ""},
          init,
          readiness(view, "Ready", verdicts, phase),
          readiness(view, "ContainersReady", verdicts, phase),
          {"PodScheduled", true, "", ""}};
}

Json merge_condition(const Condition& condition, const Json* old, const std::string& now) {
  Json out = {{"type", condition.type},
              {"status", condition.status ? "True" : "False"},
              {"lastTransitionTime", now}};
  if (!condition.reason.empty()) out["reason"] = condition.reason;
  if (!condition.message.empty()) out["message"] = condition.message;
  if (old == nullptr || json_string(*old, {"status"}) != json_string(out, {"status"})) return out;
  const std::string since = json_string(*old, {"lastTransitionTime"});
  if (!since.empty()) out["lastTransitionTime"] = since;
  return out;
}

void set_conditions(Json& status, const std::vector<Condition>& ours, const std::string& now) {
  const Json old = status.contains("conditions") ? status["conditions"] : Json::array();
  Json out = Json::array();
  for (const Condition& condition : ours) {
    const Json* before = nullptr;
    for (const Json& c : old)
      if (json_string(c, {"type"}) == condition.type) before = &c;
    out.push_back(merge_condition(condition, before, now));
  }
  for (const Json& c : old) {
    const bool own = std::any_of(ours.begin(), ours.end(), [&](const Condition& condition) {
      return json_string(c, {"type"}) == condition.type;
    });
    if (!own) out.push_back(c);
  }
  status["conditions"] = std::move(out);
}

void set_addresses(Json& status, const PodView& view, const Ip& node_ip) {
  status["hostIP"] = node_ip.to_string();
  status["hostIPs"] = Json::array({{{"ip", node_ip.to_string()}}});
  std::optional<Ip> ip = view.memory.ip;
  if (view.pod.pod.host_network && (ip || status.contains("podIP"))) ip = node_ip;
  if (!ip) return;  // an adopted Pod's stays
  status["podIP"] = ip->to_string();
  status["podIPs"] = Json::array({{{"ip", ip->to_string()}}});
}

std::string reported_phase(const PodView& view) {
  if (view.pod.pod.finished()) return view.pod.pod.phase;  // for ever
  std::string phase = pod_phase(view);
  if (phase != "Succeeded" && phase != "Failed") return phase;
  for (const PodContainer& c : view.pod.containers) {
    const auto s = view.state(c.spec.name);
    if (s && s->status == Status::Running) return "Running";  // sidecars that still end
  }
  return phase;
}

// Several containers share what a Pod's status has room for.
void limit_messages(Json& statuses, std::size_t most) {
  for (Json& status : statuses)
    for (const char* state : {"state", "lastState"}) {
      const auto ended = status[state].find("terminated");
      if (ended == status[state].end() || !ended->contains("message")) continue;
      Json& message = (*ended)["message"];
      if (message.is_string()) message = std::string(utf8::head(message.get<std::string>(), most));
    }
}

}  // namespace

Json compute_pod_status(const PodView& view, const StatusFacts& facts) {
  Json status = view.pod.status();
  const std::string phase = reported_phase(view);
  status["phase"] = phase;
  if (phase == "Failed" && view.exceeded()) {
    status["reason"] = kDeadlineReason;
    status["message"] = kDeadlineMessage;
  }
  if (!status.contains("startTime")) status["startTime"] = facts.now;
  set_addresses(status, view, facts.node_ip);
  Json init = Json::array();
  Json main = Json::array();
  for (const PodContainer& c : view.pod.containers)
    (c.role == Role::Main ? main : init).push_back(container_status(view, c));
  for (Json* statuses : {&init, &main})
    limit_messages(*statuses, kMaxPodMessages / view.pod.containers.size());
  if (!init.empty()) status["initContainerStatuses"] = std::move(init);
  status["containerStatuses"] = std::move(main);
  set_conditions(status, conditions_of(view, phase), facts.now);
  return status;
}

}  // namespace coracle::pods
