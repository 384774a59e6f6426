// Runs commands inside running containers.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

// A running container, held so that its pid cannot be reused under us.
struct Target {
  Fd pidfd;
  std::vector<std::string> env;
  std::string working_dir;
  int oom_score_adj = 0;
  Privileges privileges;
  std::vector<Fd> cgroups;  // their cgroup.procs
};
// NotFound when the Pod or the container ("" = the first that started) does not run.
Result<Target> find_target(const std::string& pods_dir, const std::string& pod_uid,
                           const std::string& container);

// Forks into the container's namespaces and root, confined as the container is, and executes argv.
// The pid of a process that stands for the command: it passes signals on to it, ends as it ends and
// takes it along when killed; it is killed when the calling thread ends. in, out, err become the
// command's standard streams; both are a session of their own when `detached`. Safe in programs
// with many threads.
Result<pid_t> exec_in(const Target& target, const std::vector<std::string>& argv, int in, int out,
                      int err, bool detached);

// Runs the command to its end and collects its output, kMaxExecOutput at most. Timeout when it had
// to be killed, Unavailable when `cancel` (-1: none) could be read before; what it left running in
// its session goes with it.
inline constexpr std::size_t kMaxExecOutput = std::size_t{10} << 10U;
Result<Runtime::ExecResult> run_in(const Target& target, const std::vector<std::string>& argv,
                                   std::chrono::milliseconds timeout, int cancel = -1);

}  // namespace coracle::runtime
