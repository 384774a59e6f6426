// Prober: runs all probes of this node's containers. One thread does every HTTP and TCP probe at
// once; exec probes run on a few threads that exist only if there are such probes.
#pragma once

#include <coracle/clock.h>
#include <coracle/mutex.h>

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "pods/net_probe.h"
#include "pods/probe_tracker.h"

namespace coracle::pods {

class Prober {
 public:
  // Runs a command in a container: success, or why not. Nothing when it could not be run at all.
  using Exec = std::function<std::optional<ProbeResult>(const std::string& pod_uid,
                                                        const ProbeTarget& target)>;
  struct Listeners {
    std::function<void(const std::string& pod_uid)> on_verdict;
    std::function<void(const std::string& pod_uid, const ProbeTarget&, const ProbeResult&)>
        on_failure;  // every probe without success
  };
  // Listeners are called from the prober's thread and must not call back into it.
  Prober(const Clock& clock, Exec exec, Listeners listeners);
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  void start();
  void stop();  // waits for exec probes that run
  // The Pod's probes from now on. One that is the same as before goes on undisturbed.
  void set(const std::string& pod_uid, const std::vector<ProbeTarget>& targets);
  void remove(const std::string& pod_uid) { set(pod_uid, {}); }
  // Looks at the clock again: for tests that move it.
  void poke() { net_.wake(); }
  ProbeOutcomes outcomes(const std::string& pod_uid) const;

 private:
  using Id = NetProbes::Id;
  struct Entry {
    std::string pod_uid;
    ProbeTarget target;
    ProbeTracker tracker;
    Time next;
    bool running = false;
  };
  struct Job {
    Id id = 0;
    std::string pod_uid;
    ProbeTarget target;
  };

  void loop();
  std::chrono::milliseconds start_due();
  void begin(Id id, Entry& entry, Time now) CORACLE_REQUIRES(mutex_);
  void finish(Id id, const std::optional<ProbeResult>& result);
  void queue_exec(Job job) CORACLE_REQUIRES(mutex_);
  void exec_loop();

  const Clock& clock_;
  const Exec exec_;
  const Listeners listeners_;
  NetProbes net_;

  mutable Mutex mutex_;
  CondVar exec_changed_;
  std::map<Id, Entry> entries_ CORACLE_GUARDED_BY(mutex_);
  std::vector<Id> cancelled_ CORACLE_GUARDED_BY(mutex_);
  std::deque<Job> exec_queue_ CORACLE_GUARDED_BY(mutex_);
  std::vector<std::pair<Id, std::optional<ProbeResult>>> exec_done_ CORACLE_GUARDED_BY(mutex_);
  std::vector<std::thread> exec_threads_ CORACLE_GUARDED_BY(mutex_);
  std::size_t exec_idle_ CORACLE_GUARDED_BY(mutex_) = 0;
  Id last_id_ CORACLE_GUARDED_BY(mutex_) = 0;
  bool stopped_ CORACLE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace coracle::pods
