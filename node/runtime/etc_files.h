// /etc/hosts, /etc/resolv.conf and /etc/hostname of a Pod: its containers share them, and may write
// them. They lie in memory, on a small file system of the Pod's, so that what a container writes
// there fills no disk of the host's. It is the root of a mount namespace that the Pod's supervisor
// holds by a descriptor and that ends with it: nothing of it shows outside, and it keeps none of
// the host's file systems busy. The Pod's Memory volumes are the only other ones in there.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

inline constexpr std::array<const char*, 3> kEtcFiles = {"hosts", "resolv.conf", "hostname"};

struct EtcFiles {
  std::string hosts, resolv_conf, hostname;
};
// Detached mounts of the files, in the order of kEtcFiles, each to be moved to its place once.
using EtcMounts = std::array<Fd, kEtcFiles.size()>;

// For the supervisor, single-threaded: makes the files and the Memory volumes, and keeps them by
// kEtcNamespaceFd and kEtcDirFd.
Result<void> make_etc(const EtcFiles& files, const std::vector<Volume>& volumes);

// In that namespace.
std::string memory_volume_path(const std::string& volume);

// For a new process of the supervisor's, single-threaded and in a mount namespace of its own.
Result<EtcMounts> clone_etc();

// For the agent: rewrites the files in place, so that running containers see it, and makes room
// first where a container has left none. `supervisor` is the sandbox's, as supervisor_pid has it.
// NotFound when it has ended.
Result<void> write_etc(int sandbox_dir, pid_t supervisor, const EtcFiles& files);
// For the agent: the volume's directory. NotFound when there is none, or the supervisor has ended.
Result<Fd> open_memory_volume(int sandbox_dir, pid_t supervisor, const std::string& volume);

}  // namespace coracle::runtime
