// Deployments, ReplicaSets and DaemonSets: their controllers, and how changes map to keys.
#pragma once

#include <coracle/api/apps.h>
#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/clock.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include "daemon_set.h"
#include "deployment.h"
#include "replica_set.h"
#include "workqueue.h"

namespace coracle {

class Workloads {
 public:
  // The caches that it looks at; they are the caller's to start.
  struct Caches {
    Informer<Pod>& pods;
    Informer<Node>& nodes;
    Informer<Deployment>& deployments;
    Informer<ReplicaSet>& sets;
    Informer<DaemonSet>& daemons;
  };
  Workloads(Client& client, const Clock& clock, const Caches& caches, EventRecorder& events);

  Reconciler& deployments() { return deployment_controller_; }
  Reconciler& replica_sets() { return replica_set_controller_; }
  Reconciler& daemon_sets() { return daemon_set_controller_; }
  struct Queues {
    WorkQueue* deployments;
    WorkQueue* replica_sets;
    WorkQueue* daemon_sets;
  };
  // REQUIRES: before start().
  void watch(const Queues& queues);

 private:
  // The workloads that a Pod, or a ReplicaSet, concerns: its owner, or all that might adopt it.
  void note_pod(const Queues& queues, const Pod& pod) const;
  void note_set(const Queues& queues, const ReplicaSet& set) const;

  const Caches caches_;
  DeploymentController deployment_controller_;
  ReplicaSetController replica_set_controller_;
  DaemonSetController daemon_set_controller_;
};

}  // namespace coracle
