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

// Single-threaded caller with a fresh mount and pid namespace, being pid 1 of the latter. On
// return its root is the container's. `sandbox_dir` holds an empty directory mnt/; the files of
// etc_files.h are the calling supervisor's; `hidden` paths are absent or empty inside. Returns the
// termination message's file.
Result<Fd> enter_rootfs(int sandbox_dir, const std::vector<std::string>& hidden,
                        const std::string& termination_message_path);

// Never visible in a Pod.
std::vector<std::string> always_hidden();

}  // namespace coracle::runtime
