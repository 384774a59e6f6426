// WorkQueue: keys that need work, each at most once, never the same key on two workers at a time
// (client-go's dirty and processing sets), with delays and a per-key back-off. Thread-safe.
#pragma once

#include <coracle/clock.h>
#include <coracle/object.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>

namespace coracle {

class WorkQueue {
 public:
  struct Options {
    std::chrono::milliseconds backoff_min{5};
    std::chrono::milliseconds backoff_max{30'000};
  };
  explicit WorkQueue(const Clock& clock) : WorkQueue(clock, Options{}) {}
  WorkQueue(const Clock& clock, Options options);

  void add(const ObjectKey& key);
  void add_after(const ObjectKey& key, std::chrono::milliseconds delay);
  // After a failure: the delay doubles with each one in a row.
  void add_rate_limited(const ObjectKey& key);
  // The key's failures are forgotten.
  void forget(const ObjectKey& key);

  // Waits for a key; it counts as being processed until done(). Empty once stop is requested or
  // shut_down() was called.
  std::optional<ObjectKey> take(const std::stop_token& stop);
  // Queued again if it was added meanwhile.
  void done(const ObjectKey& key);
  void shut_down();
  // Looks at the clock again: for tests that move it.
  void poke();
  // Nothing queued, delayed or processing.
  bool idle() const;

 private:
  using Time = std::chrono::steady_clock::time_point;
  void enqueue(const ObjectKey& key);
  void enqueue_due(Time now);
  void wait(std::unique_lock<std::mutex>& lock, const std::stop_token& stop);
  void wake();

  const Clock& clock_;
  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<ObjectKey> ready_;        // in order of arrival; each is in dirty_
  std::set<ObjectKey> dirty_;          // need work
  std::set<ObjectKey> processing_;     // being worked on
  std::map<ObjectKey, Time> delayed_;  // the earliest time asked for
  std::map<ObjectKey, int> failures_;
  std::uint64_t wakeups_ = 0;
  bool shut_down_ = false;
};

}  // namespace coracle
