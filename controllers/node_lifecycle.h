// Watches the nodes' signs of life (Leases, and heartbeats in their status): a silent one is made
// NotReady, its Pods with it, and tainted; what becomes of the Pods then is up to the taints.
#pragma once

#include <coracle/api/lease.h>
#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <chrono>
#include <map>
#include <set>
#include <string>

#include "controller.h"
#include "node_health.h"

namespace coracle {

// How long a Node that never had a status is waited for: upstream's --node-startup-grace-period.
inline constexpr std::chrono::seconds kNodeStartupGrace{60};
// Where the nodes' Leases lie.
inline constexpr const char* kLeaseNamespace = "kube-node-lease";

// One key for all nodes: it looks at all of them every eighth of the grace period. What counts is
// when a sign of life *changed* here, by the monotonic clock: nobody's wall clock means anything,
// and a server that has just started, or was stopped for a while, gives each node a full grace
// period.
class NodeLifecycleController : public Reconciler {
 public:
  NodeLifecycleController(Client& client, const Clock& clock, const Informer<Node>& nodes,
                          const Informer<Lease>& leases, const Informer<Pod>& pods,
                          EventRecorder& events, std::chrono::seconds grace)
      : client_(client),
        clock_(clock),
        nodes_(nodes),
        leases_(leases),
        pods_(pods),
        events_(events),
        grace_(grace) {}
  Result<Again> reconcile(const ObjectKey& key) override;
  std::chrono::milliseconds interval() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(grace_) / 8;
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Health {
    std::string uid, lease, heartbeat;  // as last seen
    Time alive;                         // when one of them changed
    bool ready = false;                 // as last seen
    bool pods_pending = false;          // its Pods are yet to be marked
    std::string told;                   // uid of the Lease that was told the grace period
  };
  void observe(const Node& node, Time now);
  void notice_pause(Time now);
  Disruption disruption(const std::vector<NodePtr>& nodes, Time now) const;
  Result<void> judge(const Node& node, Time now);
  Result<void> mark_pods(const Node& node);
  Result<void> mark_pod(const Pod& pod);
  Result<void> tell_grace(const Node& node);
  Result<void> taint(const Node& node, Disruption disruption);

  Client& client_;
  const Clock& clock_;
  const Informer<Node>& nodes_;
  const Informer<Lease>& leases_;
  const Informer<Pod>& pods_;
  EventRecorder& events_;
  const std::chrono::seconds grace_;
  std::map<std::string, Health> health_;
  Time looked_{};  // at the nodes, last
  bool was_full_ = false;
  bool started_ = false;  // has looked once
};

}  // namespace coracle
