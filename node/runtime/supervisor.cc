// The supervisor of one Pod: owns its namespaces and its containers' processes, writes down what
// becomes of them, and outlives the agent. One thread, few kilobytes: everything it needs is handed
// to it as descriptors, see supervisor_client.cc. It is the first process of a pid namespace.
//
// Orders come over a Unix socket of sequenced packets, one answer each: "" for success, else the
// error's text.
//   start NAME N    starts containers/NAME/N.spec
//   signal NAME S   signal S to the container's first process
//   quit            kills everything and ends
//   watch           this connection gets a packet "changed" whenever a container ends
#include <coracle/echo.h>
#include <coracle/supervisor.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cgroups.h"
#include "runtime/container_log.h"
#include "runtime/container_process.h"
#include "runtime/etc_files.h"
#include "runtime/own_processes.h"
#include "runtime/sandbox_files.h"
#include "runtime/supervisor_client.h"
#include "runtime/supervisor_fds.h"
#include "runtime/termination_log.h"
#include "socket_keeper.h"

namespace coracle {
namespace runtime {
namespace {

constexpr std::size_t kReadSize = std::size_t{32} << 10U;
constexpr std::size_t kMaxConnections = 16;
constexpr int kMaxLastReads = 64;  // of a container that has ended; a pipe holds 1 MiB at most

struct Running {
  ContainerState state;
  StartedProcess process;
  ContainerLog log;
  std::string log_path;
  bool message_from_log = false;
  std::string memory_cgroup;
  std::int64_t oom_kills = 0;  // counted there before it started
  ino_t shared_with = 0;       // its mount namespace, when others are in its pid namespace
};

class Supervisor {
 public:
  Result<void> set_up();
  int run();

 private:
  Result<void> take_lock();
  Result<void> listen_for_orders();
  void watch_fd(int fd);
  void accept_connection();
  void serve(int fd);
  std::string obey(int fd, const std::string& order);
  std::string start(const std::string& name, const std::string& number);
  std::string signal_one(const std::string& name, int signal);
  void read_output(int fd);
  bool drain(Running& running, int stream);
  void reap();
  void ended(std::list<Running>::iterator it, int status);
  void quit();
  void drop(int fd);
  void tell_watchers();
  std::list<Running>::iterator find(const std::string& name);
  void record(const ContainerState& state);

  Fd epoll_, signals_, listener_;
  std::list<Running> running_;
  std::vector<int> connections_, watchers_;
  bool quitting_ = false;
};

Result<void> Supervisor::take_lock() {
  const int fd = openat(kSandboxDirFd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fd < 0 || fcntl(fd, F_SETLK, &lock) != 0)  // stays open, and so held, for life
    return Error{Code::AlreadyExists, "the Pod has a supervisor"};
  return {};
}

Result<void> Supervisor::listen_for_orders() {
  (void)unlinkat(kSandboxDirFd, "supervisor.sock", 0);
  listener_ = Fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = socket_address(kSandboxDirFd);
  umask(0177);  // the socket is made with its mode
  const bool bound =
      listener_.valid() &&
      bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  umask(022);
  if (!bound || listen(listener_.get(), 8) != 0) return Error::from_errno(errno, "supervisor.sock");
  return {};
}

Result<void> Supervisor::set_up() {
  for (const int fd : {kSandboxDirFd, kExecutableFd, kReadyFd})
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  const SandboxSpec spec = TRY(decode_sandbox(TRY(read_file(kSandboxDirFd, "sandbox"))));
  const int network = spec.host_network ? 0 : CLONE_NEWNET;
  if (unshare(CLONE_NEWUTS | CLONE_NEWIPC | network) != 0)
    return Error::from_errno(errno, "new namespaces");
  if (sethostname(spec.hostname.data(), spec.hostname.size()) != 0)
    return Error::from_errno(errno, "host name " + spec.hostname);
  TRY(make_etc({.hosts = "", .resolv_conf = "", .hostname = spec.hostname + "\n"}, spec.volumes));
  // Who finds the lock held takes our namespaces for the Pod's.
  TRY(take_lock());
  TRY(listen_for_orders());
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigaddset(&mask, SIGTERM);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  (void)signal(SIGPIPE, SIG_IGN);  // NOLINT(bugprone-signal-handler)
  signals_ = Fd(signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  if (!signals_.valid() || !epoll_.valid()) return Error::from_errno(errno, "event loop");
  watch_fd(signals_.get());
  watch_fd(listener_.get());
  return {};
}

void Supervisor::watch_fd(int fd) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd;
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

int Supervisor::run() {
  while (!quitting_) {
    epoll_event events[16];
    const int count = epoll_wait(epoll_.get(), events, 16, -1);
    if (count < 0 && errno != EINTR) return 1;
    for (int i = 0; i < count && !quitting_; ++i) {
      const int fd = events[i].data.fd;
      if (fd == signals_.get()) {
        reap();
      } else if (fd == listener_.get()) {
        accept_connection();
      } else if (std::find(connections_.begin(), connections_.end(), fd) != connections_.end()) {
        serve(fd);
      } else {
        read_output(fd);
      }
    }
  }
  return 0;
}

void Supervisor::accept_connection() {
  const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (connections_.size() >= kMaxConnections) {
    close(fd);
    return;
  }
  connections_.push_back(fd);
  watch_fd(fd);
}

void Supervisor::drop(int fd) {
  std::erase(connections_, fd);
  std::erase(watchers_, fd);
  close(fd);
}

void Supervisor::serve(int fd) {
  char buffer[1024];
  const ssize_t size = recv(fd, buffer, sizeof(buffer), 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) return drop(fd);
  const std::string answer = obey(fd, std::string(buffer, static_cast<std::size_t>(size)));
  (void)send(fd, answer.c_str(), answer.size() + 1, MSG_NOSIGNAL);  // with its NUL: never empty
}

std::string Supervisor::obey(int fd, const std::string& order) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= order.size();) {
    const std::size_t end = std::min(order.find(' ', begin), order.size());
    words.push_back(order.substr(begin, end - begin));
    begin = end + 1;
  }
  if (words[0] == "start" && words.size() == 3) return start(words[1], words[2]);
  if (words[0] == "signal" && words.size() == 3)
    return signal_one(words[1], std::atoi(words[2].c_str()));  // NOLINT(cert-err34-c): 0 is none
  if (words[0] == "watch") {
    watchers_.push_back(fd);
    return "";
  }
  if (words[0] == "quit") {
    quit();
    return "";
  }
  return "unknown order " + words[0];
}

std::list<Running>::iterator Supervisor::find(const std::string& name) {
  return std::find_if(running_.begin(), running_.end(),
                      [&](const Running& r) { return r.state.name == name; });
}

void Supervisor::record(const ContainerState& state) {
  (void)write_file(kSandboxDirFd, container_dir(state.name) + "/state", encode(state));
}

std::string Supervisor::start(const std::string& name, const std::string& number) {
  reap();  // one that has just ended
  if (find(name) != running_.end()) return "container " + name + " runs";
  const std::string path = container_dir(name) + "/" + number;
  const auto text = read_file(kSandboxDirFd, path + ".spec");
  if (!text) return text.error().message;
  const auto spec = decode_start(*text);
  if (!spec) return spec.error().message;
  ContainerState state;
  state.name = name;
  state.id = spec->id;
  state.image = spec->image;
  state.restart_count = spec->restart_count;
  state.started_at = std::chrono::system_clock::now();
  const std::int64_t kills_before = oom_kills(spec->memory_cgroup);
  auto process = start_process(*spec, kSandboxDirFd, kExecutableFd);
  if (!process) {
    state.status = ContainerState::Status::Exited;
    state.exit_code = 128;  // as containerd reports a start that failed
    state.message = process.error().message;
    state.finished_at = std::chrono::system_clock::now();
    record(state);
    return "";
  }
  state.pid = pid_on_host(process->pid);
  record(state);
  watch_fd(process->out.get());
  watch_fd(process->err.get());
  const std::string log = path + ".log";
  const ino_t shared_with = spec->share_processes ? mount_namespace(state.pid) : 0;
  running_.push_back({state, std::move(*process), ContainerLog(kSandboxDirFd, log), log,
                      spec->message_from_log, spec->memory_cgroup, kills_before, shared_with});
  return "";
}

std::string Supervisor::signal_one(const std::string& name, int signal) {
  const auto it = find(name);
  if (it == running_.end()) return "";
  if (kill(it->process.pid, signal) != 0 && errno != ESRCH)
    return std::strerror(errno);  // NOLINT(concurrency-mt-unsafe)
  return "";
}

// Reads once, so that one container's flood does not starve the others. False at the end.
bool Supervisor::drain(Running& running, int stream) {
  static char buffer[kReadSize];
  Fd& fd = stream == 0 ? running.process.out : running.process.err;
  if (!fd.valid()) return false;
  const ssize_t size = read(fd.get(), buffer, sizeof(buffer));
  if (size > 0) {
    running.log.add(stream, buffer, static_cast<std::size_t>(size));
    return true;
  }
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  fd = Fd();  // closing takes it out of the event loop
  return false;
}

void Supervisor::read_output(int fd) {
  for (Running& running : running_) {
    if (running.process.out.get() == fd)
      (void)drain(running, 0);
    else if (running.process.err.get() == fd)
      (void)drain(running, 1);
  }
}

void Supervisor::reap() {
  signalfd_siginfo info = {};
  while (read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info)))
    if (info.ssi_signo == SIGTERM) return quit();
  int status = 0;
  pid_t pid = 0;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    const auto it = std::find_if(running_.begin(), running_.end(),
                                 [&](const Running& r) { return r.process.pid == pid; });
    if (it != running_.end()) ended(it, status);
  }
}

void Supervisor::ended(std::list<Running>::iterator it, int status) {
  // All of it ends with its first process.
  kill_all_in(it->shared_with);
  // But others of the Pod may have been given its pipes.
  for (const int stream : {0, 1})
    for (int i = 0; i < kMaxLastReads && drain(*it, stream); ++i) {
    }
  it->log.finish();
  ContainerState state = it->state;
  state.status = ContainerState::Status::Exited;
  state.pid = 0;
  state.finished_at = std::chrono::system_clock::now();
  state.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  state.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  state.out_of_memory = oom_kills(it->memory_cgroup) > it->oom_kills;
  state.termination_message = read_termination_log(it->process.termination.get());
  if (state.termination_message.empty() && it->message_from_log && state.exit_code != 0)
    state.termination_message = read_last_lines(kSandboxDirFd, it->log_path);
  running_.erase(it);
  record(state);
  tell_watchers();
}

void Supervisor::tell_watchers() {
  constexpr char kChanged[] = "changed";
  for (const int fd : watchers_)
    (void)send(fd, kChanged, sizeof(kChanged), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Supervisor::quit() {
  quitting_ = true;
  for (const Running& running : running_) (void)kill(running.process.pid, SIGKILL);
  while (!running_.empty()) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, 0);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) break;
    const auto it = std::find_if(running_.begin(), running_.end(),
                                 [&](const Running& r) { return r.process.pid == pid; });
    if (it != running_.end()) ended(it, status);
  }
}

int supervise() {
  Supervisor supervisor;
  const auto ready = supervisor.set_up();
  const std::string text = ready ? "ok" : ready.error().message;
  (void)!write(kReadyFd, text.data(), text.size());
  close(kReadyFd);
  return ready ? supervisor.run() : 1;
}

int echo(int argc, char** argv) {
  std::vector<Port> ports;
  for (const std::string_view text : std::vector<std::string_view>(argv + 1, argv + argc)) {
    Port port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc{} || end != text.data() + text.size() || port == 0) {
      const std::string complaint = "echo: \"" + std::string(text) + "\" is no port\n";
      (void)!write(2, complaint.data(), complaint.size());
      return 2;
    }
    ports.push_back(port);
  }
  return echo_main(ports);
}

}  // namespace
}  // namespace runtime

bool is_supervisor(int argc, char** argv) {
  if (argc < 1) return false;
  const std::string_view name = argv[0];
  return name == runtime::kSupervisorProgram || name == runtime::kEchoProgram ||
         name == kSocketKeeperProgram;
}

int supervisor_main(int argc, char** argv) {
  const std::string_view name = argv[0];
  if (name == runtime::kEchoProgram) return runtime::echo(argc, argv);
  if (name == kSocketKeeperProgram) return socket_keeper_main(argc, argv);
  return runtime::supervise();
}

}  // namespace coracle
