// Deadlines on blocking socket work: a socket whose deadline passes is shut down, which wakes the
// thread that works on it. This is what stops a client that sends or takes one byte at a time.
#pragma once

#include <coracle/mutex.h>

#include <chrono>
#include <map>
#include <thread>

namespace coracle {

class SocketDeadlines {
 public:
  SocketDeadlines();
  ~SocketDeadlines();
  SocketDeadlines(const SocketDeadlines&) = delete;
  SocketDeadlines& operator=(const SocketDeadlines&) = delete;

  // Guards a socket while it lives. A negative descriptor is not guarded.
  class Guard {
   public:
    Guard(SocketDeadlines& deadlines, int fd, std::chrono::milliseconds timeout);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    SocketDeadlines& deadlines_;
    int fd_;
    std::multimap<std::chrono::steady_clock::time_point, int>::iterator at_;
  };

 private:
  void run(const std::stop_token& stop);
  void shut_expired() CORACLE_REQUIRES(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::multimap<std::chrono::steady_clock::time_point, int> pending_ CORACLE_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point wake_at_ CORACLE_GUARDED_BY(mutex_) =
      std::chrono::steady_clock::time_point::max();
  std::jthread thread_;
};

}  // namespace coracle
