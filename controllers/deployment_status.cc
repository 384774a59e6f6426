// A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure with
// upstream's reasons.
#include <algorithm>
#include <limits>

#include "deployment_plan.h"

namespace coracle {
namespace {

constexpr const char* kProgressing = "Progressing";
constexpr std::int64_t kNoDeadline = std::numeric_limits<std::int32_t>::max();

using Conditions = std::vector<WorkloadCondition>;

void note_available(const Deployment& deployment, DeploymentStatus& status, Time now) {
  const bool enough = status.available >= deployment.replicas - slack_of(deployment).unavailable;
  set_condition(status.conditions,
                {"Available", enough ? "True" : "False",
                 enough ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
                 enough ? "Deployment has minimum availability."
                        : "Deployment does not have minimum availability.",
                 "", ""},
                now);
}

// The new set's failure says most, else any set's.
void note_failure(const ReplicaSets& sets, DeploymentStatus& status, Time now) {
  const WorkloadCondition* failure = nullptr;
  for (const auto& set : sets.all())
    if (const auto* its = find_condition(set->status.conditions, "ReplicaFailure")) failure = its;
  if (failure == nullptr) return remove_condition(status.conditions, "ReplicaFailure");
  set_condition(status.conditions, *failure, now);
}

bool has_progressed(const DeploymentStatus& before, const DeploymentStatus& after) {
  return after.updated > before.updated || after.ready > before.ready ||
         after.available > before.available ||
         after.replicas - after.updated < before.replicas - before.updated;
}

std::string subject(const Deployment& deployment, const ReplicaSets& sets) {
  if (sets.current != nullptr) return "ReplicaSet \"" + sets.current->meta.name + "\"";
  return "Deployment \"" + deployment.meta.name + "\"";
}

// Paused and resumed: the deadline's clock stands still meanwhile. A rollout that has timed out
// stays so.
void note_pause(const Deployment& deployment, Conditions& conditions, Time now) {
  const WorkloadCondition* progress = find_condition(conditions, kProgressing);
  if (progress != nullptr && progress->reason == "ProgressDeadlineExceeded") return;
  const bool was_paused = progress != nullptr && progress->reason == "DeploymentPaused";
  if (deployment.paused && !was_paused)
    set_condition(conditions,
                  {kProgressing, "Unknown", "DeploymentPaused", "Deployment is paused", "", ""},
                  now);
  if (!deployment.paused && was_paused)
    set_condition(conditions,
                  {kProgressing, "Unknown", "DeploymentResumed", "Deployment is resumed", "", ""},
                  now);
}

// The current set is new, or was there when the Deployment came.
void note_current(const ReplicaSets& sets, DeploymentStatus& status, Time now) {
  if (sets.current == nullptr) return;
  const bool first = find_condition(status.conditions, kProgressing) == nullptr;
  const std::string& name = sets.current->meta.name;
  if (sets.created) {
    set_condition(status.conditions,
                  {kProgressing, "True", "NewReplicaSetCreated",
                   "Created new replica set \"" + name + "\"", "", ""},
                  now);
  } else if (first) {
    set_condition(status.conditions,
                  {kProgressing, "True", "FoundNewReplicaSet",
                   "Found new replica set \"" + name + "\"", "", ""},
                  now);
  }
}

Time deadline_of(const Deployment& deployment, const WorkloadCondition& progress) {
  return parse_time(progress.last_update_time) +
         std::chrono::seconds(deployment.progress_deadline_seconds);
}

bool timed_out(const Deployment& deployment, const Conditions& conditions, Time now) {
  const WorkloadCondition* progress = find_condition(conditions, kProgressing);
  if (progress == nullptr || progress->reason == "NewReplicaSetAvailable") return false;
  if (progress->reason == "ProgressDeadlineExceeded") return true;
  return deadline_of(deployment, *progress) < now;
}

void note_progress(const Deployment& deployment, const ReplicaSets& sets, DeploymentStatus& status,
                   Time now) {
  const WorkloadCondition* progress = find_condition(status.conditions, kProgressing);
  // Done is done: a Pod that is replaced later is no rollout.
  if (progress != nullptr && progress->reason == "NewReplicaSetAvailable" &&
      status.replicas == status.updated)
    return;
  const std::string who = subject(deployment, sets);
  if (is_complete(deployment, status)) {
    set_condition(status.conditions,
                  {kProgressing, "True", "NewReplicaSetAvailable",
                   who + " has successfully progressed.", "", ""},
                  now);
  } else if (has_progressed(deployment.status, status)) {
    WorkloadCondition next{kProgressing,        "True",
                           "ReplicaSetUpdated", who + " is progressing.",
                           format_time(now),    format_time(now)};
    // Written anew each time: the deadline counts from here.
    if (progress != nullptr && progress->status == "True")
      next.last_transition_time = progress->last_transition_time;
    remove_condition(status.conditions, kProgressing);
    status.conditions.push_back(std::move(next));
  } else if (timed_out(deployment, status.conditions, now)) {
    set_condition(status.conditions,
                  {kProgressing, "False", "ProgressDeadlineExceeded",
                   who + " has timed out progressing.", "", ""},
                  now);
  }
}

Again deadline_left(const Deployment& deployment, const DeploymentStatus& status, Time now) {
  const WorkloadCondition* progress = find_condition(status.conditions, kProgressing);
  if (progress == nullptr || deployment.paused || progress->reason == "NewReplicaSetAvailable" ||
      progress->reason == "ProgressDeadlineExceeded")
    return {};
  // Times in objects are whole seconds: look after the deadline, not in its second.
  const auto left = deadline_of(deployment, *progress) + std::chrono::seconds(1) - now;
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(left), std::chrono::milliseconds(1));
}

}  // namespace

bool is_complete(const Deployment& deployment, const DeploymentStatus& status) {
  return status.updated == deployment.replicas && status.replicas == deployment.replicas &&
         status.available == deployment.replicas &&
         status.observed_generation >= deployment.meta.generation;
}

DeploymentStatus count_replicas(const Deployment& deployment, const ReplicaSets& sets) {
  DeploymentStatus out;
  std::int64_t wanted = 0;
  for (const auto& set : sets.all()) {
    out.replicas += set->status.replicas;
    out.ready += set->status.ready;
    out.available += set->status.available;
    wanted += set->replicas;
  }
  if (sets.current != nullptr) out.updated = sets.current->status.replicas;
  out.unavailable = std::max<std::int64_t>(wanted - out.available, 0);
  out.observed_generation = deployment.meta.generation;
  out.collision_count = deployment.status.collision_count;
  return out;
}

DeploymentFindings compute_deployment_status(const Deployment& deployment, const ReplicaSets& sets,
                                             Time now) {
  DeploymentFindings out;
  DeploymentStatus& status = out.status;
  status = count_replicas(deployment, sets);
  status.conditions = deployment.status.conditions;
  note_available(deployment, status, now);
  note_failure(sets, status, now);
  if (deployment.progress_deadline_seconds == kNoDeadline) {
    remove_condition(status.conditions, kProgressing);
    return out;
  }
  note_pause(deployment, status.conditions, now);
  if (!deployment.paused) {
    note_current(sets, status, now);
    note_progress(deployment, sets, status, now);
  }
  out.again = deadline_left(deployment, status, now);
  return out;
}

}  // namespace coracle
