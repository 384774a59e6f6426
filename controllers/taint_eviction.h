// Deletes Pods from nodes whose NoExecute taints they do not tolerate, or no longer.
#pragma once

#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "controller.h"

namespace coracle {

// Pure: how long the Pod may stay under these taints, from when they were seen. None: for ever.
// As upstream: of the tolerations that it needs, the shortest time counts.
std::optional<std::chrono::seconds> compute_stay(const Pod& pod, const std::vector<Taint>& taints);

// A deletion that is overdue by more than this was missed because the process was stopped: the
// node may be back, and is given time to say so.
inline constexpr std::chrono::seconds kMissedEviction{5};

// Key: the Pod's. Times are counted here, by the monotonic clock, and anew after a start.
class TaintEvictionController : public Reconciler {
 public:
  TaintEvictionController(Client& client, const Clock& clock, const Informer<Pod>& pods,
                          const Informer<Node>& nodes, EventRecorder& events,
                          std::chrono::seconds grace)
      : client_(client),
        clock_(clock),
        pods_(pods),
        nodes_(nodes),
        events_(events),
        grace_(grace) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Waiting {
    std::string uid;
    Time since;
    Time extended;  // not before
  };
  Result<void> evict(const Pod& pod);

  Client& client_;
  const Clock& clock_;
  const Informer<Pod>& pods_;
  const Informer<Node>& nodes_;
  EventRecorder& events_;
  const std::chrono::seconds grace_;  // in which a node gives a sign of life
  std::map<ObjectKey, Waiting> waiting_;
};

}  // namespace coracle
