#include "pods/pod_queue.h"

namespace coracle::pods {

void PodQueue::push(const std::string& pod_uid) {
  if (!dirty_.insert(pod_uid).second) return;
  if (busy_.contains(pod_uid)) return;  // done() queues it
  ready_.push_back(pod_uid);
  changed_.notify_one();
}

void PodQueue::mark(const std::string& pod_uid) {
  const MutexLock lock(mutex_);
  push(pod_uid);
}

void PodQueue::mark_at(const std::string& pod_uid, std::optional<Time> at) {
  const MutexLock lock(mutex_);
  if (!at) {
    timers_.erase(pod_uid);
    return;
  }
  timers_[pod_uid] = *at;
  changed_.notify_one();  // one of those who wait takes the new time into account
}

// Queues what is due; the time of what comes next.
std::optional<PodQueue::Time> PodQueue::move_due(Time now) {
  std::optional<Time> next;
  for (auto it = timers_.begin(); it != timers_.end();) {
    if (it->second <= now) {
      push(it->first);
      it = timers_.erase(it);
      continue;
    }
    if (!next || it->second < *next) next = it->second;
    ++it;
  }
  return next;
}

std::optional<std::string> PodQueue::take() {
  const MutexLock lock(mutex_);
  for (;;) {
    const Time now = clock_.steady_now();
    const std::optional<Time> next = move_due(now);
    if (closed_) return std::nullopt;
    if (!ready_.empty()) break;
    // The distance is the injected clock's, the wait real: a test's clock is moved, then poked.
    if (next) {
      changed_.wait_until(mutex_, std::chrono::steady_clock::now() + (*next - now));
    } else {
      changed_.wait(mutex_);
    }
  }
  std::string uid = std::move(ready_.front());
  ready_.pop_front();
  dirty_.erase(uid);
  busy_.insert(uid);
  return uid;
}

void PodQueue::done(const std::string& pod_uid) {
  const MutexLock lock(mutex_);
  busy_.erase(pod_uid);
  if (!dirty_.contains(pod_uid)) return;
  ready_.push_back(pod_uid);
  changed_.notify_one();
}

void PodQueue::close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void PodQueue::poke() {
  const MutexLock lock(mutex_);
  changed_.notify_all();
}

bool PodQueue::idle() const {
  const MutexLock lock(mutex_);
  return ready_.empty() && busy_.empty() && dirty_.empty();
}

}  // namespace coracle::pods
