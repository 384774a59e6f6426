// The processes of a lab's nodes: started in their namespaces, found again by pid and start time.
#include <coracle/lab.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <sstream>

#include "lab/lab_state.h"
#include "netns.h"
#include "sysctl.h"

namespace coracle {
namespace {

constexpr int kTermMilliseconds = 10'000;
constexpr int kKillMilliseconds = 5'000;
constexpr int kNoSuchProgram = 127;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::vector<char*> raw_arguments(const std::vector<std::string>& argv) {
  std::vector<char*> raw;
  raw.reserve(argv.size() + 1);
  for (const std::string& a : argv)
    raw.push_back(const_cast<char*>(a.c_str()));  // NOLINT(*-const-cast): exec's old signature
  raw.push_back(nullptr);
  return raw;
}

// In a child between fork and exec: system calls only. Enters the network namespace, with a /sys
// that shows it; cgroups stay where they were. Returns errno or 0.
int enter(int netns_fd) {
  if (setns(netns_fd, CLONE_NEWNET) != 0 || unshare(CLONE_NEWNS) != 0) return errno;
  if (mount("", "/", "none", MS_SLAVE | MS_REC, nullptr) != 0) return errno;
  // Of this mount namespace: another's cannot be bound.
  const int cgroup = open("/sys/fs/cgroup", O_PATH | O_CLOEXEC);
  if (mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) return errno;
  if (cgroup < 0) return 0;
  char path[32] = "/proc/self/fd/";
  std::size_t end = 14;
  char digits[12];
  std::size_t count = 0;
  for (int rest = cgroup; count == 0 || rest > 0; rest /= 10)
    digits[count++] = static_cast<char>('0' + rest % 10);
  while (count > 0) path[end++] = digits[--count];
  // Without cgroups there, nothing is lost.
  (void)mount(path, "/sys/fs/cgroup", "none", MS_BIND | MS_REC, nullptr);
  return 0;
}

void reset_signals() {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGPIPE, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD})
    (void)signal(number, SIG_DFL);
}

[[noreturn]] void fail_child(int report, int error) {
  (void)!write(report, &error, sizeof(error));
  _exit(kNoSuchProgram);
}

// The errno of a child that could not become what it should; 0 when its exec closed the pipe.
int child_error(int fd) {
  int error = 0;
  ssize_t n = 0;
  while ((n = read(fd, &error, sizeof(error))) < 0 && errno == EINTR) {
  }
  return n == static_cast<ssize_t>(sizeof(error)) ? error : 0;
}

// Field 22 of /proc/PID/stat, in clock ticks since boot; NotFound when there is no such process or
// only its exit code is left.
Result<std::string> start_time(pid_t pid) {
  const std::string text = TRY(read_small_file("/proc/" + std::to_string(pid) + "/stat"));
  const std::size_t name_end = text.rfind(')');  // the name may contain anything
  if (name_end == std::string::npos) return Error{Code::Internal, "unreadable process state"};
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22 && fields >> field; ++i) {
    if (i == 3 && (field == "Z" || field == "X")) return Error{Code::NotFound, "it ended"};
  }
  return field;
}

bool ended_within(int pidfd, int milliseconds) {
  pollfd polled{pidfd, POLLIN, 0};
  return poll(&polled, 1, milliseconds) == 1;
}

// A process that was killed looks ended while some of its threads still hold its files and ports.
void await_last_thread(pid_t pid) {
  const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (pidfd.get() >= 0) (void)ended_within(pidfd.get(), kKillMilliseconds);
}

struct Process {
  pid_t pid = 0;
  std::string started;
};
// The node's process if it lives.
Result<Process> find_process(const std::string& lab, const std::string& node) {
  std::istringstream text(TRY(read_small_file(lab::pid_file(lab, node))));
  Process process;
  if (!(text >> process.pid >> process.started) || process.pid <= 1)
    return Error{Code::NotFound, lab::pid_file(lab, node) + " is damaged"};
  const auto started = start_time(process.pid);
  if (!started) {
    await_last_thread(process.pid);
    return started.error();
  }
  if (*started != process.started) return Error{Code::NotFound, "its pid is another's now"};
  return process;
}

bool is_pid(const std::string& name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_in(const struct stat& netns, const std::string& pid) {
  struct stat own = {};
  return ::stat(("/proc/" + pid + "/ns/net").c_str(), &own) == 0 && own.st_ino == netns.st_ino &&
         own.st_dev == netns.st_dev;
}

// But for ourselves; those that end meanwhile may be among them.
std::vector<pid_t> processes_in(const struct stat& netns) {
  std::vector<pid_t> found;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc", error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    if (!is_pid(name) || !is_in(netns, name)) continue;
    const auto pid = static_cast<pid_t>(std::stol(name));
    if (pid != ::getpid()) found.push_back(pid);
  }
  return found;
}

// What `lab exec` has started there, and a node's process that was started by a `lab up` which was
// killed before it could note it.
Result<void> end_others(const std::string& node) {
  constexpr int kRounds = 10;  // they may start others meanwhile
  struct stat netns = {};
  if (::stat((std::string(lab::kNetNsDir) + "/" + node).c_str(), &netns) != 0) return {};
  for (int round = 0; round < kRounds; ++round) {
    const auto pids = processes_in(netns);
    if (pids.empty()) return {};
    for (const pid_t pid : pids) {
      const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
      // Only now does the pid stay this process's: look once more.
      if (pidfd.get() < 0 || !is_in(netns, std::to_string(pid))) continue;
      (void)syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
      (void)ended_within(pidfd.get(), kKillMilliseconds);
    }
  }
  return Error{Code::Timeout, "processes in " + node + " do not end"};
}

struct Child {
  int netns_fd, report;
  bool background;
  int log;
};
[[noreturn]] void become(const Child& child, char* const* argv) {
  if (const int error = enter(child.netns_fd); error != 0) fail_child(child.report, error);
  reset_signals();
  if (child.background) {
    setsid();
    const int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(child.log, 1) < 0 || dup2(child.log, 2) < 0)
      fail_child(child.report, errno);
    if (null > 2) close(null);
  }
  execvp(argv[0], argv);
  fail_child(child.report, errno);
}

}  // namespace

Result<pid_t> lab_start_node(const LabPlan& plan, const LabNode& node,
                             const std::vector<std::string>& argv, const std::string& log) {
  if (argv.empty()) return Error{Code::BadRequest, "nothing to run"};
  if (find_process(plan.name, node.name))
    return Error{Code::AlreadyExists, node.name + " runs already"};
  const NetNs netns = TRY(lab::open_netns(node.name));
  const Fd out(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (out.get() < 0) return Error::from_errno(errno, log);
  std::array<int, 2> report{-1, -1};
  if (pipe2(report.data(), O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  const Fd reader(report[0]);
  const auto raw = raw_arguments(argv);
  pid_t pid = -1;
  {
    const Fd writer(report[1]);
    pid = fork();
    if (pid < 0) return Error::from_errno(errno, "fork");
    if (pid == 0) become({netns.fd(), report[1], true, out.get()}, raw.data());
  }
  if (const int error = child_error(reader.get()); error != 0) {
    (void)waitpid(pid, nullptr, 0);
    return Error::from_errno(error, "cannot start " + argv[0] + " in " + node.name);
  }
  // One that ended already needs no record.
  if (const auto started = start_time(pid)) {
    const auto saved = write_file_durably(lab::pid_file(plan.name, node.name),
                                          std::to_string(pid) + " " + *started + "\n");
    if (!saved) {
      (void)kill(pid, SIGKILL);
      (void)waitpid(pid, nullptr, 0);
      return saved.error();
    }
  }
  return pid;
}

bool lab_node_running(const LabPlan& plan, const LabNode& node) {
  return find_process(plan.name, node.name).has_value();
}

Result<void> lab::end_node(const std::string& lab, const std::string& node, int signal,
                           int milliseconds) {
  const auto process = find_process(lab, node);
  if (!process) return is_not_found(process.error()) ? Result<void>() : process.error();
  const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, process->pid, 0)));
  // Only now does the pid stay this process's: look once more.
  if (!find_process(lab, node)) return {};
  if (pidfd.get() < 0)
    return Error{Code::Internal, "pidfd_open does not work here; " + node + " still runs"};
  (void)syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
  if (!ended_within(pidfd.get(), milliseconds))
    return Error{Code::Timeout, node + " does not end, process " + std::to_string(process->pid)};
  (void)waitpid(process->pid, nullptr, WNOHANG);  // if it is our child
  return {};
}

Result<void> lab_stop_node(const std::string& lab, const std::string& node) {
  TRY(lab::check_name(lab));
  if (!lab::end_node(lab, node, SIGTERM, kTermMilliseconds))
    TRY(lab::end_node(lab, node, SIGKILL, kKillMilliseconds));
  const std::string path = lab::pid_file(lab, node);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno(errno, path);
  return lab::node_number(lab, node) == 0 ? Result<void>() : end_others(node);
}

Result<int> lab_exec(const std::string& netns, const std::vector<std::string>& argv) {
  if (argv.empty()) return Error{Code::BadRequest, "nothing to run"};
  const NetNs ns = TRY(lab::open_netns(netns));
  std::array<int, 2> report{-1, -1};
  if (pipe2(report.data(), O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  const Fd reader(report[0]);
  const auto raw = raw_arguments(argv);
  pid_t pid = -1;
  {
    const Fd writer(report[1]);
    pid = fork();
    if (pid < 0) return Error::from_errno(errno, "fork");
    if (pid == 0) become({ns.fd(), report[1], false, -1}, raw.data());
  }
  const int error = child_error(reader.get());
  // What the terminal sends is for the command; we pass on how it ended.
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction interrupt {};
  struct sigaction quit {};
  sigaction(SIGINT, &ignore, &interrupt);
  sigaction(SIGQUIT, &ignore, &quit);
  int status = 0;
  pid_t waited = 0;
  while ((waited = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
  }
  sigaction(SIGINT, &interrupt, nullptr);
  sigaction(SIGQUIT, &quit, nullptr);
  if (error == ENOENT) return kNoSuchProgram;
  if (error != 0) return Error::from_errno(error, argv[0]);
  if (waited < 0) return Error{Code::Internal, "lost " + argv[0]};
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace coracle
