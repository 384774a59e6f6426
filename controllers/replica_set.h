// Keeps as many Pods of a template as a ReplicaSet asks for.
#pragma once

#include <coracle/clock.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <map>
#include <string>
#include <vector>

#include "controller.h"
#include "pod_control.h"
#include "workload.h"

namespace coracle {

using ReplicaSetPtr = std::shared_ptr<const ReplicaSet>;

// Pods made or deleted at one look at most, as upstream.
inline constexpr std::int64_t kMostPodsAtOnce = 500;

struct ReplicaSetPlan {
  std::int64_t create = 0;
  std::vector<PodPtr> remove;  // in this order
};
// Pure. `owned` are its active Pods; `crowd`: by node, how many Pods it and its siblings have
// there. Those that go first are, as upstream's: on no node, pending, not ready, of less
// pod-deletion-cost, on a more crowded node, ready for less time, restarted more often (containers,
// then sidecars), newer. Times are compared by their order of magnitude; the uid settles the rest.
ReplicaSetPlan compute_replicas(const ReplicaSet& set, std::vector<PodPtr> owned,
                                const std::map<std::string, std::int64_t>& crowd, Time now);

struct ReplicaSetFindings {
  ReplicaSetStatus status;
  Again again;  // when a Pod will count as available
};
// Pure. `failure`: why Pods could not be made or deleted; nullptr: they could.
ReplicaSetFindings compute_replica_set_status(const ReplicaSet& set,
                                              const std::vector<PodPtr>& owned, Time now,
                                              const WorkloadCondition* failure);

// Key: the ReplicaSet's. Pods of one that is gone are the garbage collector's.
class ReplicaSetController : public Reconciler {
 public:
  ReplicaSetController(Client& client, const Clock& clock, const Informer<ReplicaSet>& sets,
                       const Informer<Pod>& pods, EventRecorder& events)
      : client_(client),
        clock_(clock),
        sets_(sets),
        pods_(client, resources::kReplicaSets, pods, events) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  std::map<std::string, std::int64_t> crowd(const ReplicaSet& set,
                                            const std::vector<PodPtr>& pods) const;
  Result<void> apply(const ReplicaSet& set, const ReplicaSetPlan& plan);
  Result<void> write_status(const ReplicaSet& set, const ReplicaSetStatus& status);

  Client& client_;
  const Clock& clock_;
  const Informer<ReplicaSet>& sets_;
  PodControl pods_;
};

}  // namespace coracle
