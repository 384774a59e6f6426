// What the long-lived subcommands, `server` and `agent`, share as processes.
#pragma once

#include <coracle/result.h>

#include <csignal>
#include <functional>
#include <string>
#include <utility>

namespace coracle {

// Settings of the process, before any thread is made. SIGINT and SIGTERM are blocked in all of them
// and returned, for wait_for_signal.
sigset_t begin_process();
// Waits, and gives unused memory back meanwhile. `look` is called now and then (every 20 s).
int wait_for_signal(const sigset_t& signals, const std::function<void()>& look = {});
// 0700.
Result<void> make_data_dir(const std::string& path);
std::string host_name();

// The data directory is this process's alone while it lives; no crash leaves it locked.
class ProcessLock {
 public:
  static constexpr const char* kFile = "process.lock";
  // Conflict, naming the process that has it. At most once per directory in a process: the system
  // gives such a lock up with any descriptor of the file.
  static Result<ProcessLock> take(const std::string& data_dir);
  ProcessLock(ProcessLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ProcessLock(const ProcessLock&) = delete;
  ProcessLock& operator=(const ProcessLock&) = delete;
  ProcessLock& operator=(ProcessLock&&) = delete;
  ~ProcessLock();

 private:
  explicit ProcessLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace coracle
