#include "runtime/supervisor_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>

#include "runtime/supervisor_fds.h"

namespace coracle::runtime {
namespace {

constexpr std::chrono::milliseconds kLaunchPatience{10'000};

// After a fork of a program with threads: system calls only. Init becomes the supervisor's parent,
// and the supervisor the first of a pid namespace: however it ends, the kernel ends with it all
// that the Pod runs, whatever user that is by then. The descriptors are moved out of the way first,
// so that none is overwritten before it is in place.
[[noreturn]] void become_supervisor(const std::array<int, 3>& fds, char* const* argv) {
  (void)setsid();
  const long again = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (again != 0) _exit(again < 0 ? 1 : 0);
  std::array<int, 3> moved = {};
  for (std::size_t i = 0; i < fds.size(); ++i) moved[i] = fcntl(fds[i], F_DUPFD, 20);
  for (std::size_t i = 0; i < fds.size(); ++i)
    if (dup2(moved[i], kSandboxDirFd + static_cast<int>(i)) < 0) _exit(1);
  const int null = open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) (void)dup2(null, fd);
  (void)syscall(SYS_close_range, kReadyFd + 1U, ~0U, 0U);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  (void)chdir("/");
  char* const no_environment[] = {nullptr};
  syscall(SYS_execveat, kExecutableFd, "", argv, no_environment, AT_EMPTY_PATH);
  _exit(1);
}

Result<std::string> read_ready(int fd) {
  std::string text(1024, '\0');
  pollfd wait = {fd, POLLIN, 0};
  if (poll(&wait, 1, static_cast<int>(kLaunchPatience.count())) <= 0)
    return Error{Code::Timeout, "the Pod's supervisor did not start in time"};
  const ssize_t size = read(fd, text.data(), text.size());
  if (size <= 0) return Error{Code::Internal, "the Pod's supervisor did not start"};
  text.resize(static_cast<std::size_t>(size));
  return text;
}

}  // namespace

sockaddr_un socket_address(int dir) {
  sockaddr_un out = {};
  out.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(dir) + "/supervisor.sock";
  std::memcpy(out.sun_path, path.c_str(), path.size() + 1);
  return out;
}

Result<void> launch_supervisor(int dir, int executable, const std::string& title,
                               const std::string& path) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  const Fd ready(ends[0]);
  Fd ready_write(ends[1]);
  std::string name = kSupervisorProgram, what = title, where = path;
  char* const argv[] = {name.data(), what.data(), where.data(), nullptr};
  const pid_t pid = fork();
  if (pid < 0) return Error::from_errno(errno, "fork");
  if (pid == 0) become_supervisor({dir, executable, ready_write.get()}, argv);
  ready_write = Fd();
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return Error{Code::Internal, "the Pod's supervisor cannot be started"};
  const std::string answer = TRY(read_ready(ready.get()));
  if (answer != "ok") return Error{Code::Internal, "the Pod's supervisor: " + answer};
  return {};
}

Result<Fd> connect_supervisor(int dir) {
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const sockaddr_un address = socket_address(dir);
  if (!fd.valid() ||
      connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return Error{Code::NotFound, std::string("the Pod's supervisor does not answer: ") +
                                     std::strerror(errno)};  // NOLINT(concurrency-mt-unsafe)
  return fd;
}

Result<void> order(int connection, const std::string& text, std::chrono::milliseconds patience) {
  if (send(connection, text.data(), text.size(), MSG_NOSIGNAL) < 0)
    return Error::from_errno(errno, "the Pod's supervisor");
  pollfd wait = {connection, POLLIN, 0};
  int polled = 0;
  do polled = poll(&wait, 1, static_cast<int>(patience.count()));
  while (polled < 0 && errno == EINTR);
  if (polled <= 0) return Error{Code::Timeout, "the Pod's supervisor does not answer"};
  char answer[4096];
  const ssize_t size = recv(connection, answer, sizeof(answer) - 1, 0);
  if (size <= 0) return Error{Code::Unavailable, "the Pod's supervisor ended"};
  answer[size] = '\0';
  if (answer[0] != '\0') return Error{Code::Unavailable, answer};
  return {};
}

}  // namespace coracle::runtime
