// Volumes on their way into a container: cloned from where they are as detached mounts while the
// node's file systems are still there, put in place once the container's root is the root, so that
// no symbolic link of the container's leads out of it.
#pragma once

#include <coracle/result.h>

#include <string>
#include <vector>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

struct ClonedVolume {
  Fd tree;
  std::string target;
  bool directory = true;
  std::vector<std::string> covered;  // what stays hidden in it, relative to it
};

// For a new process of the supervisor's, single-threaded and in a mount namespace of its own that
// is still the node's. `hidden` are real paths of the node's that no Host volume shows. A sub_path
// that leads out of its volume is an error.
Result<std::vector<ClonedVolume>> clone_volumes(const std::vector<StartMount>& mounts,
                                                const std::vector<std::string>& hidden);

// In the container's root. Targets that are missing are made.
Result<void> place_volumes(const std::vector<ClonedVolume>& volumes);

}  // namespace coracle::runtime
