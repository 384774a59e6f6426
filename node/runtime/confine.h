// What a process in a Pod may do: containerd's default capabilities, no_new_privs, and a seccomp
// filter that refuses what those leave open (user namespaces above all: in one of its own, root
// could mount). Only system calls: may be called between fork and exec.
#pragma once

#include <cstdint>

namespace coracle::runtime {

inline constexpr std::uint64_t kContainerCapabilities = 0x00000000a80425fb;

// For the calling thread and what it executes. Not to be undone. False with errno.
bool confine();

}  // namespace coracle::runtime
