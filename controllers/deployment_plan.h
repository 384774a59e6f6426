// What a Deployment's ReplicaSets should look like next. Pure: everything is decided anew from what
// the API holds, so a controller that stops between two writes goes on where it was.
#pragma once

#include <coracle/api/apps.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "replica_set.h"

namespace coracle {

inline constexpr const char* kTemplateHashLabel = "pod-template-hash";
inline constexpr const char* kRevisionAnnotation = "deployment.kubernetes.io/revision";
inline constexpr const char* kRevisionHistoryAnnotation =
    "deployment.kubernetes.io/revision-history";
inline constexpr const char* kDesiredReplicasAnnotation =
    "deployment.kubernetes.io/desired-replicas";
inline constexpr const char* kMaxReplicasAnnotation = "deployment.kubernetes.io/max-replicas";

// The Deployment's sets, told apart. An empty set (of no replicas) is old, too.
struct ReplicaSets {
  ReplicaSetPtr current;           // of the Deployment's template; null: not made yet
  std::vector<ReplicaSetPtr> old;  // oldest first
  bool created = false;            // `current` was made just now
  std::vector<ReplicaSetPtr> all() const;
};
ReplicaSets sort_replica_sets(const Deployment& deployment, std::vector<ReplicaSetPtr> owned);

// How many Pods there may be beyond, and be missing of, those wanted. Never both 0.
struct Slack {
  std::int64_t surge = 0;
  std::int64_t unavailable = 0;
};
Slack slack_of(const Deployment& deployment);

// What is to be written to one set; what it says already is left out.
struct ReplicaSetChange {
  ReplicaSetPtr set;
  std::optional<std::int64_t> replicas;
  std::optional<std::int64_t> min_ready_seconds;
  std::map<std::string, std::string> annotations;
  bool empty() const { return !replicas && !min_ready_seconds && annotations.empty(); }
};
struct DeploymentPlan {
  // Make the set of the template, with so many replicas and these annotations.
  struct Create {
    std::int64_t replicas = 0;
    std::map<std::string, std::string> annotations;
  };
  std::optional<Create> create;
  std::vector<ReplicaSetChange> change;
  std::vector<ReplicaSetPtr> remove;  // beyond the history limit
  std::string revision;               // of the Deployment; "": there is none yet
};
// `old_pods`: Pods of old sets still run or end (what Recreate waits for).
DeploymentPlan compute_deployment(const Deployment& deployment, const ReplicaSets& sets,
                                  bool old_pods);

// deployment_status.cc. `again`: when the progress deadline is over.
struct DeploymentFindings {
  DeploymentStatus status;
  Again again;
};
DeploymentFindings compute_deployment_status(const Deployment& deployment, const ReplicaSets& sets,
                                             Time now);
// All Pods are of the newest template and available.
bool is_complete(const Deployment& deployment, const DeploymentStatus& status);
DeploymentStatus count_replicas(const Deployment& deployment, const ReplicaSets& sets);

// deployment_scaling.cc. The sizes after a change of the Deployment's replicas: in proportion to
// what the sets have, so that a rollout under way stays as far as it was.
std::map<std::string, std::int64_t> compute_scaling(const Deployment& deployment,
                                                    const ReplicaSets& sets);

// The number an annotation holds, none when there is no such number.
std::optional<std::int64_t> number_of(const ReplicaSet& set, const char* annotation);

}  // namespace coracle
