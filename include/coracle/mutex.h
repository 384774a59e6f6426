// Mutexes that clang's -Wthread-safety understands. GUARDED_BY names what a lock protects.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define CORACLE_TSA(x) __attribute__((x))
#else
#define CORACLE_TSA(x)
#endif
#define CORACLE_GUARDED_BY(x) CORACLE_TSA(guarded_by(x))
#define CORACLE_REQUIRES(x) CORACLE_TSA(requires_capability(x))
#define CORACLE_EXCLUDES(x) CORACLE_TSA(locks_excluded(x))

namespace coracle {

class CORACLE_TSA(capability("mutex")) Mutex {
 public:
  void lock() CORACLE_TSA(acquire_capability()) { mutex_.lock(); }
  void unlock() CORACLE_TSA(release_capability()) { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class CORACLE_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) CORACLE_TSA(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() CORACLE_TSA(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// A condition variable over Mutex. The caller holds the mutex and re-checks its condition in a
// loop.
class CondVar {
 public:
  void wait(Mutex& mutex) CORACLE_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // False when the deadline passed first.
  bool wait_until(Mutex& mutex, std::chrono::steady_clock::time_point deadline)
      CORACLE_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const auto status = cv_.wait_until(lock, deadline);
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  void notify_one() { cv_.notify_one(); }
  void notify_all() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace coracle
