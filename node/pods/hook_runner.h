// HookRunner: runs lifecycle hooks beside the workers that look at Pods, since a hook may take as
// long as its Pod has time to end. A few threads that exist while there is something to run.
// Thread-safe.
#pragma once

#include <coracle/events.h>
#include <coracle/mutex.h>
#include <coracle/net.h>

#include <atomic>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "pods/hook.h"
#include "pods/pod_state.h"
#include "runtime/runtime.h"

namespace coracle::pods {

struct HookJob {
  enum class When { PostStart, PreStop };
  std::string pod_uid, container, container_id;
  When when = When::PostStart;
  Hook hook;
  Ip ip;
  std::int64_t port = 0;  // of an httpGet, resolved; 0 when there is no such port
  std::chrono::seconds timeout{0};
  ObjectReference about;  // whose Event tells of a failure
};

class HookRunner {
 public:
  HookRunner(Runtime& runtime, EventRecorder& events);
  ~HookRunner();  // stops
  HookRunner(const HookRunner&) = delete;
  HookRunner& operator=(const HookRunner&) = delete;

  // Called with the Pod's uid from a thread of the runner's when a hook has ended. REQUIRES: set
  // before the first hook.
  void on_done(std::function<void(const std::string& pod_uid)> f) { done_ = std::move(f); }
  void start(HookJob job);
  // Notes in the memory which of its hooks have ended.
  void note(const std::string& pod_uid, PodMemory& memory) const;
  void forget(const std::string& pod_uid);
  // Ends what runs. Nothing is started any more.
  void stop();

 private:
  struct Outcome {
    std::string container_id;
    HookJob::When when = HookJob::When::PostStart;
    bool success = false;
  };
  void work();
  bool run(const HookJob& job);
  bool run_http(const HookJob& job);

  Runtime& runtime_;
  EventRecorder& events_;
  std::function<void(const std::string&)> done_;
  const int cancel_;  // readable once stopped
  std::atomic<bool> stopping_ = false;
  mutable Mutex mutex_;
  std::deque<HookJob> queue_ CORACLE_GUARDED_BY(mutex_);
  std::multimap<std::string, Outcome> outcomes_ CORACLE_GUARDED_BY(mutex_);
  std::list<std::thread> threads_ CORACLE_GUARDED_BY(mutex_);
  std::list<std::thread::id> ended_ CORACLE_GUARDED_BY(mutex_);
};

}  // namespace coracle::pods
