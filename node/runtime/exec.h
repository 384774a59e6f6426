// Runs commands inside running containers.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

// A running container, held so that its pid cannot be reused under us.
struct Target {
  Fd pidfd;
  std::vector<std::string> env;
  std::string working_dir;
};
// NotFound when the Pod or the container ("" = the first that started) does not run.
Result<Target> find_target(const std::string& pods_dir, const std::string& pod_uid,
                           const std::string& container);

// Forks into the container's namespaces and root, confined as the container is, and executes argv.
// The process's pid. in, out, err become its standard streams; a new session when `detached`. Safe
// in programs with many threads.
Result<pid_t> exec_in(const Target& target, const std::vector<std::string>& argv, int in, int out,
                      int err, bool detached);

}  // namespace coracle::runtime
