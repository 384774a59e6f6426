// A ring of recent events and an ordered fan-out of new ones to bounded queues. A watcher that
// falls behind is closed with Expired: no slow reader holds up a writer. Thread-safe.
#pragma once

#include <coracle/store.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace coracle {

constexpr std::size_t kRingEvents = 16384;   // history for watches that start in the past
constexpr std::size_t kQueueEvents = 16384;  // events that may wait for one watcher

class WatchHub {
 public:
  struct Limits {
    std::size_t ring = kRingEvents;
    std::size_t queue = kQueueEvents;
  };
  // `start`: the revision of the state before the first event.
  explicit WatchHub(Revision start) : WatchHub(start, Limits{}) {}
  WatchHub(Revision start, Limits limits);
  ~WatchHub();  // closes every watch
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // Events in revision order, all newer than any before.
  void publish(const std::vector<StoreEvent>& events);
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

  const Limits limits_;
  std::mutex mutex_;
  // Guarded by mutex_.
  Ring ring_;
  Revision forgotten_;  // events up to this revision are not in the ring
  Revision last_;
  std::vector<std::weak_ptr<Subscriber>> subscribers_;
};

}  // namespace coracle
