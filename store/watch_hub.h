// A ring of recent events and an ordered fan-out of new ones to bounded queues. A watcher that
// falls behind is closed with Expired: no slow reader holds up a writer. What is older than a watch
// or a list in pages goes back to is forgotten at the next event: a burst of writes does not hold
// its memory for good. Thread-safe.
#pragma once

#include <coracle/store.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace coracle {

// History for watches that start in the past: so many events, of so many bytes, of that age.
constexpr std::size_t kRingEvents = 16384;
constexpr std::size_t kRingBytes = std::size_t{8} * 1024 * 1024;
constexpr std::chrono::seconds kRingAge{300};  // as etcd's under Kubernetes
constexpr std::size_t kQueueEvents = 16384;    // events that may wait for one watcher

class WatchHub {
 public:
  struct Limits {
    std::size_t ring = kRingEvents;
    std::size_t queue = kQueueEvents;
    std::size_t bytes = kRingBytes;
    std::chrono::seconds age = kRingAge;
  };
  using Time = std::chrono::steady_clock::time_point;
  // `start`: the revision of the state before the first event.
  explicit WatchHub(Revision start) : WatchHub(start, Limits{}) {}
  WatchHub(Revision start, Limits limits);
  ~WatchHub();  // closes every watch
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // Events in revision order, all newer than any before.
  void publish(const std::vector<StoreEvent>& events, Time now = std::chrono::steady_clock::now());
  Result<std::unique_ptr<StoreWatch>> watch(std::string prefix, Revision from);
  // What keys with the prefix that changed after `at` held then; nullptr: they were not there.
  // Errors as watch's.
  using Former = std::map<std::string, EntryPtr, std::less<>>;
  Result<Former> former(std::string_view prefix, Revision at);

 private:
  class Subscriber;
  class Handle;

  using Ring = std::deque<StoreEvent>;
  // The first event after `from`. mutex_ is held.
  Result<Ring::const_iterator> after(Revision from) const;
  // Drops events that are too old or too many. mutex_ is held.
  void trim(Time now);

  const Limits limits_;
  std::mutex mutex_;
  // Guarded by mutex_.
  Ring ring_;
  Revision forgotten_;  // events up to this revision are not in the ring
  Revision last_;
  std::size_t bytes_ = 0;                            // of the ring's events
  std::deque<std::pair<Time, Revision>> published_;  // when events up to which revision came
  std::vector<std::weak_ptr<Subscriber>> subscribers_;
};

}  // namespace coracle
