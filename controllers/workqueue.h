// WorkQueue: keys that need work, each at most once, never the same key on two workers at a time
// (client-go's dirty and processing sets), with delays and a per-key back-off. Thread-safe.
#pragma once

#include <coracle/clock.h>
#include <coracle/mutex.h>
#include <coracle/object.h>

#include <chrono>
#include <map>
#include <optional>
#include <queue>
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
  // (the implementer fills this in)
};

}  // namespace coracle
