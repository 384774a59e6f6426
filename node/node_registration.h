// NodeRegistration: keeps this node's Node object and its Lease in the API. The Node is made at
// once and whenever it is missing, its status written only when it changes; the Lease is the
// heartbeat.
#pragma once

#include <coracle/api/node.h>
#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/events.h>
#include <coracle/informer.h>
#include <coracle/mutex.h>
#include <coracle/net.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "node_status.h"
#include "sync_loop.h"

namespace coracle {

class NodeRegistration {
 public:
  // `on_change` is called after the Node object changed, from a thread of ours.
  // `events` outlives it, and is told when the node becomes ready or ceases to be.
  NodeRegistration(Client& client, const Clock& clock, NodeFacts facts, EventRecorder& events,
                   std::function<void()> on_change);
  ~NodeRegistration();  // stops
  NodeRegistration(const NodeRegistration&) = delete;
  NodeRegistration& operator=(const NodeRegistration&) = delete;

  void start();
  // The Node stays, and its status with it.
  void stop();
  // What the Ready condition says from now on; written soon. An agent that starts over under Pods
  // and rules that are up has ten seconds to find them before a Node that is Ready ceases to be:
  // what others do about a node that is down, they do not do for a restart.
  void set_condition(bool ready, const std::string& reason, const std::string& message);
  // What the Node says of the way to the other nodes from now on; written soon.
  void set_peers(PeerReport report);
  // What the Node's InternalIP is from now on; written soon.
  void set_ip(const Ip& ip);
  // The node's part of the Pod network, once the API has named it.
  std::optional<Cidr> pod_cidr() const;
  // True once the API has been told that the node is ready; false at the deadline.
  bool wait_ready(std::chrono::steady_clock::time_point deadline) const;

 private:
  Result<void> sync_node();
  // Whether the Node's old readiness was kept. Conflict when others wrote it meanwhile.
  Result<bool> write_node(const NodeFacts& facts, const NodeCondition& condition, bool keep);
  // When a quarter of its duration has passed: the server says there how long it waits for a sign
  // of life.
  Result<void> renew_lease();
  void tell(bool ready);
  Result<void> write_lease();
  Object lease_object(const Object& node) const;

  Client& client_;
  const Clock& clock_;
  const NodeFacts facts_;
  EventRecorder& events_;
  Informer<Node> informer_;
  mutable Mutex mutex_;
  mutable CondVar changed_;
  Ip ip_ CORACLE_GUARDED_BY(mutex_);
  NodeCondition condition_ CORACLE_GUARDED_BY(mutex_);
  bool registered_ CORACLE_GUARDED_BY(mutex_) = false;
  bool told_ready_ CORACLE_GUARDED_BY(mutex_) = false;
  bool ever_ready_ CORACLE_GUARDED_BY(mutex_) = false;
  bool kept_ CORACLE_GUARDED_BY(mutex_) = false;        // the Node is Ready of old, we are not yet
  std::chrono::steady_clock::time_point patience_end_;  // constant after start()
  // Of the lease loop.
  std::optional<Object> lease_;
  std::chrono::steady_clock::time_point renewed_at_;
  SyncLoop node_loop_, lease_loop_;
};

}  // namespace coracle
