// Deployment, ReplicaSet, DaemonSet and ControllerRevision (apps/v1): the fields that our own code
// reads.
#pragma once

#include <coracle/labels.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace coracle {

namespace resources {
extern const Resource kDeployments, kReplicaSets, kDaemonSets, kControllerRevisions;
}  // namespace resources

struct WorkloadCondition {
  std::string type, status, reason, message;
  std::string last_update_time;  // Deployments only
  std::string last_transition_time;
  bool operator==(const WorkloadCondition&) const = default;
};
// nullptr when there is none of the type.
const WorkloadCondition* find_condition(const std::vector<WorkloadCondition>& conditions,
                                        const std::string& type);

// A count, or a part of a count in percent.
struct IntOrPercent {
  std::int64_t value = 0;
  bool percent = false;
  std::int64_t rounded_up(std::int64_t whole) const;
  std::int64_t rounded_down(std::int64_t whole) const;
  bool operator==(const IntOrPercent&) const = default;
};

// What the three have in common.
struct Workload {
  Meta meta;
  std::int64_t min_ready_seconds = 0;
  std::shared_ptr<const Json> selector_json;
  LabelSelector selector;
  std::shared_ptr<const Json> pod_template;  // metadata and spec
};

struct ReplicaSetStatus {
  std::int64_t replicas = 0, fully_labeled = 0, ready = 0, available = 0;
  std::int64_t observed_generation = 0;
  std::vector<WorkloadCondition> conditions;
  bool operator==(const ReplicaSetStatus&) const = default;
};
struct ReplicaSet : Workload {
  std::int64_t replicas = 1;
  ReplicaSetStatus status;
  // Errors: a selector that is none. Members of a wrong type read as absent.
  static Result<ReplicaSet> decode(const Object& object);
};

struct DeploymentStatus {
  std::int64_t replicas = 0, updated = 0, ready = 0, available = 0, unavailable = 0;
  std::int64_t observed_generation = 0, collision_count = 0;
  std::vector<WorkloadCondition> conditions;
  bool operator==(const DeploymentStatus&) const = default;
};
struct Deployment : Workload {
  std::int64_t replicas = 1;
  std::int64_t revision_history_limit = 10;
  std::int64_t progress_deadline_seconds = 600;  // 2147483647: none
  bool paused = false;
  bool recreate = false;  // strategy Recreate instead of RollingUpdate
  IntOrPercent max_surge, max_unavailable;
  DeploymentStatus status;
  static Result<Deployment> decode(const Object& object);  // as ReplicaSet's
};

struct DaemonSetStatus {
  std::int64_t desired = 0, current = 0, misscheduled = 0, ready = 0;
  std::int64_t updated = 0, available = 0, unavailable = 0;
  std::int64_t observed_generation = 0, collision_count = 0;
  bool operator==(const DaemonSetStatus&) const = default;
};
struct DaemonSet : Workload {
  std::int64_t revision_history_limit = 10;
  bool on_delete = false;  // updateStrategy OnDelete instead of RollingUpdate
  IntOrPercent max_surge, max_unavailable;
  DaemonSetStatus status;
  static Result<DaemonSet> decode(const Object& object);  // as ReplicaSet's
};

// A state of a workload to go back to.
struct ControllerRevision {
  Meta meta;
  std::int64_t revision = 0;
  std::shared_ptr<const Json> data;  // a strategic merge patch of the workload
  static Result<ControllerRevision> decode(const Object& object);
};

}  // namespace coracle
