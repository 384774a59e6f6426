#include "runtime/exec.h"

#include <coracle/pod_exec.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>

#include "runtime/confine.h"
#include "runtime/container_process.h"

namespace coracle::runtime {
namespace {

constexpr int kNamespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;
constexpr int kCannotExecute = 126, kNoSuchProgram = 127;

// After a fork of a program with threads: system calls only.
[[noreturn]] void become(const Command& command, const char* working_dir) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  (void)sigaction(SIGPIPE, &action, nullptr);
  (void)syscall(SYS_close_range, 3U, ~0U, 4U);  // CLOSE_RANGE_CLOEXEC
  if (chdir(working_dir) != 0 && chdir("/") != 0) _exit(kCannotExecute);
  if (!confine()) _exit(kCannotExecute);
  command.execute();
  const char* text = std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
  const bool absent = errno == ENOENT;
  (void)!write(2, "exec: ", 6);
  (void)!write(2, text, std::strlen(text));
  (void)!write(2, "\n", 1);
  _exit(absent ? kNoSuchProgram : kCannotExecute);
}

// A pid namespace takes only children, so a second fork enters it; the first waits and passes its
// end on.
[[noreturn]] void enter(const Target& target, const Command& command, int in, int out, int err,
                        bool detached) {
  if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(kCannotExecute);
  if (detached) (void)setsid();
  if (setns(target.pidfd.get(), kNamespaces) != 0) _exit(kCannotExecute);
  const pid_t child = fork();
  if (child < 0) _exit(kCannotExecute);
  if (child == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    become(command, target.working_dir.c_str());
  }
  (void)syscall(SYS_close_range, 3U, ~0U, 0U);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
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
  const pid_t pid = fork();
  if (pid < 0) return Error::from_errno(errno, "fork");
  if (pid == 0) enter(target, command, in, out, err, detached);
  return pid;
}

}  // namespace coracle::runtime

namespace coracle {
namespace {

std::atomic<pid_t> forward_to{0};

void forward(int signal) {
  const pid_t pid = forward_to.load();
  if (pid > 0) (void)kill(pid, signal);
}

}  // namespace

Result<int> pod_exec(const std::string& pods_dir, const std::string& pod_uid,
                     const std::string& container, const std::vector<std::string>& argv) {
  const runtime::Target target = TRY(runtime::find_target(pods_dir, pod_uid, container));
  forward_to = TRY(runtime::exec_in(target, argv, 0, 1, 2, false));
  struct sigaction action = {};
  action.sa_handler = forward;
  action.sa_flags = SA_RESTART;
  (void)sigaction(SIGTERM, &action, nullptr);
  // A terminal sends these to the command itself.
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  (void)sigaction(SIGINT, &ignore, nullptr);
  (void)sigaction(SIGQUIT, &ignore, nullptr);
  int status = 0;
  while (waitpid(forward_to, &status, 0) < 0)
    if (errno != EINTR) return Error::from_errno(errno, "waitpid");
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace coracle
