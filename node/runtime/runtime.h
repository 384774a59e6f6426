// Runtime: what runs Pods' processes on this node. Sandboxes and containers outlive the agent; a
// Runtime finds those of an earlier agent again. Thread-safe.
#pragma once

#include <coracle/clock.h>
#include <coracle/result.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "netns.h"
#include "runtime/privileges.h"
#include "runtime/volume.h"

namespace coracle {

struct SandboxSpec {
  std::string pod_uid, ns, name;
  std::string hostname;
  bool host_network = false;
  std::vector<Volume> volumes = {};
  bool share_processes = false;  // all containers in one pid namespace
  bool operator==(const SandboxSpec&) const = default;
};

// What a container may use; 0: nothing said.
struct ResourceLimits {
  std::int64_t cpu_millis = 0;          // at most
  std::int64_t memory_bytes = 0;        // at most; what it writes to its root counts too
  std::int64_t cpu_request_millis = 0;  // its share when processors are scarce
  std::int64_t pod_cpu_request_millis = 0;
  std::int64_t pod_pids = 0;  // processes and threads of the whole Pod at most
  bool operator==(const ResourceLimits&) const = default;
};

struct ContainerSpec {
  std::string name;
  std::string image;                       // "coracle/echo", "coracle/host"; a tag is ignored
  std::vector<std::string> command, args;  // as executed: variables already expanded
  std::vector<std::pair<std::string, std::string>> env;
  std::string working_dir;           // "" = "/"
  std::vector<std::uint16_t> ports;  // declared containerPorts: where coracle/echo listens
  int restart_count = 0;
  int oom_score_adj = 0;  // see proc(5); of what is executed in it later, too
  std::string termination_message_path = "/dev/termination-log";
  // Of a container that failed without a message there, its log's last lines are the message.
  bool message_from_log = false;
  std::vector<VolumeMount> mounts = {};  // of the sandbox's volumes
  Privileges privileges;
  ResourceLimits limits;
};

struct ContainerState {
  enum class Status { Running, Exited };
  std::string name, id;  // id: 64 hexadecimal digits, new with every start
  std::string image;
  Status status = Status::Running;
  int restart_count = 0;
  pid_t pid = 0;      // in the node's pid namespace, 0 when exited
  int exit_code = 0;  // 128 + signal when killed by one
  int signal = 0;
  std::chrono::system_clock::time_point started_at, finished_at;
  std::string message;              // why it could not be started (exit code 127 or 128)
  std::string termination_message;  // what it left to be told when it ended: 4 KiB at most, UTF-8
  bool out_of_memory = false;       // the kernel ended a process of it at its memory limit
  bool operator==(const ContainerState&) const = default;
};

struct SandboxState {
  SandboxSpec spec;
  bool alive = false;  // its supervisor runs; when false its processes are gone and exit codes lost
  std::chrono::system_clock::time_point created_at;
  std::vector<ContainerState> containers;  // the latest of each name, in order of first start
};

class Runtime {
 public:
  virtual ~Runtime() = default;  // leaves everything running

  // Why the image cannot be run, or success. The message is for the Pod's status.
  virtual Result<void> check_image(const std::string& image) const = 0;

  // Makes ready what the node gives to the volume: a Disk volume's directory; what a Host volume
  // names, where its type says that it is made, and checked against that type. The error is for the
  // Pod's author. Success when it is ready already; before the sandbox is there.
  virtual Result<void> prepare_volume(const std::string& pod_uid, const Volume& volume) = 0;
  // Contents of a Memory volume that no container writes; running containers see the old or the
  // new. Written only where they are others. NotFound when the sandbox does not live or has no such
  // volume.
  virtual Result<void> write_volume(const std::string& pod_uid, const std::string& volume,
                                    const VolumeFiles& files) = 0;
  // Whether it ever was written in this sandbox.
  virtual bool volume_written(const std::string& pod_uid, const std::string& volume) const = 0;

  // A new sandbox: supervisor, namespaces, root. Success when it exists already and lives.
  virtual Result<void> create_sandbox(const SandboxSpec& spec) = 0;
  // Its network namespace, to be connected. NotFound.
  virtual Result<NetNs> network_namespace(const std::string& pod_uid) const = 0;
  // Contents of /etc/hosts and /etc/resolv.conf of all containers, also of running ones. NotFound
  // when the sandbox does not live.
  virtual Result<void> write_etc(const std::string& pod_uid, const std::string& hosts,
                                 const std::string& resolv_conf) = 0;
  // Starts (again) the container of that name. Unavailable when one of that name runs.
  virtual Result<ContainerState> start_container(const std::string& pod_uid,
                                                 const ContainerSpec& spec) = 0;
  // Sends the signal to the container's first process; success when it has exited. SIGKILL ends all
  // of its processes.
  virtual Result<void> signal_container(const std::string& pod_uid, const std::string& container,
                                        int signal) = 0;
  struct ExecResult {
    int exit_code = 0;
    std::string output;  // stdout and stderr, at most 10 KiB
  };
  // Timeout: it was killed.
  virtual Result<ExecResult> exec(const std::string& pod_uid, const std::string& container,
                                  const std::vector<std::string>& argv,
                                  std::chrono::milliseconds timeout) = 0;
  // As exec(), and ended (Unavailable) as soon as `cancel` can be read.
  virtual Result<ExecResult> exec_until(const std::string& pod_uid, const std::string& container,
                                        const std::vector<std::string>& argv,
                                        std::chrono::milliseconds timeout, int cancel) {
    (void)cancel;
    return exec(pod_uid, container, argv, timeout);
  }
  // Why limits of that resource ("cpu", "memory") have no effect here; "" when they have.
  virtual std::string limit_problem(const std::string& resource) const {
    (void)resource;
    return "";
  }
  // NotFound.
  virtual Result<SandboxState> state(const std::string& pod_uid) const = 0;
  // All there are, also those of earlier agents and half-made ones, and what has only volumes.
  virtual Result<std::vector<SandboxState>> list() const = 0;
  // Kills what runs, removes mounts, namespaces, files, logs and volumes. Success when it is gone
  // already.
  virtual Result<void> remove_sandbox(const std::string& pod_uid) = 0;
  // As remove_sandbox, but Disk volumes stay for the next.
  virtual Result<void> reset_sandbox(const std::string& pod_uid) = 0;
  // Called with the Pod's uid soon after any of its containers or its supervisor ended, from a
  // thread of the runtime's. REQUIRES: set before the first sandbox.
  virtual void on_change(std::function<void(const std::string& pod_uid)> f) = 0;
};

struct ProcessRuntimeOptions {
  std::string data_dir;  // sandboxes live in <data_dir>/pods/<uid>, volumes beside
  std::vector<std::string> hidden_paths = {};  // besides those never visible in a Pod
  // Processes and threads that a Pod may have at a time, where there are cgroups that count them;
  // 0: no limit. What it starts beyond fails, and not what the node starts.
  std::int64_t pod_max_pids = 4096;
};
// The runtime "process"; see process_runtime.cc.
Result<std::unique_ptr<Runtime>> make_process_runtime(const ProcessRuntimeOptions& options,
                                                      const Clock& clock);

}  // namespace coracle
