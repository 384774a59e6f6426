// Pod (core/v1): the fields that our own code reads. The rest lives on in the stored JSON.
#pragma once

#include <coracle/api/placement.h>
#include <coracle/api/taints.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace coracle {

struct ContainerPort {
  std::string name;
  std::int64_t container_port = 0;
  std::int64_t host_port = 0;
  std::string protocol = "TCP";
  std::string host_ip = {};  // of host_port; "": every address
  bool operator==(const ContainerPort&) const = default;
};

struct Probe {
  enum class Kind { None, HttpGet, TcpSocket, Exec };
  Kind kind = Kind::None;
  std::string path, host, scheme;  // httpGet
  std::int64_t port = 0;           // 0 when it is a name
  std::string port_name;
  std::vector<std::pair<std::string, std::string>> http_headers;
  std::vector<std::string> command;  // exec
  std::int64_t initial_delay_seconds = 0, timeout_seconds = 1, period_seconds = 10;
  std::int64_t success_threshold = 1, failure_threshold = 3;
  std::optional<std::int64_t> termination_grace_period_seconds;  // instead of the Pod's
  bool operator==(const Probe&) const = default;
};

struct EnvVar {
  std::string name, value;
  std::string field_path;  // valueFrom.fieldRef, "" when none
  bool operator==(const EnvVar&) const = default;
};

struct Container {
  std::string name, image, working_dir, image_pull_policy;
  std::string termination_message_path = "/dev/termination-log", termination_message_policy;
  std::vector<std::string> command, args;
  std::vector<EnvVar> env;
  std::vector<ContainerPort> ports;
  Probe readiness, liveness, startup;
  bool operator==(const Container&) const = default;
};

struct PodCondition {
  std::string type, status, reason, message, last_transition_time;
  bool operator==(const PodCondition&) const = default;
};

struct Pod {
  Meta meta;
  std::string node_name, hostname, subdomain, service_account_name;
  std::string restart_policy = "Always";
  std::string dns_policy = "ClusterFirst";
  std::string scheduler_name = "default-scheduler";
  bool host_network = false;
  std::int64_t termination_grace_period_seconds = 30;
  std::map<std::string, std::string> node_selector;
  std::vector<Toleration> tolerations;
  std::shared_ptr<const Placement> placement;  // null: asks nothing of a node
  std::vector<Container> init_containers, containers;

  std::string phase, reason;    // status
  std::string pod_ip, host_ip;  // status
  std::vector<std::string> pod_ips;
  std::vector<PodCondition> conditions;
  // The most that any of its containers, or of its sidecars, was started again.
  std::int64_t restarts = 0, sidecar_restarts = 0;

  bool ready() const;     // the Ready condition is True
  bool finished() const;  // phase Succeeded or Failed
  // Members of a wrong type read as absent.
  static Result<Pod> decode(const Object& object);
};

}  // namespace coracle
