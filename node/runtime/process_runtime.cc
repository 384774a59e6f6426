#include "runtime/process_runtime.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "runtime/etc_files.h"
#include "runtime/exec.h"
#include "runtime/images.h"
#include "runtime/rootfs.h"
#include "runtime/supervisor_client.h"

namespace coracle::runtime {
namespace {

using namespace std::chrono_literals;

constexpr auto kOrderPatience = 20s;

std::string new_id() {
  unsigned char bytes[32];
  if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) std::abort();  // not for so few
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const unsigned byte : bytes) (out += kHex[byte >> 4U]) += kHex[byte & 15U];
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

// What is not there has none.
std::vector<std::string> lines_of(int dir, const char* file) {
  std::vector<std::string> out;
  const auto text = read_file(dir, file);
  std::istringstream in(text ? *text : "");
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

}  // namespace

bool plain_name(const std::string& text) {
  return !text.empty() && text.size() <= 253 && text[0] != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_';
         });
}

Result<std::unique_ptr<Runtime>> ProcessRuntime::create(const ProcessRuntimeOptions& options) {
  for (const char* name : {"/pods", "/volumes"}) {
    const std::string path = options.data_dir + name;
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) return Error{Code::Internal, path + ": " + error.message()};
    if (chmod(path.c_str(), 0700) != 0) return Error::from_errno(errno, path);
  }
  std::vector<std::string> hidden = {options.data_dir};
  hidden.insert(hidden.end(), options.hidden_paths.begin(), options.hidden_paths.end());
  Fd executable = TRY(open_executable());
  Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  Fd wake(eventfd(0, EFD_CLOEXEC));
  if (!epoll.valid() || !wake.valid()) return Error::from_errno(errno, "event loop");
  return std::unique_ptr<Runtime>(new ProcessRuntime(
      options, std::move(hidden), std::move(executable), std::move(epoll), std::move(wake)));
}

ProcessRuntime::ProcessRuntime(const ProcessRuntimeOptions& options,
                               std::vector<std::string> hidden, Fd executable, Fd epoll, Fd wake)
    : pods_dir_(options.data_dir + "/pods"),
      volumes_dir_(options.data_dir + "/volumes"),
      hidden_(std::move(hidden)),
      pod_max_pids_(options.pod_max_pids),
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
  return check_builtin_image(image);
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
  for (const char* name : {"/containers", "/mnt"}) {
    std::filesystem::create_directories(path + name, error);
    if (error) return Error{Code::Internal, path + name + ": " + error.message()};
  }
  if (chmod(path.c_str(), 0700) != 0) return Error::from_errno(errno, path);
  const Fd dir = TRY(open_dir(path));
  return write_file(dir.get(), "sandbox", encode(spec));
}

Result<void> ProcessRuntime::create_sandbox(const SandboxSpec& spec) {
  if (const auto dir = sandbox_dir(spec.pod_uid); dir && supervisor_pid(dir->get())) {
    follow(spec.pod_uid);
    return {};
  }
  TRY(prepare_files(spec));
  const Fd dir = TRY(sandbox_dir(spec.pod_uid));
  const auto launched = launch_supervisor(dir.get(), executable_.get(), spec.ns + "/" + spec.name,
                                          pods_dir_ + "/" + spec.pod_uid);
  // Another thread may have been faster.
  if (!launched && !supervisor_pid(dir.get())) return launched.error();
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
  const auto pid = supervisor_pid(dir.get());
  if (!pid) return Error{Code::NotFound, "the sandbox of Pod " + pod_uid + " does not live"};
  const SandboxSpec spec = TRY(decode_sandbox(TRY(read_file(dir.get(), "sandbox"))));
  return runtime::write_etc(
      dir.get(), *pid,
      {.hosts = hosts, .resolv_conf = resolv_conf, .hostname = spec.hostname + "\n"});
}

Result<ContainerState> ProcessRuntime::start_container(const std::string& pod_uid,
                                                       const ContainerSpec& spec) {
  if (!plain_name(spec.name)) return Error{Code::BadRequest, "container name " + spec.name};
  StartSpec start;
  start.argv = TRY(compute_argv(spec));
  const Fd dir = TRY(sandbox_dir(pod_uid));
  start.id = new_id();
  start.image = spec.image;
  start.restart_count = spec.restart_count;
  start.working_dir = spec.working_dir;
  start.oom_score_adj = spec.oom_score_adj;
  start.termination_message_path = spec.termination_message_path.starts_with("/")
                                       ? spec.termination_message_path
                                       : "/" + spec.termination_message_path;
  start.message_from_log = spec.message_from_log;
  start.privileges = spec.privileges;
  start.share_processes = TRY(decode_sandbox(TRY(read_file(dir.get(), "sandbox")))).share_processes;
  TRY(limit(dir.get(), pod_uid, spec, start));
  for (const auto& [name, value] : spec.env) {
    std::string entry = name;
    entry.append("=").append(value);
    start.env.push_back(std::move(entry));
  }
  start.mounts = TRY(start_mounts(dir.get(), pod_uid, spec.mounts));
  start.node_data = hidden_;
  start.node_data.emplace_back("/var/lib/coracle");
  start.hidden = always_hidden();
  start.hidden.insert(start.hidden.end(), hidden_.begin(), hidden_.end());
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

// What is made is written down before: whoever removes the sandbox finds it.
Result<void> ProcessRuntime::limit(int dir, const std::string& pod_uid, const ContainerSpec& spec,
                                   StartSpec& start) const {
  ResourceLimits limits = spec.limits;
  limits.pod_pids = pod_max_pids_;
  const CgroupPlan plan = plan_cgroups(cgroups_, pod_uid, spec.name, limits);
  std::vector<std::string> known = lines_of(dir, "cgroups");
  const std::size_t before = known.size();
  for (const std::string& path : plan.pod_dirs)
    if (std::find(known.begin(), known.end(), path) == known.end()) known.push_back(path);
  std::string lines;
  for (const std::string& path : known) lines += path + "\n";
  if (known.size() != before) TRY(write_file(dir, "cgroups", lines));
  TRY(make_cgroups(plan));
  start.cgroups = plan.joins;
  start.memory_cgroup = plan.memory;
  return {};
}

std::string ProcessRuntime::limit_problem(const std::string& resource) const {
  if (cgroups_.find(resource) != nullptr) return "";
  return "this machine has no cgroup hierarchy with the controller \"" + resource +
         "\" that the agent can write";
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
  return run_in(TRY(find_target(pods_dir_, pod_uid, container)), argv, timeout);
}

Result<Runtime::ExecResult> ProcessRuntime::exec_until(const std::string& pod_uid,
                                                       const std::string& container,
                                                       const std::vector<std::string>& argv,
                                                       std::chrono::milliseconds timeout,
                                                       int cancel) {
  return run_in(TRY(find_target(pods_dir_, pod_uid, container)), argv, timeout, cancel);
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
    const std::string uid = it->path().filename().string();
    follow(uid);  // before its state is read: what changes after that is told
    auto one = state(uid);
    if (!one) continue;
    out.push_back(std::move(*one));
  }
  for (const std::string& uid : volumes_left()) out.emplace_back().spec.pod_uid = uid;
  if (error) return Error{Code::Internal, pods_dir_ + ": " + error.message()};
  return out;
}

Result<void> ProcessRuntime::reset_sandbox(const std::string& pod_uid) {
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
  TRY(remove_cgroups(lines_of(dir->get(), "cgroups")));
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
