// Binds Pods to nodes: Ready, schedulable, matching nodeSelector, no taint that the Pod does not
// tolerate; away from Pods of the same owner or Services, then fewest Pods first.
#pragma once

#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <map>
#include <string>
#include <vector>

#include "controller.h"
#include "node_health.h"
#include "pod_endpoints.h"

namespace coracle {

// What runs on a node already.
struct NodeLoad {
  int pods = 0;
  int alike = 0;  // of those, Pods of the same controller or of the same Services
};
struct SchedulingDecision {
  std::string node;     // "" when none fits
  std::string message;  // then why, per reason, as kube-scheduler words it
};
// Pure. Nodes with fewer untolerated PreferNoSchedule taints come first, then those with fewer Pods
// alike, then those with fewer Pods; ties go to the first name.
SchedulingDecision schedule(const Pod& pod, const std::vector<NodePtr>& nodes,
                            const std::map<std::string, NodeLoad>& loads);

// Key: the Pod's. Pods that fit nowhere are looked at again when a Node changes.
class SchedulerController : public Reconciler {
 public:
  SchedulerController(Client& client, const Clock& clock, const Informer<Pod>& pods,
                      const Informer<Node>& nodes, const Informer<Service>& services,
                      EventRecorder& events)
      : client_(client),
        clock_(clock),
        pods_(pods),
        nodes_(nodes),
        services_(services),
        events_(events) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  std::map<std::string, NodeLoad> loads(const Pod& of);
  Result<void> bind(const Pod& pod, const std::string& node);
  Result<void> report(const Pod& pod, const std::string& message);

  Client& client_;
  const Clock& clock_;
  const Informer<Pod>& pods_;
  const Informer<Node>& nodes_;
  const Informer<Service>& services_;
  EventRecorder& events_;
  std::map<std::string, std::string> assumed_;  // node by Pod uid, until the cache shows it
};

}  // namespace coracle
