// Objects that are kept for a while only, as etcd's leases do it for Kubernetes' Events: which are
// to go. Thread-safe.
#pragma once

#include <coracle/mutex.h>
#include <coracle/object.h>

#include <chrono>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

namespace coracle {

// An object goes when it was last written that long ago, or when it is the oldest of too many.
struct Retention {
  std::chrono::seconds age{0};  // 0: for ever
  std::size_t most = 0;
};

class RetentionQueue {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Kept {
    std::string key;
    Revision revision = 0;  // when it was last written
    Time since{};
  };

  explicit RetentionQueue(Retention retention) : retention_(retention) {}

  // The object was written: it is the newest.
  void note(const std::string& key, Revision revision, Time now);
  // The oldest ones that are to go, some of them; they are no longer kept. Removing one must name
  // its revision: it may have been written or removed meanwhile.
  std::vector<Kept> take_due(Time now);

 private:
  const Retention retention_;
  Mutex mutex_;
  std::list<Kept> queue_ CORACLE_GUARDED_BY(mutex_);  // the oldest first
  std::unordered_map<std::string, std::list<Kept>::iterator> places_ CORACLE_GUARDED_BY(mutex_);
};

}  // namespace coracle
