// A controller: a Reconciler, the queue of keys it owes a look, and the thread that looks.
#pragma once

#include <coracle/clock.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "workqueue.h"

namespace coracle {

// Look at the key again after that long; none: when something changes.
using Again = std::optional<std::chrono::milliseconds>;

// Looks at the world and makes it right for one key; told nothing of what happened. A missing
// object means clean up. Idempotent. Called from one thread.
class Reconciler {
 public:
  virtual ~Reconciler() = default;
  // Conflict and NotFound errors are retried silently,
  // others with one log line each.
  virtual Result<Again> reconcile(const ObjectKey& key) = 0;
};

class Controller {
 public:
  // `name` is for the log. `wait_synced`: waits until the caches it reads are filled, false at the
  // deadline; nothing is reconciled before.
  Controller(std::string name, const Clock& clock, Reconciler& reconciler,
             std::function<bool(std::chrono::steady_clock::time_point)> wait_synced);
  ~Controller();  // stops
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;
  WorkQueue& queue() { return queue_; }
  void start();
  // Finishes the key in work. Idempotent.
  void stop();

 private:
  void run(const std::stop_token& stop);
  void reconcile(const ObjectKey& key);

  const std::string name_;
  Reconciler& reconciler_;
  const std::function<bool(std::chrono::steady_clock::time_point)> wait_synced_;
  WorkQueue queue_;
  std::jthread thread_;
};

}  // namespace coracle
