// Binds Pods to nodes, as scheduling.h decides. Nothing is asked periodically: a Pod that fits
// nowhere is looked at again when a Node changes, when a Pod that ended or went makes room on a
// node for it, and, if it has constraints about other Pods, when those change.
#pragma once

#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "controller.h"
#include "metadata.h"
#include "node_health.h"
#include "pod_endpoints.h"
#include "scheduling.h"

namespace coracle {

// Key: the Pod's. No Pod is sent away for one of a higher priority (no preemption), and Pods are
// taken in the order of their arrival.
class SchedulerController : public Reconciler {
 public:
  SchedulerController(Client& client, const Clock& clock, const Informer<Pod>& pods,
                      const Informer<Service>& services, EventRecorder& events)
      : client_(client), clock_(clock), pods_(pods), services_(services), events_(events) {}
  // Keeps the state up to date with the caches. REQUIRES: before they start.
  void watch(Informer<Pod>& pods, Informer<Node>& nodes, Informer<Metadata>& namespaces,
             WorkQueue* queue);
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  void note_pod(const ObjectKey& key, const PodPtr& old, const PodPtr& now);
  void note_node(const ObjectKey& key, const NodePtr& old, const NodePtr& now);
  void wake_all();
  void wake_for_room(const std::string& node);
  void wake_for_company();
  SchedulingDecision decide(const ObjectKey& key, PodPtr& pod);
  Result<void> bind(const Pod& pod, const std::string& node);
  Result<void> report(const Pod& pod, const std::string& message);

  Client& client_;
  const Clock& clock_;
  const Informer<Pod>& pods_;
  const Informer<Service>& services_;
  EventRecorder& events_;
  WorkQueue* queue_ = nullptr;  // fixed after watch()

  std::mutex mutex_;  // of what follows
  SchedulingState state_;
  std::map<ObjectKey, PodPtr> waiting_;  // fit nowhere
};

}  // namespace coracle
