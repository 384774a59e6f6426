#include "sync_loop.h"

#include <coracle/log.h>

#include <algorithm>
#include <utility>

namespace coracle {

SyncLoop::SyncLoop(std::string name, const Clock& clock, SyncLoopOptions options, Work work,
                   Probe probe)
    : name_(std::move(name)),
      clock_(clock),
      options_(options),
      work_(std::move(work)),
      probe_(std::move(probe)) {}

SyncLoop::~SyncLoop() {
  stop();
}

void SyncLoop::start() {
  {
    MutexLock lock(mutex_);
    next_full_ = clock_.steady_now() + options_.full_interval;
    stopped_ = false;
  }
  thread_ = std::jthread([this](const std::stop_token& token) { loop(token); });
}

void SyncLoop::stop() {
  thread_.request_stop();
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void SyncLoop::mark_dirty() {
  MutexLock lock(mutex_);
  ++marked_;
  changed_.notify_all();
}

void SyncLoop::poke() {
  MutexLock lock(mutex_);
  ++pokes_;
  changed_.notify_all();
}

bool SyncLoop::clean() const {
  MutexLock lock(mutex_);
  return ever_succeeded_ && !dirty() && !damaged_;
}

bool SyncLoop::ever_succeeded() const {
  MutexLock lock(mutex_);
  return ever_succeeded_;
}

bool SyncLoop::wait_clean(Time deadline) const {
  MutexLock lock(mutex_);
  const std::uint64_t wanted = marked_;
  while (done_ < wanted || !ever_succeeded_) {
    if (stopped_ || !changed_.wait_until(mutex_, deadline))
      return done_ >= wanted && ever_succeeded_;
  }
  return true;
}

SyncLoop::Due SyncLoop::due(Time now) const {
  const bool full = damaged_ || now >= next_full_;
  if ((dirty() || full) && now >= not_before_) return full ? Due::FullRun : Due::Run;
  const bool probing =
      probe_ && options_.probe_interval.count() > 0 && ever_succeeded_ && !damaged_;
  if (probing && now >= next_probe_) return Due::Probe;
  return Due::Nothing;
}

SyncLoop::Time SyncLoop::next_due() const {
  Time next = dirty() || damaged_ ? not_before_ : std::max(next_full_, not_before_);
  if (probe_ && options_.probe_interval.count() > 0 && ever_succeeded_ && !damaged_) {
    next = std::min(next, next_probe_);
  }
  return next;
}

void SyncLoop::loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    Due what = Due::Nothing;
    {
      MutexLock lock(mutex_);
      const Time now = clock_.steady_now();
      what = due(now);
      // The distance is the injected clock's, the wait real: a test's clock is moved, then poked.
      if (what == Due::Nothing && !stopped_) {
        changed_.wait_until(mutex_, std::chrono::steady_clock::now() + (next_due() - now));
      }
    }
    if (what == Due::Run || what == Due::FullRun) run(what == Due::FullRun);
    if (what == Due::Probe) {
      const bool damaged = probe_();
      MutexLock lock(mutex_);
      damaged_ = damaged;
      next_probe_ = clock_.steady_now() + options_.probe_interval;
      if (damaged) log::warn(name_, "what was applied is gone, applying it again");
    }
  }
}

void SyncLoop::run(bool full) {
  std::uint64_t began = 0;
  {
    MutexLock lock(mutex_);
    began = marked_;
    not_before_ = clock_.steady_now() + options_.min_interval;
  }
  const Result<void> done = work_(full);
  MutexLock lock(mutex_);
  if (done && full) next_full_ = clock_.steady_now() + options_.full_interval;
  record(done, began);
  changed_.notify_all();
}

void SyncLoop::record(const Result<void>& done, std::uint64_t began) {
  const Time now = clock_.steady_now();
  next_probe_ = now + options_.probe_interval;
  if (done) {
    if (failures_ > 0) log::info(name_, "it works again", {{"failures", failures_}});
    failures_ = 0;
    last_error_.clear();
    done_ = began;
    damaged_ = false;
    ever_succeeded_ = true;
    return;
  }
  // A failed run stays due, also a periodic one.
  const auto delay =
      std::min(options_.retry_min * (1 << std::min(failures_, 16)), options_.retry_max);
  ++failures_;
  damaged_ = true;
  not_before_ = std::max(not_before_, now + delay);
  if (done.error().message == last_error_) return;  // said already
  last_error_ = done.error().message;
  log::warn(name_, "it failed, trying again until it works", {{"error", last_error_}});
}

}  // namespace coracle
