#include "workqueue.h"

#include <algorithm>
#include <vector>

namespace coracle {

WorkQueue::WorkQueue(const Clock& clock, Options options) : clock_(clock), options_(options) {}

void WorkQueue::add(const ObjectKey& key) {
  const std::lock_guard lock(mutex_);
  enqueue(key);
}

void WorkQueue::add_after(const ObjectKey& key, std::chrono::milliseconds delay) {
  const std::lock_guard lock(mutex_);
  if (delay.count() <= 0) return enqueue(key);
  const Time at = clock_.steady_now() + delay;
  const auto [it, inserted] = delayed_.try_emplace(key, at);
  it->second = std::min(it->second, at);
  wake();
}

void WorkQueue::add_rate_limited(const ObjectKey& key) {
  std::chrono::milliseconds delay = options_.backoff_min;
  {
    const std::lock_guard lock(mutex_);
    const int earlier = failures_[key]++;
    for (int i = 0; i < earlier && delay < options_.backoff_max; ++i) delay *= 2;
  }
  add_after(key, std::min(delay, options_.backoff_max));
}

void WorkQueue::forget(const ObjectKey& key) {
  const std::lock_guard lock(mutex_);
  failures_.erase(key);
}

std::optional<ObjectKey> WorkQueue::take(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!shut_down_ && !stop.stop_requested()) {
    enqueue_due(clock_.steady_now());
    if (!ready_.empty()) {
      ObjectKey key = ready_.front();
      ready_.pop_front();
      dirty_.erase(key);
      processing_.insert(key);
      return key;
    }
    wait(lock, stop);
  }
  return std::nullopt;
}

// Until something changes, the earliest delay is over, or stop. REQUIRES: mutex_ held by `lock`.
void WorkQueue::wait(std::unique_lock<std::mutex>& lock, const std::stop_token& stop) {
  const auto woken = [this, seen = wakeups_] { return wakeups_ != seen; };
  if (delayed_.empty()) {
    (void)changed_.wait(lock, stop, woken);
    return;
  }
  Time earliest = Time::max();
  for (const auto& [key, at] : delayed_) earliest = std::min(earliest, at);
  (void)changed_.wait_for(lock, stop, earliest - clock_.steady_now(), woken);
}

// REQUIRES: mutex_ held.
void WorkQueue::wake() {
  ++wakeups_;
  changed_.notify_all();
}

void WorkQueue::done(const ObjectKey& key) {
  const std::lock_guard lock(mutex_);
  processing_.erase(key);
  if (!dirty_.contains(key)) return;
  ready_.push_back(key);
  wake();
}

void WorkQueue::shut_down() {
  const std::lock_guard lock(mutex_);
  shut_down_ = true;
  wake();
}

void WorkQueue::poke() {
  const std::lock_guard lock(mutex_);
  wake();
}

bool WorkQueue::idle() const {
  const std::lock_guard lock(mutex_);
  return dirty_.empty() && processing_.empty() && delayed_.empty();
}

// REQUIRES: mutex_ held.
void WorkQueue::enqueue(const ObjectKey& key) {
  delayed_.erase(key);
  if (shut_down_ || !dirty_.insert(key).second) return;
  if (processing_.contains(key)) return;  // done() queues it
  ready_.push_back(key);
  wake();
}

// REQUIRES: mutex_ held.
void WorkQueue::enqueue_due(Time now) {
  std::vector<ObjectKey> due;
  for (const auto& [key, at] : delayed_)
    if (at <= now) due.push_back(key);
  for (const ObjectKey& key : due) enqueue(key);
}

}  // namespace coracle
