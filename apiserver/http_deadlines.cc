#include "http_deadlines.h"

#include <sys/socket.h>

namespace coracle {

using std::chrono::steady_clock;

SocketDeadlines::SocketDeadlines() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

SocketDeadlines::~SocketDeadlines() {
  thread_.request_stop();
  MutexLock lock(mutex_);
  changed_.notify_all();
}

SocketDeadlines::Guard::Guard(SocketDeadlines& deadlines, int fd, std::chrono::milliseconds timeout)
    : deadlines_(deadlines), fd_(fd) {
  if (fd_ < 0) return;
  MutexLock lock(deadlines_.mutex_);
  at_ = deadlines_.pending_.emplace(steady_clock::now() + timeout, fd_);
  // The thread looks again at wake_at_: most guards are gone by then and never woke it.
  if (at_->first < deadlines_.wake_at_) deadlines_.changed_.notify_all();
}

SocketDeadlines::Guard::~Guard() {
  if (fd_ < 0) return;
  MutexLock lock(deadlines_.mutex_);
  deadlines_.pending_.erase(at_);
}

// The entry stays until its guard takes it; -1 says that its socket was shut.
void SocketDeadlines::shut_expired() {
  const auto now = steady_clock::now();
  for (auto it = pending_.begin(); it != pending_.end() && it->first <= now; ++it)
    if (it->second >= 0) {
      shutdown(it->second, SHUT_RDWR);
      it->second = -1;
    }
}

void SocketDeadlines::run(const std::stop_token& stop) {
  MutexLock lock(mutex_);
  while (!stop.stop_requested()) {
    shut_expired();
    auto next = pending_.begin();
    while (next != pending_.end() && next->second < 0) ++next;
    if (next == pending_.end()) {
      wake_at_ = steady_clock::time_point::max();
      changed_.wait(mutex_);
    } else {
      wake_at_ = next->first;
      changed_.wait_until(mutex_, wake_at_);
    }
  }
}

}  // namespace coracle
