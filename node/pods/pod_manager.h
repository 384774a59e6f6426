// PodManager: runs the Pods that are bound to this node. A few workers look at one Pod at a time,
// woken by changes in the API, at the runtime, of a probe's verdict, or by time; nothing is polled.
// Pods of an earlier agent are adopted, and outlive this one.
#pragma once

#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/events.h>

#include <chrono>
#include <memory>
#include <string>

#include "pod_network.h"
#include "pods/pod_worker.h"
#include "runtime/runtime.h"

namespace coracle::pods {

// The Pod network as PodManager asks for it.
PodConnector connector_of(PodNetwork& network);

class PodManager {
 public:
  PodManager(Client& client, const Clock& clock, Runtime& runtime, PodConnector network,
             EventRecorder& events, const PodWorkerOptions& options);
  ~PodManager();  // stops
  PodManager(const PodManager&) = delete;
  PodManager& operator=(const PodManager&) = delete;

  // Nothing on the node changes before the API has told which Pods there are. While it is silent,
  // Pods that were kept are started, and nothing is removed.
  void start();
  // Leaves everything running.
  void stop();
  // True once the API has told and every Pod that was there at the start has been looked at; false
  // at the deadline.
  bool wait_adopted(std::chrono::steady_clock::time_point deadline) const;
  // The node's address is another one now: Pods' status.hostIP says so. Thread-safe.
  void set_node_ip(const Ip& ip);
  // Looks at the clock again: for tests that move it.
  void poke();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coracle::pods
