#include "process.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <thread>

namespace coracle {
namespace {

// A connection or a watch is a descriptor.
void raise_descriptor_limit() {
  constexpr rlim_t kEnough = 16'384;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kEnough) return;
  limit.rlim_cur = std::min(kEnough, limit.rlim_max);
  (void)setrlimit(RLIMIT_NOFILE, &limit);  // with fewer, surplus connections are closed earlier
}

// Gives free memory back to the system: what only the start needed, then what a burst of work
// left. Free memory among memory in use stays with the process otherwise. Looks now and then, and
// does something only when much has changed.
class MemoryKeeper {
 public:
  void look() {
    constexpr std::size_t kMuch = std::size_t{1} << 20U;
    const std::size_t used = mallinfo2().uordblks;
    if (std::max(used, used_) - std::min(used, used_) < kMuch) return;
    used_ = used;
    (void)malloc_trim(0);
  }

 private:
  std::size_t used_ = 0;  // bytes, when it last gave something back
};

}  // namespace

int wait_for_signal(const sigset_t& signals, const std::function<bool()>& go_on) {
  constexpr timespec kInterval{.tv_sec = 20, .tv_nsec = 0};
  MemoryKeeper memory;
  for (;;) {
    memory.look();
    const int signal = sigtimedwait(&signals, nullptr, &kInterval);
    if (signal > 0) return signal;
    if (go_on && !go_on()) return 0;
  }
}

Result<void> make_data_dir(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return Error{Code::Internal, "creating " + path + ": " + error.message()};
  if (chmod(path.c_str(), 0700) != 0) return Error::from_errno(errno, "chmod " + path);
  return {};
}

std::string host_name() {
  char buffer[256] = {};
  (void)gethostname(buffer, sizeof(buffer) - 1);
  return buffer;
}

sigset_t begin_process() {
  // As many heaps as threads can run at a time: eight times as many, the default, keep after a
  // burst what each of them once needed.
  (void)mallopt(M_ARENA_MAX, static_cast<int>(std::max(2U, std::thread::hardware_concurrency())));
  std::signal(
      SIGPIPE,
      SIG_IGN);  // NOLINT(bugprone-signal-handler,cert-err33-c): writes report EPIPE instead
  raise_descriptor_limit();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals,
                  nullptr);  // inherited by every thread; main takes them with sigwait
  return signals;
}

}  // namespace coracle
