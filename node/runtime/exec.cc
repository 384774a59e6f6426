#include "runtime/exec.h"

#include <coracle/pod_exec.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>

#include "runtime/confine.h"
#include "runtime/container_process.h"

namespace coracle::runtime {
namespace {

constexpr int kNamespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;
struct Streams {
  int in, out, err;
  bool detached;
};

constexpr int kCannotExecute = 126, kNoSuchProgram = 127;

// After a fork of a program with threads: system calls only.
[[noreturn]] void become(const Command& command, const Target& target) {
  default_signals();
  for (const Fd& cgroup : target.cgroups)
    if (write(cgroup.get(), "0", 1) < 0) _exit(kCannotExecute);
  // Not left to the execution: until then the container's other processes could take them from us.
  (void)syscall(SYS_close_range, 3U, ~0U, 0U);
  if (chdir(target.working_dir.c_str()) != 0 && chdir("/") != 0) _exit(kCannotExecute);
  if (!confine(target.privileges)) _exit(kCannotExecute);
  command.execute();
  const char* text = std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
  const bool absent = errno == ENOENT;
  (void)!write(2, "exec: ", 6);
  (void)!write(2, text, std::strlen(text));
  (void)!write(2, "\n", 1);
  _exit(absent ? kNoSuchProgram : kCannotExecute);
}

// All signals are blocked, and taken here one by one.
[[noreturn]] void stand_for(pid_t command, const sigset_t& signals) {
  for (;;) {
    siginfo_t info = {};
    const int signal = sigwaitinfo(&signals, &info);
    int status = 0;
    if (waitpid(command, &status, WNOHANG) == command)
      _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    // What a terminal sends, the command gets itself.
    if (signal > 0 && signal != SIGCHLD && info.si_code != SI_KERNEL) (void)kill(command, signal);
  }
}

// A pid namespace takes only children, so a second fork enters it; the first stands for it.
[[noreturn]] void enter(const Target& target, const Command& command, const Streams& streams,
                        pid_t caller) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != caller) _exit(kCannotExecute);
  // We are a copy of the agent: nobody in the container may look into our memory on the way.
  if (prctl(PR_SET_DUMPABLE, 0) != 0) _exit(kCannotExecute);
  if (dup2(streams.in, 0) < 0 || dup2(streams.out, 1) < 0 || dup2(streams.err, 2) < 0)
    _exit(kCannotExecute);
  if (streams.detached) (void)setsid();
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  struct sigaction kept = {};  // ends of children are not thrown away
  kept.sa_handler = SIG_DFL;
  (void)sigaction(SIGCHLD, &kept, nullptr);
  set_oom_score(target.oom_score_adj);
  if (setns(target.pidfd.get(), kNamespaces) != 0) _exit(kCannotExecute);
  const pid_t child = fork();
  if (child < 0) _exit(kCannotExecute);
  if (child == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    become(command, target);
  }
  (void)syscall(SYS_close_range, 0U, ~0U, 0U);  // its output's end is the command's
  stand_for(child, all);
}

// Until one of them can be read, the last of which is the caller's wish to end it. Timeout.
Result<void> await(std::array<pollfd, 3>& fds, std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Error{Code::Timeout, "command timed out"};
    const int polled = poll(fds.data(), fds.size(), static_cast<int>(left.count()));
    if (polled < 0 && errno != EINTR) return Error::from_errno(errno, "poll");
    if (polled > 0 && fds[2].revents != 0) return Error{Code::Unavailable, "cancelled"};
    if (polled > 0) return {};
  }
}

// Reads until the process has ended and all it wrote is read: what the command left in the
// background may hold its output open for longer. What is beyond the limit is dropped.
Result<std::string> collect(int fd, int process, int cancel,
                            std::chrono::steady_clock::time_point deadline) {
  std::string out;
  char buffer[4096];
  std::array<pollfd, 3> fds = {{{fd, POLLIN, 0}, {process, POLLIN, 0}, {cancel, POLLIN, 0}}};
  for (;;) {
    TRY(await(fds, deadline));
    if (fds[0].revents == 0) return out;
    const ssize_t size = read(fd, buffer, sizeof(buffer));
    if (size <= 0)
      fds[0].fd = -1;  // closed: its end may come later
    else
      out.append(buffer, std::min(static_cast<std::size_t>(size), kMaxExecOutput - out.size()));
  }
}

}  // namespace

Result<Target> find_target(const std::string& pods_dir, const std::string& pod_uid,
                           const std::string& container) {
  const auto not_running = [&](const std::string& what) {
    return Error{Code::NotFound, what + " of Pod " + pod_uid + " does not run"};
  };
  const auto dir = open_dir(pods_dir + "/" + pod_uid);
  if (!dir || !supervisor_pid(dir->get())) return not_running("the sandbox");
  for (int attempt = 0; attempt < 2; ++attempt) {
    for (const ContainerState& state : read_states(dir->get(), true)) {
      if (!container.empty() && state.name != container) continue;
      if (state.status != ContainerState::Status::Running) continue;
      Target out;
      out.pidfd = Fd(static_cast<int>(syscall(SYS_pidfd_open, state.pid, 0)));
      const std::string path =
          container_dir(state.name) + "/" + std::to_string(state.restart_count) + ".spec";
      const StartSpec spec = TRY(decode_start(TRY(read_file(dir->get(), path))));
      // Still the same one: the descriptor is of its process, not of one that came after it.
      const auto now =
          decode_state(TRY(read_file(dir->get(), container_dir(state.name) + "/state")));
      if (!out.pidfd.valid() || !now || *now != state) continue;
      out.env = spec.env;
      out.privileges = spec.privileges;
      for (const std::string& cgroup : spec.cgroups)
        out.cgroups.emplace_back(open((cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
      out.oom_score_adj = spec.oom_score_adj;
      out.working_dir = spec.working_dir.empty() ? "/" : spec.working_dir;
      return out;
    }
  }
  return not_running(container.empty() ? "a container" : "container " + container);
}

Result<pid_t> exec_in(const Target& target, const std::vector<std::string>& argv, int in, int out,
                      int err, bool detached) {
  if (argv.empty()) return Error{Code::BadRequest, "a command is required"};
  const Command command(argv, target.env, -1);
  const pid_t caller = getpid();
  const pid_t pid = fork();
  if (pid < 0) return Error::from_errno(errno, "fork");
  if (pid == 0) enter(target, command, {in, out, err, detached}, caller);
  return pid;
}

Result<Runtime::ExecResult> run_in(const Target& target, const std::vector<std::string>& argv,
                                   std::chrono::milliseconds timeout, int cancel) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  const Fd output(ends[0]);
  Fd write_end(ends[1]);
  const Fd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const pid_t pid = TRY(exec_in(target, argv, null.get(), write_end.get(), write_end.get(), true));
  write_end = Fd();
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  const auto collected = collect(output.get(), process.get(), cancel, deadline);
  if (!collected) (void)kill(-pid, SIGKILL);  // its session: as the command's, so its children's
  if (!collected) (void)kill(pid, SIGKILL);   // before it had one
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!collected) return collected.error();
  return Runtime::ExecResult{WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
                             *collected};
}

}  // namespace coracle::runtime

namespace coracle {
namespace {

constexpr int kForwarded[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};

std::atomic<pid_t> forward_to{0};

// What a terminal sends, the command gets itself.
void forward(int signal, siginfo_t* info, void*) {
  if (info->si_code != SI_KERNEL) (void)kill(forward_to.load(), signal);
}

// Holds the forwarded signals back while there is nobody to forward them to.
sigset_t forward_signals() {
  sigset_t held, before;
  sigemptyset(&held);
  for (const int signal : kForwarded) sigaddset(&held, signal);
  sigprocmask(SIG_BLOCK, &held, &before);
  struct sigaction action = {};
  action.sa_sigaction = forward;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  for (const int signal : kForwarded) (void)sigaction(signal, &action, nullptr);
  return before;
}

}  // namespace

Result<int> pod_exec(const std::string& pods_dir, const std::string& pod_uid,
                     const std::string& container, const std::vector<std::string>& argv) {
  const runtime::Target target = TRY(runtime::find_target(pods_dir, pod_uid, container));
  const sigset_t before = forward_signals();
  forward_to = TRY(runtime::exec_in(target, argv, 0, 1, 2, false));
  sigprocmask(SIG_SETMASK, &before, nullptr);
  int status = 0;
  while (waitpid(forward_to, &status, 0) < 0)
    if (errno != EINTR) return Error::from_errno(errno, "waitpid");
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace coracle
