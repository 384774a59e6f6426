// `coracle lab ...`: nodes are network namespaces of this machine, each running the same code as on
// a real host.
#include <coracle/files.h>
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

constexpr int kNodes = 3;  // of a new lab
constexpr auto kTokenLife = std::chrono::minutes(10);
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

  const std::string& path() const { return path_; }

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

Result<void> check_root() {
  if (geteuid() != 0)
    return Error{Code::Forbidden, "a lab makes network namespaces: run it as root"};
  return {};
}

int wanted_nodes(const LabFlags& flags) {
  if (flags.nodes != 0) return flags.nodes;
  return lab_existing_nodes(flags.name).empty() ? kNodes : 1;
}

std::string server_url(const LabPlan& plan) {
  return "https://" + plan.nodes.front().ip.to_string() + ":6443";
}

// Kept for the next `up`.
std::string resolv_conf_file(const std::string& lab) {
  return lab_dir(lab) + "/resolv-conf";
}

Result<void> remember_resolv_conf(const LabFlags& flags) {
  if (!flags.resolv_conf) return {};
  std::error_code error;
  const std::string path = flags.resolv_conf->empty()
                               ? ""
                               : std::filesystem::absolute(*flags.resolv_conf, error).string();
  return write_file_atomically(resolv_conf_file(flags.name), path, 0600);
}

// The first node runs the server, the others join it. A node that has joined needs no token.
Result<std::vector<std::string>> command_of(const LabPlan& plan, const LabNode& node,
                                            std::string& token) {
  const bool is_server = node.name == plan.nodes.front().name;
  const std::string data_dir = lab_data_dir(plan.name, node.name);
  std::vector<std::string> argv = {TRY(own_executable()), is_server ? "server" : "agent",
                                   "--data-dir",          data_dir,
                                   "--node-name",         node.name,
                                   "--node-ip",           node.ip.to_string()};
  if (const auto resolv_conf = read_whole_file(resolv_conf_file(plan.name)))
    argv.insert(argv.end(), {"--resolv-conf", *resolv_conf});
  if (is_server) {
    argv.insert(argv.end(), {"--backend", plan.backend});
    return argv;
  }
  argv.insert(argv.end(), {"--server", server_url(plan)});
  if (access((data_dir + "/agent/credential.json").c_str(), F_OK) == 0) return argv;
  if (token.empty()) {
    const auto admin = TRY(admin_options(lab_data_dir(plan.name, plan.nodes.front().name)));
    const auto client = TRY(make_http_client(admin));
    token = TRY(make_join_token(*client, admin.ca_pem, kTokenLife, "lab " + plan.name));
  }
  argv.insert(argv.end(), {"--token", token});
  return argv;
}

struct Starting {
  std::string node, log;
  pid_t pid = 0;
  ReadySocket ready;
};

Result<Starting> start_node(const LabPlan& plan, const LabNode& node, std::string& token) {
  say("starting " + node.name + " at " + node.ip.to_string());
  const std::string log = lab_dir(plan.name) + "/" + node.name + ".log";
  const auto argv = TRY(command_of(plan, node, token));
  auto ready = TRY(ReadySocket::create(lab_dir(plan.name) + "/" + node.name + ".sock"));
  (void)setenv("NOTIFY_SOCKET", ready.path().c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  const pid_t pid = TRY(lab_start_node(plan, node, argv, log));
  return Starting{node.name, log, pid, std::move(ready)};
}

Result<void> await_node(Starting& node) {
  auto waited = node.ready.wait(node.pid, node.log);
  if (!waited) return waited.error().context(node.node);
  say(node.node + " is Ready");
  return {};
}

// Those that are missing: the server first, then all others at once.
Result<void> start_nodes(const LabPlan& plan) {
  std::string token;
  std::vector<Starting> starting;
  for (const LabNode& node : plan.nodes) {
    if (lab_node_running(plan, node)) {
      say(node.name + " runs already at " + node.ip.to_string());
      continue;
    }
    starting.push_back(TRY(start_node(plan, node, token)));
    if (node.name != plan.nodes.front().name) continue;
    TRY(await_node(starting.back()));
    starting.clear();
  }
  for (Starting& node : starting) TRY(await_node(node));
  return {};
}

Result<void> bring_up(const LabFlags& flags) {
  TRY(check_root());
  const LabPlan plan = TRY(lab_plan(flags.name, wanted_nodes(flags), flags.backend));
  std::error_code error;
  std::filesystem::create_directories(lab_dir(flags.name), error);
  if (error) return Error{Code::Internal, lab_dir(flags.name) + ": " + error.message()};
  (void)chmod(lab_dir(flags.name).c_str(), 0700);
  say("network " + plan.subnet.to_string() + " on bridge " + plan.bridge + ", this machine is " +
      plan.gateway.to_string());
  TRY(remember_resolv_conf(flags));
  TRY(lab_network_up(plan, say));
  TRY(start_nodes(plan));
  say("in Pods, Services have names: http://SERVICE.NAMESPACE.svc.cluster.local");
  say("kubeconfig " + lab_data_dir(plan.name, plan.nodes.front().name) + "/kubeconfig");
  return {};
}

Result<void> take_down(const LabFlags& flags) {
  if (geteuid() != 0) return Error{Code::Forbidden, "run it as root"};
  TRY(lab_plan(flags.name, wanted_nodes(flags)));
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

// The lab's kubeconfig names the server by its address.
Result<void> follow_server(const LabFlags& flags, const LabMove& move) {
  const std::string path = lab_data_dir(flags.name, first_node(flags)) + "/kubeconfig";
  std::string text = TRY(read_whole_file(path));
  const std::string from = "https://" + move.from.to_string() + ":";
  const auto at = text.find(from);
  if (at == std::string::npos) return {};
  text.replace(at, from.size(), "https://" + move.to.to_string() + ":");
  return write_file_atomically(path, text, 0600);
}

Result<void> make_fault(const LabFlags& flags, const std::string& fault, const std::string& text) {
  if (geteuid() != 0) return Error{Code::Forbidden, "run it as root"};
  const std::string node = TRY(lab_find_node(flags.name, text)).name;
  if (fault == "cut") return lab_cut(flags.name, node);
  if (fault == "heal") return lab_heal(flags.name, node);
  if (fault == "flush") return lab_flush(flags.name, node);
  if (fault == "power-cut") return lab_power_cut(flags.name, node, lab_data_dir(flags.name, node));
  const LabMove move = TRY(lab_move(flags.name, node));
  say(node + " moved from " + move.from.to_string() + " to " + move.to.to_string());
  return node == first_node(flags) ? follow_server(flags, move) : Result<void>();
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
  const auto plan = lab_plan(flags.name, wanted_nodes(flags));
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

int lab_fault(const LabFlags& flags, const std::string& fault, const std::string& node) {
  const auto done = make_fault(flags, fault, node);
  return done ? 0 : fail(done.error());
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
