// Keeps a Pod of a DaemonSet on every node that it fits. Its Pods are bound when they are made: the
// choice of nodes is made here, so the scheduler has none.
#pragma once

#include <coracle/api/node.h>
#include <coracle/clock.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <string>
#include <vector>

#include "controller.h"
#include "daemon_history.h"
#include "node_health.h"
#include "pod_control.h"
#include "workload.h"

namespace coracle {

// What a node is to a DaemonSet.
struct NodeFit {
  bool runs = false;  // should have a Pod
  bool keeps =
      false;  // may go on with the one it has: new taints of effect NoSchedule do not count
};
// Pure. The template's nodeName, nodeSelector and required node affinity, and the node's taints
// against its tolerations and those that every daemon Pod gets.
NodeFit daemon_fit(const DaemonSet& set, const Node& node);

struct DaemonSetPlan {
  std::vector<std::string> create;  // on these nodes
  std::vector<PodPtr> remove;
  DaemonSetStatus status;
  Again again;  // when a Pod will count as available
};
// Pure. `owned`: its Pods, those that end among them; `hash`: of its template.
DaemonSetPlan compute_daemon_set(const DaemonSet& set, const std::vector<NodePtr>& nodes,
                                 const std::vector<PodPtr>& owned, const std::string& hash,
                                 Time now);
// The Pod for one node.
Object daemon_pod(const DaemonSet& set, const std::string& node, const std::string& hash);

// Key: the DaemonSet's.
class DaemonSetController : public Reconciler {
 public:
  DaemonSetController(Client& client, const Clock& clock, const Informer<Node>& nodes,
                      const Informer<Pod>& pods, EventRecorder& events)
      : client_(client),
        clock_(clock),
        nodes_(nodes),
        history_(client),
        pods_(client, resources::kDaemonSets, pods, events) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  Result<std::vector<PodPtr>> owned_pods(const DaemonSet& set);
  Result<void> apply(const DaemonSet& set, const DaemonSetPlan& plan, const std::string& hash);
  Result<void> write_status(const DaemonSet& set, const DaemonSetStatus& status);

  Client& client_;
  const Clock& clock_;
  const Informer<Node>& nodes_;
  DaemonHistory history_;
  PodControl pods_;
};

}  // namespace coracle
