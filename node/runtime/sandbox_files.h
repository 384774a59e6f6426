// What a sandbox keeps on disk, shared by the runtime and the supervisor. Plain text, so that the
// supervisor needs no library:
//   <data>/pods/<uid>/sandbox            the SandboxSpec
//   <data>/pods/<uid>/lock               held by the supervisor while it lives (fcntl)
//   <data>/pods/<uid>/supervisor.sock    where it takes orders
//   <data>/pods/<uid>/cgroups            the Pod's cgroup directories, a line each
//   <data>/pods/<uid>/mnt/               empty: containers put their file systems together on it
//   <data>/pods/<uid>/containers/<name>/{<n>.spec,state,<n>.log,<n>.log.1}
//   <data>/volumes/<uid>/<name>/         a Disk volume: outlives the sandbox
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "runtime/runtime.h"

namespace coracle::runtime {

// A volume of a container's: what of it goes where.
struct StartMount {
  std::string volume;
  Volume::Kind kind = Volume::Kind::Disk;
  std::string source;  // Disk, Host: a path of the node's; Memory: the volume's name
  std::string target;  // absolute
  std::string sub_path;
  bool read_only = false, submounts_read_only = false;
};

// A start of a container, as the supervisor reads it.
struct StartSpec {
  std::string id, image;
  int restart_count = 0;
  int oom_score_adj = 0;
  std::string working_dir;
  std::vector<std::string> argv;  // argv[0] kEchoProgram: this executable
  std::vector<std::string> env;   // NAME=value
  std::vector<std::string> hidden;
  std::string termination_message_path = "/dev/termination-log";  // absolute
  bool message_from_log = false;
  std::vector<StartMount> mounts;      // what lies in another's target after that
  std::vector<std::string> node_data;  // paths of the node's that Host volumes do not show
  Privileges privileges;
  std::vector<std::string> cgroups;  // directories it joins before it runs anything
  std::string memory_cgroup;         // the one that counts what was ended for its memory, or ""
  bool share_processes = false;
};

inline constexpr const char* kSupervisorProgram = "coracle-supervisor";
inline constexpr const char* kEchoProgram = "coracle-echo";

// Fields separated by NUL; values may hold anything else.
std::string encode(const StartSpec& spec);
Result<StartSpec> decode_start(const std::string& text);
std::string encode(const SandboxSpec& spec);
Result<SandboxSpec> decode_sandbox(const std::string& text);
std::string encode(const ContainerState& state);
Result<ContainerState> decode_state(const std::string& text);

// Relative to the directory `dirfd`. write_file replaces the file at once or not at all.
Result<std::string> read_file(int dirfd, const std::string& path);
Result<void> write_file(int dirfd, const std::string& path, const std::string& text);
// Overwrites it where it is, so that a bind mount of it shows the new text.
Result<void> overwrite_file(int dirfd, const std::string& path, const std::string& text);

// The pid of the process that holds `lock` in the sandbox's directory; none when nobody does.
std::optional<pid_t> supervisor_pid(int dirfd);

std::string container_dir(const std::string& container);
// The states of all containers, in order of first start. One whose supervisor is gone is Exited.
std::vector<ContainerState> read_states(int dirfd, bool alive);

// A descriptor that closes itself.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd();
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};
Result<Fd> open_dir(const std::string& path);

}  // namespace coracle::runtime
