// PodQueue: which Pods are to be looked at, and when. Each at most once at a time; a mark during
// the look makes another one. Thread-safe.
#pragma once

#include <coracle/clock.h>
#include <coracle/mutex.h>

#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace coracle::pods {

class PodQueue {
 public:
  using Time = std::chrono::steady_clock::time_point;
  explicit PodQueue(const Clock& clock) : clock_(clock) {}

  void mark(const std::string& pod_uid);
  // Marks it at that time; replaces an earlier time, and goes when it is absent.
  void mark_at(const std::string& pod_uid, std::optional<Time> at);
  // Waits for a Pod; nobody else gets it until done(). Empty once closed.
  std::optional<std::string> take();
  void done(const std::string& pod_uid);
  void close();
  // Looks at the clock again: for tests that move it.
  void poke();
  // Nothing marked and nobody at work.
  bool idle() const;

 private:
  void push(const std::string& pod_uid) CORACLE_REQUIRES(mutex_);
  std::optional<Time> move_due(Time now) CORACLE_REQUIRES(mutex_);

  const Clock& clock_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> ready_ CORACLE_GUARDED_BY(mutex_);
  std::set<std::string> dirty_ CORACLE_GUARDED_BY(mutex_), busy_ CORACLE_GUARDED_BY(mutex_);
  std::map<std::string, Time> timers_ CORACLE_GUARDED_BY(mutex_);
  bool closed_ CORACLE_GUARDED_BY(mutex_) = false;
};

}  // namespace coracle::pods
