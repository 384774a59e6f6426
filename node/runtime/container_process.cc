#include "runtime/container_process.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <iterator>
#include <utility>

#include "runtime/cgroups.h"
#include "runtime/confine.h"
#include "runtime/rootfs.h"

namespace coracle::runtime {
namespace {

constexpr std::size_t kMaxError = 4096;
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

// A channel that tells the parent how far the child came: it gets a descriptor, or an error's text,
// or its end when the child became another program.
struct Channel {
  Fd parent, child;
};
Result<Channel> make_channel() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
    return Error::from_errno(errno, "socketpair");
  return Channel{Fd(fds[0]), Fd(fds[1])};
}

union Control {
  cmsghdr header;  // its alignment
  char bytes[CMSG_SPACE(sizeof(int))];
};

Result<void> send_fd(int channel, int fd) {
  char nothing = '\0';
  iovec data = {&nothing, 1};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(part), &fd, sizeof(int));
  if (sendmsg(channel, &message, MSG_NOSIGNAL) != 1) return Error::from_errno(errno, "sendmsg");
  return {};
}

struct Packet {
  Fd fd;
  std::string text;  // empty at the end
};
Packet receive(int channel) {
  Packet out;
  out.text.resize(kMaxError);
  iovec data = {out.text.data(), out.text.size()};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  ssize_t size = 0;
  do size = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
  while (size < 0 && errno == EINTR);
  out.text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, size)));
  const cmsghdr* part = size < 0 ? nullptr : CMSG_FIRSTHDR(&message);
  if (part != nullptr && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(part), sizeof(int));
    out.fd = Fd(fd);
  }
  return out;
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

struct Outputs {
  int out, err, channel;
};
// In the new process, until it is the container's.
Result<void> become_container(const StartSpec& spec, int sandbox_dir, const Command& command,
                              const Outputs& outputs) {
  umask(022);
  for (const std::string& cgroup : spec.cgroups) TRY(join_cgroup(cgroup));
  set_oom_score(spec.oom_score_adj);  // the agent's, which may be low, is not its Pods'
  const Root root = TRY(enter_rootfs(sandbox_dir, spec));
  TRY(send_fd(outputs.channel, root.termination_message.get()));
  const int in = open("/dev/null", O_RDONLY);
  if (in < 0 || dup2(in, 0) < 0 || dup2(outputs.out, 1) < 0 || dup2(outputs.err, 2) < 0)
    return Error::from_errno(errno, "standard streams");
  // So that /dev/stdout can be opened by its user.
  for (const int fd : {1, 2}) (void)fchown(fd, spec.privileges.uid, static_cast<gid_t>(-1));
  (void)syscall(SYS_close_range, 3U, ~0U, 4U);  // CLOSE_RANGE_CLOEXEC
  (void)setsid();
  TRY(change_dir(spec.working_dir));
  if (spec.privileges.read_only_root) TRY(make_read_only(root.writable));
  default_signals();
  if (!confine(spec.privileges)) return Error::from_errno(errno, "dropping privileges");
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

void set_oom_score(int oom_score_adj) {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  char text[16];
  const auto end = std::to_chars(text, text + sizeof(text), oom_score_adj).ptr;
  (void)!write(fd, text, static_cast<std::size_t>(end - text));
  close(fd);
}

Command::Command(std::vector<std::string> argv, std::vector<std::string> env, int exe)
    : argv_(std::move(argv)), env_(std::move(env)), exe_(exe) {
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
  Channel channel = TRY(make_channel());
  const int own = spec.share_processes ? CLONE_NEWNS : CLONE_NEWPID | CLONE_NEWNS;
  const long pid = syscall(SYS_clone, own | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid < 0) return Error::from_errno(errno, "clone");
  if (pid == 0) {
    const auto failed = become_container(spec, sandbox_dir, command,
                                         {out.write.get(), err.write.get(), channel.child.get()});
    const std::string& text = failed.error().message;
    (void)!send(channel.child.get(), text.data(), std::min(text.size(), kMaxError), MSG_NOSIGNAL);
    _exit(128);
  }
  channel.child = Fd();
  Packet packet = receive(channel.parent.get());
  Fd termination = std::move(packet.fd);
  if (termination.valid()) packet = receive(channel.parent.get());
  if (!packet.text.empty()) {
    (void)waitpid(static_cast<pid_t>(pid), nullptr, 0);
    return Error{Code::Internal, packet.text};
  }
  for (const Pipe* p : {&out, &err}) (void)fcntl(p->read.get(), F_SETFL, O_NONBLOCK);
  return StartedProcess{static_cast<pid_t>(pid), std::move(out.read), std::move(err.read),
                        std::move(termination)};
}

}  // namespace coracle::runtime
