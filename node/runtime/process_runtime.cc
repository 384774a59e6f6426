#include "runtime/process_runtime.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <random>

#include "runtime/exec.h"
#include "runtime/rootfs.h"
#include "runtime/supervisor_client.h"

namespace coracle::runtime {
namespace {

using namespace std::chrono_literals;

constexpr auto kOrderPatience = 20s;
constexpr std::size_t kMaxExecOutput = std::size_t{10} << 10U;

std::string image_name(const std::string& image) {
  const auto tag = image.find_first_of(":@");
  return image.substr(0, tag);
}

std::string new_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (int i = 0; i < 64; ++i) out += kHex[random() % 16];
  return out;
}

// This executable, on a read-only mount of its own: a root process in a Pod that finds it below
// /proc cannot write it.
Result<Fd> open_executable() {
  constexpr unsigned kOpenTreeClone = 1;
  const Fd tree(static_cast<int>(
      syscall(SYS_open_tree, AT_FDCWD, "/proc/self/exe", kOpenTreeClone | O_CLOEXEC)));
  if (tree.valid()) {
    mount_attr attributes = {};
    attributes.attr_set = MOUNT_ATTR_RDONLY;
    (void)syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes,
                  sizeof(attributes));
  }
  const std::string path =
      tree.valid() ? "/proc/self/fd/" + std::to_string(tree.get()) : "/proc/self/exe";
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Error::from_errno(errno, "this executable");
  return fd;
}

std::vector<std::string> argv_of(const ContainerSpec& spec) {
  std::vector<std::string> out = spec.command;
  if (!out.empty() || image_name(spec.image) == "coracle/host") {
    out.insert(out.end(), spec.args.begin(), spec.args.end());
    return out;
  }
  out.emplace_back(kEchoProgram);
  for (const auto& [name, value] : spec.env)
    if (name == "PORT" && !value.empty()) return {kEchoProgram, value};
  for (const std::uint16_t port : spec.ports) out.push_back(std::to_string(port));
  if (spec.ports.empty()) out.emplace_back("8080");
  return out;
}

bool plain_name(const std::string& text) {
  return !text.empty() && text.size() <= 253 && text[0] != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_';
         });
}

// Reads until the end, the limit (then it reads on and drops) or the deadline (Timeout).
Result<std::string> collect(int fd, std::chrono::steady_clock::time_point deadline) {
  std::string out;
  char buffer[4096];
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Error{Code::Timeout, "command timed out"};
    pollfd wait = {fd, POLLIN, 0};
    const int polled = poll(&wait, 1, static_cast<int>(left.count()));
    if (polled < 0 && errno != EINTR) return Error::from_errno(errno, "poll");
    if (polled <= 0) continue;
    const ssize_t size = read(fd, buffer, sizeof(buffer));
    if (size <= 0) return out;
    out.append(buffer, std::min(static_cast<std::size_t>(size), kMaxExecOutput - out.size()));
  }
}

}  // namespace

Result<std::unique_ptr<Runtime>> ProcessRuntime::create(const ProcessRuntimeOptions& options) {
  const std::string pods = options.data_dir + "/pods";
  std::error_code error;
  std::filesystem::create_directories(pods, error);
  if (error) return Error{Code::Internal, pods + ": " + error.message()};
  if (chmod(pods.c_str(), 0700) != 0) return Error::from_errno(errno, pods);
  std::vector<std::string> hidden = always_hidden();
  hidden.push_back(options.data_dir);
  hidden.insert(hidden.end(), options.hidden_paths.begin(), options.hidden_paths.end());
  Fd executable = TRY(open_executable());
  Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  Fd wake(eventfd(0, EFD_CLOEXEC));
  if (!epoll.valid() || !wake.valid()) return Error::from_errno(errno, "event loop");
  return std::unique_ptr<Runtime>(new ProcessRuntime(pods, std::move(hidden), std::move(executable),
                                                     std::move(epoll), std::move(wake)));
}

ProcessRuntime::ProcessRuntime(std::string pods_dir, std::vector<std::string> hidden, Fd executable,
                               Fd epoll, Fd wake)
    : pods_dir_(std::move(pods_dir)),
      hidden_(std::move(hidden)),
      executable_(std::move(executable)),
      epoll_(std::move(epoll)),
      wake_(std::move(wake)),
      thread_([this](const std::stop_token& stop) { watch(stop); }) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = wake_.get();
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
}

ProcessRuntime::~ProcessRuntime() {
  thread_.request_stop();
  const std::uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
  thread_.join();
}

Result<void> ProcessRuntime::check_image(const std::string& image) const {
  const std::string name = image_name(image);
  if (name == "coracle/echo" || name == "coracle/host") return {};
  return Error{Code::NotFound, "the runtime \"process\" cannot run image \"" + image +
                                   "\": it has coracle/echo and coracle/host only"};
}

Result<Fd> ProcessRuntime::sandbox_dir(const std::string& pod_uid) const {
  if (!plain_name(pod_uid)) return Error{Code::BadRequest, "\"" + pod_uid + "\" is no Pod's uid"};
  auto dir = open_dir(pods_dir_ + "/" + pod_uid);
  if (!dir) return Error{Code::NotFound, "no sandbox of Pod " + pod_uid};
  return dir;
}

Result<void> ProcessRuntime::prepare_files(const SandboxSpec& spec) {
  if (!plain_name(spec.pod_uid))
    return Error{Code::BadRequest, "\"" + spec.pod_uid + "\" is no Pod's uid"};
  const std::string path = pods_dir_ + "/" + spec.pod_uid;
  std::error_code error;
  for (const char* name : {"/etc", "/containers", "/mnt"}) {
    std::filesystem::create_directories(path + name, error);
    if (error) return Error{Code::Internal, path + name + ": " + error.message()};
  }
  if (chmod(path.c_str(), 0700) != 0) return Error::from_errno(errno, path);
  const Fd dir = TRY(open_dir(path));
  TRY(overwrite_file(dir.get(), "etc/hostname", spec.hostname + "\n"));
  for (const char* name : {"etc/hosts", "etc/resolv.conf"})
    if (faccessat(dir.get(), name, F_OK, 0) != 0) TRY(overwrite_file(dir.get(), name, ""));
  return write_file(dir.get(), "sandbox", encode(spec));
}

Result<void> ProcessRuntime::create_sandbox(const SandboxSpec& spec) {
  if (const auto dir = sandbox_dir(spec.pod_uid); dir && supervisor_pid(dir->get())) {
    follow(spec.pod_uid);
    return {};
  }
  TRY(prepare_files(spec));
  const Fd dir = TRY(sandbox_dir(spec.pod_uid));
  TRY(launch_supervisor(dir.get(), executable_.get(), spec.ns + "/" + spec.name,
                        pods_dir_ + "/" + spec.pod_uid));
  follow(spec.pod_uid);
  return {};
}

Result<NetNs> ProcessRuntime::network_namespace(const std::string& pod_uid) const {
  const Fd dir = TRY(sandbox_dir(pod_uid));
  const auto pid = supervisor_pid(dir.get());
  if (!pid) return Error{Code::NotFound, "the sandbox of Pod " + pod_uid + " does not live"};
  return NetNs::of_pid(*pid);
}

Result<void> ProcessRuntime::write_etc(const std::string& pod_uid, const std::string& hosts,
                                       const std::string& resolv_conf) {
  const Fd dir = TRY(sandbox_dir(pod_uid));
  TRY(overwrite_file(dir.get(), "etc/hosts", hosts));
  return overwrite_file(dir.get(), "etc/resolv.conf", resolv_conf);
}

Result<ContainerState> ProcessRuntime::start_container(const std::string& pod_uid,
                                                       const ContainerSpec& spec) {
  TRY(check_image(spec.image));
  if (!plain_name(spec.name)) return Error{Code::BadRequest, "container name " + spec.name};
  StartSpec start;
  start.argv = argv_of(spec);
  if (start.argv.empty())
    return Error{Code::BadRequest, "no command specified: image coracle/host has no entry point"};
  const Fd dir = TRY(sandbox_dir(pod_uid));
  start.id = new_id();
  start.image = spec.image;
  start.restart_count = spec.restart_count;
  start.working_dir = spec.working_dir;
  for (const auto& [name, value] : spec.env) {
    std::string entry = name;
    entry.append("=").append(value);
    start.env.push_back(std::move(entry));
  }
  start.hidden = hidden_;
  const std::string own = container_dir(spec.name);
  if (mkdirat(dir.get(), own.c_str(), 0700) != 0 && errno != EEXIST)
    return Error::from_errno(errno, own);
  const std::string number = std::to_string(spec.restart_count);
  TRY(write_file(dir.get(), own + "/" + number + ".spec", encode(start)));
  // One earlier start's log is kept, as `kubectl logs --previous` shows it.
  if (spec.restart_count > 1)
    for (const char* kind : {".spec", ".log", ".log.1"})
      (void)unlinkat(dir.get(), (own + "/" + std::to_string(spec.restart_count - 2) + kind).c_str(),
                     0);
  const Fd connection = TRY(connect_supervisor(dir.get()));
  TRY(order(connection.get(), "start " + spec.name + " " + number, kOrderPatience));
  return decode_state(TRY(read_file(dir.get(), own + "/state")));
}

Result<void> ProcessRuntime::signal_container(const std::string& pod_uid,
                                              const std::string& container, int signal) {
  const Fd dir = TRY(sandbox_dir(pod_uid));
  const auto connection = connect_supervisor(dir.get());
  if (!connection) return {};  // everything of it has ended
  return order(connection->get(), "signal " + container + " " + std::to_string(signal),
               kOrderPatience);
}

Result<Runtime::ExecResult> ProcessRuntime::exec(const std::string& pod_uid,
                                                 const std::string& container,
                                                 const std::vector<std::string>& argv,
                                                 std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const Target target = TRY(find_target(pods_dir_, pod_uid, container));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  const Fd output(ends[0]);
  Fd write_end(ends[1]);
  const Fd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const pid_t pid = TRY(exec_in(target, argv, null.get(), write_end.get(), write_end.get(), true));
  write_end = Fd();
  const auto collected = collect(output.get(), deadline);
  // The waiting process takes the command with it, and with both gone their session.
  if (!collected) (void)kill(-pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!collected) return collected.error();
  return ExecResult{WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), *collected};
}

Result<SandboxState> ProcessRuntime::state(const std::string& pod_uid) const {
  const Fd dir = TRY(sandbox_dir(pod_uid));
  SandboxState out;
  out.spec.pod_uid = pod_uid;
  // A half-made sandbox has no readable record: it is listed, so that it is removed.
  if (const auto text = read_file(dir.get(), "sandbox"))
    if (auto spec = decode_sandbox(*text)) out.spec = std::move(*spec);
  struct stat info = {};
  if (fstatat(dir.get(), "sandbox", &info, 0) == 0)
    out.created_at = std::chrono::system_clock::from_time_t(info.st_mtime);
  out.alive = supervisor_pid(dir.get()).has_value();
  out.containers = read_states(dir.get(), out.alive);
  return out;
}

Result<std::vector<SandboxState>> ProcessRuntime::list() const {
  std::vector<SandboxState> out;
  std::error_code error;
  for (std::filesystem::directory_iterator it(pods_dir_, error), end; !error && it != end;
       it.increment(error)) {
    auto one = state(it->path().filename().string());
    if (!one) continue;
    if (one->alive) follow(one->spec.pod_uid);
    out.push_back(std::move(*one));
  }
  if (error) return Error{Code::Internal, pods_dir_ + ": " + error.message()};
  return out;
}

Result<void> ProcessRuntime::remove_sandbox(const std::string& pod_uid) {
  forget(pod_uid);
  const auto dir = sandbox_dir(pod_uid);
  if (!dir) {
    if (is_not_found(dir.error())) return {};
    return dir.error();
  }
  if (const auto connection = connect_supervisor(dir->get()))
    (void)order(connection->get(), "quit", 5s);
  if (const auto pid = supervisor_pid(dir->get())) {
    // It does not listen: its death takes its containers along.
    const Fd process(static_cast<int>(syscall(SYS_pidfd_open, *pid, 0)));
    if (process.valid() && supervisor_pid(dir->get()) == pid) {
      (void)syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
      pollfd wait = {process.get(), POLLIN, 0};
      (void)poll(&wait, 1, 5'000);
    }
  }
  if (supervisor_pid(dir->get()))
    return Error{Code::Internal, "the supervisor of Pod " + pod_uid + " does not end"};
  std::error_code error;
  std::filesystem::remove_all(pods_dir_ + "/" + pod_uid, error);
  if (error)
    return Error{Code::Internal, "removing " + pods_dir_ + "/" + pod_uid + ": " + error.message()};
  return {};
}

void ProcessRuntime::on_change(std::function<void(const std::string& pod_uid)> f) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(f);
}

// Listens to the sandbox's supervisor from now on.
void ProcessRuntime::follow(const std::string& pod_uid) const {
  const std::lock_guard lock(mutex_);
  if (watched_.contains(pod_uid)) return;
  const auto dir = sandbox_dir(pod_uid);
  if (!dir) return;
  auto connection = connect_supervisor(dir->get());
  if (!connection || !order(connection->get(), "watch", kOrderPatience)) return;
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLRDHUP;
  event.data.fd = connection->get();
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection->get(), &event) == 0)
    watched_[pod_uid] = std::move(*connection);
}

void ProcessRuntime::forget(const std::string& pod_uid) {
  const std::lock_guard lock(mutex_);
  watched_.erase(pod_uid);  // closing takes it out of the event loop
}

void ProcessRuntime::watch(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    epoll_event events[16];
    const int count = epoll_wait(epoll_.get(), events, 16, -1);
    for (int i = 0; i < count && !stop.stop_requested(); ++i)
      if (events[i].data.fd != wake_.get()) heard(events[i].data.fd);
  }
}

void ProcessRuntime::heard(int fd) {
  std::string uid;
  {
    const std::lock_guard lock(mutex_);
    const auto it = std::find_if(watched_.begin(), watched_.end(),
                                 [&](const auto& w) { return w.second.get() == fd; });
    if (it == watched_.end()) return;
    uid = it->first;
    char packet[64];
    const ssize_t size = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) watched_.erase(it);  // the supervisor ended
  }
  const std::lock_guard lock(listener_mutex_);
  if (listener_) listener_(uid);
}

}  // namespace coracle::runtime

namespace coracle {

Result<std::unique_ptr<Runtime>> make_process_runtime(const ProcessRuntimeOptions& options,
                                                      const Clock&) {
  return runtime::ProcessRuntime::create(options);
}

}  // namespace coracle
