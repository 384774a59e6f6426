// SyncLoop: runs one piece of work again and again on a thread of its own: soon after it was marked
// dirty (many marks, one run), at the latest after the full interval, and after a failure again
// with back-off. Between runs it may look for damage that others did: from time to time, and when a
// descriptor says that something has happened.
#pragma once

#include <coracle/clock.h>
#include <coracle/mutex.h>
#include <coracle/result.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <thread>

namespace coracle {

struct SyncLoopOptions {
  std::chrono::milliseconds min_interval{20};  // between the starts of two runs
  std::chrono::milliseconds full_interval{600'000};
  std::chrono::milliseconds retry_min{100};  // doubles with each failure in a row
  std::chrono::milliseconds retry_max{10'000};
  std::chrono::milliseconds probe_interval{0};  // 0: no probe without an event
  // Damage again and again comes from a fight with another program: repairs are then up to so far
  // apart.
  std::chrono::milliseconds repair_max{200};
};

class SyncLoop {
 public:
  // `full`: a periodic pass, or the probe found damage: trust nothing remembered. Never called
  // concurrently.
  using Work = std::function<Result<void>(bool full)>;
  // True when what was done is damaged and needs a full run. Called between runs, after the first
  // good one.
  using Probe = std::function<bool()>;
  // The descriptor that is readable when the probe has something to look at, until it has; -1: none
  // now. Asked on the loop's thread.
  using Events = std::function<int()>;

  // `name` is for the log. Nothing runs before start().
  SyncLoop(std::string name, const Clock& clock, SyncLoopOptions options, Work work,
           Probe probe = {}, Events events = {});
  ~SyncLoop();  // stops
  SyncLoop(const SyncLoop&) = delete;
  SyncLoop& operator=(const SyncLoop&) = delete;

  void start();
  // Waits for a run in progress. Idempotent. Not to be called from the work itself.
  void stop();
  void mark_dirty();
  // Looks at the clock again: for tests that move it.
  void poke();

  // A run has succeeded and nothing was marked since it began.
  bool clean() const;
  bool ever_succeeded() const;
  // True once everything marked before the call is done; false at the deadline or when stopped.
  bool wait_clean(std::chrono::steady_clock::time_point deadline) const;

 private:
  using Time = std::chrono::steady_clock::time_point;
  void loop(const std::stop_token& stop);
  void wait(Time now, Time until);
  void probe();
  void wake() CORACLE_REQUIRES(mutex_);
  bool probing() const CORACLE_REQUIRES(mutex_);
  enum class Due { Nothing, Probe, Run, FullRun };
  Due due(Time now) const CORACLE_REQUIRES(mutex_);
  Time next_due() const CORACLE_REQUIRES(mutex_);
  void run(bool full) CORACLE_EXCLUDES(mutex_);
  void record(const Result<void>& done, std::uint64_t began) CORACLE_REQUIRES(mutex_);
  bool dirty() const CORACLE_REQUIRES(mutex_) { return marked_ != done_; }

  const std::string name_;
  const Clock& clock_;
  const SyncLoopOptions options_;
  const Work work_;
  const Probe probe_;
  const Events events_;
  const int wake_fd_;  // readable when there is news for the loop

  mutable Mutex mutex_;
  mutable CondVar changed_;
  std::uint64_t marked_ CORACLE_GUARDED_BY(mutex_) = 0;  // counts marks
  std::uint64_t done_ CORACLE_GUARDED_BY(mutex_) = 0;    // the marks a good run has covered
  bool woken_ CORACLE_GUARDED_BY(mutex_) = false;
  bool stopped_ CORACLE_GUARDED_BY(mutex_) = false;
  bool ever_succeeded_ CORACLE_GUARDED_BY(mutex_) = false;
  bool damaged_ CORACLE_GUARDED_BY(mutex_) = false;
  bool event_ CORACLE_GUARDED_BY(mutex_) = false;  // the probe has something to look at
  int failures_ CORACLE_GUARDED_BY(mutex_) = 0;
  int damages_ CORACLE_GUARDED_BY(mutex_) = 0;  // soon after one another
  std::string last_error_ CORACLE_GUARDED_BY(mutex_);
  Time not_before_ CORACLE_GUARDED_BY(mutex_){};
  Time next_full_ CORACLE_GUARDED_BY(mutex_){};
  Time next_probe_ CORACLE_GUARDED_BY(mutex_){};
  Time last_damage_ CORACLE_GUARDED_BY(mutex_){};
  std::jthread thread_;
};

}  // namespace coracle
