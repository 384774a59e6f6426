// Carries out what deployment_plan.h computes for a Deployment.
#pragma once

#include <coracle/clock.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <string>
#include <vector>

#include "controller.h"
#include "deployment_plan.h"
#include "ledger.h"
#include "pod_control.h"

namespace coracle {

using DeploymentPtr = std::shared_ptr<const Deployment>;

// Key: the Deployment's. ReplicaSets of one that is gone are the garbage collector's.
class DeploymentController : public Reconciler {
 public:
  DeploymentController(Client& client, const Clock& clock, const Informer<ReplicaSet>& sets,
                       const Informer<Pod>& pods, EventRecorder& events)
      : client_(client),
        clock_(clock),
        sets_(sets),
        pods_(pods),
        events_(events),
        ledger_(client, resources::kReplicaSets, sets) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  Result<ReplicaSets> owned_sets(const Deployment& deployment);
  bool old_pods(const Deployment& deployment, const ReplicaSets& sets) const;
  Result<void> apply(const Deployment& deployment, const DeploymentPlan& plan, ReplicaSets& sets);
  Result<void> create(const Deployment& deployment, const DeploymentPlan::Create& wanted,
                      ReplicaSets& sets);
  Result<void> resolve_taken_name(const Deployment& deployment, const ObjectKey& name);
  Result<void> change(const Deployment& deployment, const ReplicaSetChange& change);
  Result<void> remove(const Deployment& deployment, const ReplicaSet& set);
  Result<void> write_revision(const Deployment& deployment, const std::string& revision);
  Result<void> write_status(const Deployment& deployment, const DeploymentStatus& status);

  Client& client_;
  const Clock& clock_;
  const Informer<ReplicaSet>& sets_;
  const Informer<Pod>& pods_;
  EventRecorder& events_;
  Ledger<ReplicaSet> ledger_;
};

}  // namespace coracle
