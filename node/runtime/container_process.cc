#include "runtime/container_process.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <iterator>

#include "runtime/confine.h"
#include "runtime/rootfs.h"

namespace coracle::runtime {
namespace {

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

std::string search_path(const std::vector<std::string>& env) {
  for (const std::string& e : env)
    if (e.starts_with("PATH=")) return e.substr(5);
  return kDefaultPath;
}

struct Pipe {
  Fd read, write;
};
Result<Pipe> make_pipe(int flags) {
  int fds[2];
  if (pipe2(fds, flags) != 0) return Error::from_errno(errno, "pipe");
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

Result<void> change_dir(const std::string& wanted) {
  const std::string dir = wanted.empty() ? "/" : wanted;
  if (chdir(dir.c_str()) == 0) return {};
  // As container runtimes do, an absent working directory is made.
  for (auto slash = dir.find('/', 1);; slash = dir.find('/', slash + 1)) {
    (void)mkdir(dir.substr(0, slash).c_str(), 0755);
    if (slash == std::string::npos) break;
  }
  if (chdir(dir.c_str()) != 0) return Error::from_errno(errno, "workingDir " + dir);
  return {};
}

std::string cannot_execute(const std::string& program, int error) {
  const std::string what = "exec: \"" + program + "\": ";
  if (error != ENOENT) return what + std::strerror(error);  // NOLINT(concurrency-mt-unsafe)
  return what + (program.find('/') == std::string::npos
                     ? "executable file not found in $PATH"
                     : "stat " + program + ": no such file or directory");
}

// In the new process, until it is the container's.
Result<void> become_container(const StartSpec& spec, int sandbox_dir, const Command& command,
                              int out, int err) {
  umask(022);
  TRY(enter_rootfs(sandbox_dir, spec.hidden));
  const int in = open("/dev/null", O_RDONLY);
  if (in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
    return Error::from_errno(errno, "standard streams");
  (void)syscall(SYS_close_range, 3U, ~0U, 4U);  // CLOSE_RANGE_CLOEXEC
  (void)setsid();
  TRY(change_dir(spec.working_dir));
  default_signals();
  if (!confine()) return Error::from_errno(errno, "dropping privileges");
  command.execute();
  return Error{Code::Internal, cannot_execute(spec.argv.front(), errno)};
}

}  // namespace

void default_signals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int s = 1; s < NSIG; ++s) (void)sigaction(s, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

Command::Command(const std::vector<std::string>& argv, const std::vector<std::string>& env, int exe)
    : argv_(argv), env_(env), exe_(exe) {
  const std::string& program = argv_.front();
  if (program == kEchoProgram) {
    // Found through its descriptor.
  } else if (program.find('/') != std::string::npos) {
    candidates_.push_back(program);
  } else {
    const std::string path = search_path(env_);
    for (std::size_t begin = 0; begin <= path.size();) {
      const std::size_t end = std::min(path.find(':', begin), path.size());
      const std::string dir = path.substr(begin, end - begin);
      if (!program.empty()) candidates_.push_back((dir.empty() ? "." : dir) + "/" + program);
      begin = end + 1;
    }
  }
  argv_pointers_ = pointers(argv_);
  env_pointers_ = pointers(env_);
}

void Command::execute() const {
  if (argv_.front() == kEchoProgram) {
    syscall(SYS_execveat, exe_, "", argv_pointers_.data(), env_pointers_.data(), AT_EMPTY_PATH);
    return;
  }
  int error = ENOENT;
  for (const std::string& candidate : candidates_) {
    execve(candidate.c_str(), argv_pointers_.data(), env_pointers_.data());
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
  }
  errno = error;
}

Result<StartedProcess> start_process(const StartSpec& spec, int sandbox_dir, int exe) {
  const Command command(spec.argv, spec.env, exe);
  Pipe out = TRY(make_pipe(O_CLOEXEC));
  Pipe err = TRY(make_pipe(O_CLOEXEC));
  Pipe problem = TRY(make_pipe(O_CLOEXEC));  // closed by a successful exec
  const long pid =
      syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid < 0) return Error::from_errno(errno, "clone");
  if (pid == 0) {
    const auto failed =
        become_container(spec, sandbox_dir, command, out.write.get(), err.write.get());
    const std::string& text = failed.error().message;
    (void)!write(problem.write.get(), text.data(), text.size());
    _exit(128);
  }
  problem.write = Fd();
  std::string text(4096, '\0');
  ssize_t size = 0;
  do size = read(problem.read.get(), text.data(), text.size());
  while (size < 0 && errno == EINTR);
  if (size > 0) {
    (void)waitpid(static_cast<pid_t>(pid), nullptr, 0);
    return Error{Code::Internal, text.substr(0, static_cast<std::size_t>(size))};
  }
  for (const Pipe* p : {&out, &err}) (void)fcntl(p->read.get(), F_SETFL, O_NONBLOCK);
  return StartedProcess{static_cast<pid_t>(pid), std::move(out.read), std::move(err.read)};
}

}  // namespace coracle::runtime
