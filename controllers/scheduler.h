// Binds Pods to nodes: Ready, schedulable, matching nodeSelector; fewest Pods first.
#pragma once

#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <map>
#include <string>
#include <vector>

#include "controller.h"
#include "pod_endpoints.h"

namespace coracle {

using NodePtr = std::shared_ptr<const Node>;

struct SchedulingDecision {
  std::string node;     // "" when none fits
  std::string message;  // then why, per reason, as kube-scheduler words it
};
// Pure. `pods_on` counts the Pods of each node; ties go to the first name.
SchedulingDecision schedule(const Pod& pod, const std::vector<NodePtr>& nodes,
                            const std::map<std::string, int>& pods_on);

// Key: the Pod's. Pods that fit nowhere are looked at again when a Node changes.
class SchedulerController : public Reconciler {
 public:
  SchedulerController(Client& client, const Clock& clock, const Informer<Pod>& pods,
                      const Informer<Node>& nodes, EventRecorder& events)
      : client_(client), clock_(clock), pods_(pods), nodes_(nodes), events_(events) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  std::map<std::string, int> pods_per_node();
  Result<void> bind(const Pod& pod, const std::string& node);
  Result<void> report(const Pod& pod, const std::string& message);

  Client& client_;
  const Clock& clock_;
  const Informer<Pod>& pods_;
  const Informer<Node>& nodes_;
  EventRecorder& events_;
  std::map<std::string, std::string> assumed_;  // node by Pod uid, until the cache shows it
};

}  // namespace coracle
