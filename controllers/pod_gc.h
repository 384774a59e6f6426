// Deletes Pods whose Node no longer exists.
#pragma once

#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/informer.h>

#include <map>
#include <string>

#include "controller.h"

namespace coracle {

// As upstream: a Node that is made anew soon keeps its Pods.
inline constexpr std::chrono::seconds kOrphanedPodGrace{40};

// Key: the Pod's.
class PodGarbageCollector : public Reconciler {
 public:
  PodGarbageCollector(Client& client, const Clock& clock, const Informer<Pod>& pods,
                      const Informer<Node>& nodes)
      : client_(client), clock_(clock), pods_(pods), nodes_(nodes) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  Client& client_;
  const Clock& clock_;
  const Informer<Pod>& pods_;
  const Informer<Node>& nodes_;
  std::map<ObjectKey, std::chrono::steady_clock::time_point> orphaned_since_;
};

}  // namespace coracle
