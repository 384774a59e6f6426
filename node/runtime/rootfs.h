// The file system a container sees: an overlay of the host's files whose upper layer is in memory
// and vanishes with it, and fresh /proc, /sys, /dev, /run and /tmp. Works in the calling process's
// own mount namespace; nothing of it is visible outside.
//
// The upper layer lies on a tmpfs: the data directory cannot hold it, as overlayfs refuses an upper
// layer inside its lower one ("/").
#pragma once

#include <coracle/result.h>

#include <string>
#include <vector>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

// Single-threaded caller with a fresh mount namespace, in the container's pid namespace. On
// return its root is the container's. `sandbox_dir` holds an empty directory mnt/; the files of
// etc_files.h are the calling supervisor's; spec.hidden paths are absent or empty inside.
struct Root {
  Fd termination_message;
  std::vector<Fd> writable;  // what can be written and is no volume
};
Result<Root> enter_rootfs(int sandbox_dir, const StartSpec& spec);
Result<void> make_read_only(const std::vector<Fd>& mounts);

// Never visible in a Pod.
std::vector<std::string> always_hidden();

// Paths as the file system knows them.
bool is_below(const std::string& path, const std::string& parent);
bool is_in(const std::string& path, const std::string& parent);
// Where it was opened, as seen from the calling process's root.
Result<std::string> path_of(int fd);
// Mounts something empty on it. Success when there is nothing.
Result<void> cover(const std::string& target);

}  // namespace coracle::runtime
