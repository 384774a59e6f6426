// Resource limits through cgroups, version 1 and 2. What is to be done is planned by pure
// functions; a thin layer does it.
//
// All cgroups of ours lie in the one that the agent itself is in: what limits the agent limits its
// Pods, and nothing outside is touched. In version 2, where only a cgroup without processes can
// hand on controllers, the nearest above that can. There it is coracle/<pod uid>/<container>, and
// "coracle" goes with the last Pod.
#pragma once

#include <coracle/result.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/runtime.h"

namespace coracle::runtime {

struct CgroupHost {
  struct Hierarchy {
    bool unified = false;               // version 2
    std::set<std::string> controllers;  // of "cpu", "memory" and "pids"
    std::string parent;                 // the directory in which ours is made
    bool operator==(const Hierarchy&) const = default;
  };
  std::vector<Hierarchy> hierarchies;
  int processors = 1;
  const Hierarchy* find(const std::string& controller) const;
};

// Nothing when there is no such file.
using ReadFile = std::function<std::optional<std::string>(const std::string& path)>;
// From /proc/self/mountinfo, /proc/self/cgroup, and version 2's files where there are any. Pure.
CgroupHost find_cgroups(const ReadFile& read);
// The machine's, and only those that can be written.
CgroupHost host_cgroups();

struct CgroupPlan {
  struct Write {
    std::string file, value;
    bool optional = false;  // not every kernel has it
    bool operator==(const Write&) const = default;
  };
  struct Directory {
    std::string path;  // made when it is not there
    std::vector<Write> writes;
    bool operator==(const Directory&) const = default;
  };
  std::vector<Directory> directories;  // parents first
  std::vector<std::string> pod_dirs;   // what goes with the Pod
  std::vector<std::string> joins;      // which the container's processes are in
  std::string memory;                  // the directory that limits its memory, "" when none does
};
// One container's. Only with a memory limit has it a memory cgroup in version 1, since that costs
// the kernel memory of its own, and only with a limit of its Pod one that counts processes. Pure.
CgroupPlan plan_cgroups(const CgroupHost& host, const std::string& pod_uid,
                        const std::string& container, const ResourceLimits& limits);

// Makes and sets what is planned; may be repeated.
Result<void> make_cgroups(const CgroupPlan& plan);
// Removes these directories, what we made in them, and the directory they are in if it is empty
// then. REQUIRES: their processes have ended. Success when they are gone already.
Result<void> remove_cgroups(const std::vector<std::string>& pod_dirs);
// For the calling process. System calls only, but for the error.
Result<void> join_cgroup(const std::string& directory);
// How many processes the kernel has ended in it for want of memory; 0 when it does not tell.
std::int64_t oom_kills(const std::string& directory);

}  // namespace coracle::runtime
