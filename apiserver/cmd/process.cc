#include "process.h"

#include <coracle/files.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <span>
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

// Takes the program's own pages of code and constants out of the process: those in use come back
// from the page cache one by one, those that only the start needed do not. Segments that can be
// written hold relocations, and stay.
int drop_unused_code(dl_phdr_info* program, std::size_t /*size*/, void* /*unused*/) {
  static const auto kPage = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  for (const ElfW(Phdr) & segment : std::span(program->dlpi_phdr, program->dlpi_phnum)) {
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = (program->dlpi_addr + segment.p_vaddr) / kPage * kPage;
    const std::uintptr_t end = program->dlpi_addr + segment.p_vaddr + segment.p_memsz;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): addresses are numbers here
    (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 1;  // the first is the program itself
}

// What the process has computed so far.
std::chrono::microseconds processor_time() {
  rusage used{};
  (void)getrusage(RUSAGE_SELF, &used);
  const auto of = [](const timeval& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
  };
  return of(used.ru_utime) + of(used.ru_stime);
}

// Gives free memory back to the system: what only the start needed, then what a burst of work
// left. Free memory among memory in use stays with the process otherwise. Looks now and then, and
// does something only when there was work since: how much memory is in use does not tell, for a
// burst that is over may have left as much as there was in its midst.
class MemoryKeeper {
 public:
  void look() {
    constexpr std::chrono::milliseconds kMuch{500};
    const auto now = processor_time();
    // When everything is up, and once more when it has settled.
    const bool young = looks_ < 2;
    if (young) ++looks_;
    if (!young && now - worked_ < kMuch) return;
    (void)malloc_trim(0);
    (void)dl_iterate_phdr(drop_unused_code, nullptr);
    worked_ = processor_time();
  }

 private:
  std::chrono::microseconds worked_{0};  // when it last gave something back
  int looks_ = 0;
};

}  // namespace

int wait_for_signal(const sigset_t& signals, const std::function<void()>& look) {
  constexpr timespec kInterval{.tv_sec = 20, .tv_nsec = 0};
  MemoryKeeper memory;
  for (;;) {
    memory.look();
    const int signal = sigtimedwait(&signals, nullptr, &kInterval);
    if (signal > 0) return signal;
    if (look) look();
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

namespace {

// "process 123 (coracle agent)", as far as it can be told.
std::string holder_of(int fd) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return "another process";
  const std::string pid = std::to_string(lock.l_pid);
  const auto command = read_whole_file("/proc/" + pid + "/cmdline");
  const auto first = command ? command->find('\0') : std::string::npos;
  if (first == std::string::npos) return "process " + pid;
  return "process " + pid + " (coracle " + (command->c_str() + first + 1) + ")";
}

}  // namespace

Result<ProcessLock> ProcessLock::take(const std::string& data_dir) {
  const std::string path = data_dir + "/" + kFile;
  ProcessLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.fd_ < 0) return Error::from_errno(errno, path);
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (fcntl(lock.fd_, F_SETLK, &whole) == 0) return lock;
  if (errno != EAGAIN && errno != EACCES) return Error::from_errno(errno, path);
  return Error{Code::Conflict,
               data_dir + " is in use by " + holder_of(lock.fd_) + ": stop it first"};
}

ProcessLock::~ProcessLock() {
  if (fd_ >= 0) close(fd_);
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
