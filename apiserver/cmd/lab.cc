// `coracle lab ...`: nodes are network namespaces of this machine, each running the same code as on
// a real host.
#include <coracle/lab.h>
#include <coracle/pod_exec.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "commands.h"

namespace coracle {
namespace {

constexpr auto kReadyTimeout = std::chrono::seconds(60);

std::string lab_dir(const std::string& name) {
  return "/var/lib/coracle/lab/" + name;
}

void say(const std::string& text) {
  std::cout << "lab: " << text << std::endl;
}

// Receives READY=1 from the node that is being started.
class ReadySocket {
 public:
  static Result<ReadySocket> create(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path))
      return Error{Code::BadRequest, path + " is too long for a socket"};
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    (void)unlink(path.c_str());
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return Error::from_errno(errno, "socket");
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      const int error = errno;
      close(fd);
      return Error::from_errno(error, path);
    }
    return ReadySocket(fd, path);
  }
  ReadySocket(ReadySocket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  ReadySocket(const ReadySocket&) = delete;
  ReadySocket& operator=(const ReadySocket&) = delete;
  ReadySocket& operator=(ReadySocket&&) = delete;
  ~ReadySocket() {
    if (fd_ < 0) return;
    close(fd_);
    (void)unlink(path_.c_str());
  }

  // Until the process says it is ready, ends, or the deadline passes.
  Result<void> wait(pid_t pid, const std::string& log) {
    const int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (process < 0) return Error{Code::Unavailable, "it ended at once; see " + log};
    auto result = wait_fd(process, log);
    close(process);
    return result;
  }

 private:
  ReadySocket(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  Result<void> wait_fd(int process, const std::string& log) {
    const auto deadline = std::chrono::steady_clock::now() + kReadyTimeout;
    for (;;) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) return Error{Code::Timeout, "not ready in time; see " + log};
      pollfd polled[2] = {{fd_, POLLIN, 0}, {process, POLLIN, 0}};
      if (poll(polled, 2, static_cast<int>(left.count())) < 0 && errno != EINTR)
        return Error::from_errno(errno, "poll");
      if ((polled[0].revents & POLLIN) != 0) {
        char buffer[256];
        const auto size = recv(fd_, buffer, sizeof(buffer), 0);
        if (size > 0 && std::string_view(buffer, static_cast<std::size_t>(size)).find("READY=1") !=
                            std::string_view::npos)
          return {};
      }
      if ((polled[1].revents & POLLIN) != 0)
        return Error{Code::Unavailable, "it ended; see " + log};
    }
  }

  int fd_;
  std::string path_;
};

Result<std::string> own_executable() {
  std::error_code error;
  auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return Error{Code::Internal, "/proc/self/exe: " + error.message()};
  return path.string();
}

Result<void> check_flags(const LabFlags& flags) {
  if (geteuid() != 0)
    return Error{Code::Forbidden, "a lab makes network namespaces: run it as root"};
  if (flags.nodes != 1)
    return Error{Code::BadRequest,
                 "--nodes " + std::to_string(flags.nodes) + " is not built; these work: 1"};
  return {};
}

Result<void> start_node(const LabPlan& plan, const LabNode& node) {
  const std::string log = lab_dir(plan.name) + "/" + node.name + ".log";
  const std::string executable = TRY(own_executable());
  auto ready = TRY(ReadySocket::create(lab_dir(plan.name) + "/ready.sock"));
  (void)setenv("NOTIFY_SOCKET", (lab_dir(plan.name) + "/ready.sock").c_str(),
               1);  // NOLINT(concurrency-mt-unsafe)
  const std::vector<std::string> argv = {
      executable,    "server",  "--data-dir", lab_data_dir(plan.name, node.name),
      "--node-name", node.name, "--node-ip",  node.ip.to_string()};
  const pid_t pid = TRY(lab_start_node(plan, node, argv, log));
  auto waited = ready.wait(pid, log);
  if (!waited) return waited.error().context(node.name);
  return {};
}

Result<void> bring_up(const LabFlags& flags) {
  TRY(check_flags(flags));
  const LabPlan plan = TRY(lab_plan(flags.name, flags.nodes));
  std::error_code error;
  std::filesystem::create_directories(lab_dir(flags.name), error);
  if (error) return Error{Code::Internal, lab_dir(flags.name) + ": " + error.message()};
  (void)chmod(lab_dir(flags.name).c_str(), 0700);
  say("network " + plan.subnet.to_string() + " on bridge " + plan.bridge + ", this machine is " +
      plan.gateway.to_string());
  TRY(lab_network_up(plan, say));
  for (const LabNode& node : plan.nodes) {
    if (lab_node_running(plan, node)) {
      say(node.name + " runs already at " + node.ip.to_string());
      continue;
    }
    say("starting " + node.name + " at " + node.ip.to_string());
    TRY(start_node(plan, node));
    say(node.name + " is Ready");
  }
  say("kubeconfig " + lab_data_dir(plan.name, plan.nodes.front().name) + "/kubeconfig");
  return {};
}

Result<void> take_down(const LabFlags& flags) {
  if (geteuid() != 0) return Error{Code::Forbidden, "run it as root"};
  const LabPlan plan = TRY(lab_plan(flags.name, flags.nodes));
  const std::string executable = TRY(own_executable());
  std::string problems;
  for (const std::string& node : lab_existing_nodes(flags.name)) {
    say("stopping " + node);
    if (auto stopped = lab_stop_node(flags.name, node); !stopped)
      problems += stopped.error().message + "; ";
    const auto code =
        lab_exec(node, {executable, "uninstall", "--data-dir", lab_data_dir(flags.name, node)});
    if (!code && !is_not_found(code.error())) problems += code.error().message + "; ";
    if (code && *code != 0) problems += "uninstall of " + node + " failed; ";
  }
  if (auto down = lab_network_down(flags.name, say); !down) problems += down.error().message;
  std::error_code error;
  std::filesystem::remove_all(lab_dir(flags.name), error);
  std::filesystem::remove("/var/lib/coracle/lab", error);  // only when empty
  std::filesystem::remove("/var/lib/coracle", error);
  if (!problems.empty()) return Error{Code::Internal, problems};
  say(flags.name + " is gone");
  return {};
}

std::string first_node(const LabFlags& flags) {
  return flags.name + "-node-1";
}

Result<std::string> pod_uid(const LabFlags& flags, const std::string& pod) {
  const auto slash = pod.find('/');
  const ObjectKey key = slash == std::string::npos
                            ? ObjectKey{"default", pod}
                            : ObjectKey{pod.substr(0, slash), pod.substr(slash + 1)};
  auto client = TRY(admin_client(lab_data_dir(flags.name, first_node(flags))));
  return TRY(client->get(resources::kPods, key)).uid();
}

}  // namespace

std::string lab_data_dir(const std::string& lab, const std::string& node) {
  return lab_dir(lab) + "/" + node;
}

int lab_up(const LabFlags& flags) {
  const auto up = bring_up(flags);
  return up ? 0 : fail(up.error());
}

int lab_down(const LabFlags& flags) {
  const auto down = take_down(flags);
  return down ? 0 : fail(down.error());
}

int lab_status(const LabFlags& flags) {
  const auto plan = lab_plan(flags.name, flags.nodes);
  if (!plan) return fail(plan.error());
  if (lab_existing_nodes(flags.name).empty())
    return fail({Code::NotFound, "there is no lab " + flags.name + "; `coracle lab up` makes one"});
  for (const LabNode& node : plan->nodes)
    std::cout << node.name << "  " << node.ip.to_string() << "  "
              << (lab_node_running(*plan, node) ? "running" : "stopped") << "\n";
  return print_status(lab_data_dir(flags.name, first_node(flags)));
}

int lab_kubeconfig(const LabFlags& flags) {
  const std::string path = lab_data_dir(flags.name, first_node(flags)) + "/kubeconfig";
  if (access(path.c_str(), R_OK) != 0)
    return fail({Code::NotFound, "there is no lab " + flags.name + "; `coracle lab up` makes one"});
  std::cout << path << "\n";
  return 0;
}

int lab_url(const LabFlags& flags, const std::string& ns, const std::string& service) {
  return print_url(lab_data_dir(flags.name, first_node(flags)), ns, service);
}

int lab_exec_command(const LabFlags& flags, const std::string& node, const std::string& pod,
                     const std::vector<std::string>& argv) {
  if (!pod.empty()) {
    const auto uid = pod_uid(flags, pod);
    if (!uid) return fail(uid.error());
    const auto code = pod_exec(lab_data_dir(flags.name, node) + "/pods", *uid, "", argv);
    return code ? *code : fail(code.error());
  }
  const auto code = lab_exec(node, argv);
  return code ? *code : fail(code.error());
}

}  // namespace coracle
