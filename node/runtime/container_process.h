// Starts a container's first process; supervisors and exec share how a command is executed.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

struct StartedProcess {
  pid_t pid = 0;
  Fd out, err;     // its standard output and error, non-blocking
  Fd termination;  // its termination message's file
};

// Single-threaded callers only. In its cgroups, in a new mount namespace and (unless the Pod's
// containers share one) pid namespace, with the sandbox's others, in its own root, confined. `exe`
// is this executable. An error says why it could not be executed, in the words of container
// runtimes.
Result<StartedProcess> start_process(const StartSpec& spec, int sandbox_dir, int exe);

// For the calling thread: all signals have their default effect, none is blocked. System calls
// only.
void default_signals();

// For the calling process: how soon the kernel ends it when memory runs out. System calls only.
// What is not permitted stays as it is.
void set_oom_score(int oom_score_adj);

// argv, environment and PATH search prepared ahead, so that executing takes only system calls.
class Command {
 public:
  // `exe`: a descriptor of this executable, for kEchoProgram.
  Command(std::vector<std::string> argv, std::vector<std::string> env, int exe);
  // Returns only on failure, with errno set.
  void execute() const;

 private:
  std::vector<std::string> argv_, env_, candidates_;
  std::vector<char*> argv_pointers_, env_pointers_;
  int exe_;
};

}  // namespace coracle::runtime
