#include "runtime/own_processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {
namespace {

constexpr int kRounds = 16;  // they may start others meanwhile

// /proc of our own pid namespace, mounted nowhere.
Fd own_proc() {
  const Fd context(static_cast<int>(syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC)));
  if (!context.valid() ||
      syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return Fd();
  return Fd(static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
}

// How many there were.
int kill_round(int proc, ino_t mount_namespace) {
  DIR* dir = fdopendir(openat(proc, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC));
  if (dir == nullptr) return 0;
  int found = 0;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own
  while (const dirent* entry = readdir(dir)) {
    const auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    struct stat info = {};
    const std::string path = std::string(entry->d_name) + "/ns/mnt";
    if (pid <= 1 || fstatat(proc, path.c_str(), &info, 0) != 0) continue;
    if (info.st_ino != mount_namespace) continue;
    ++found;
    (void)kill(pid, SIGKILL);
  }
  closedir(dir);
  return found;
}

}  // namespace

pid_t pid_on_host(pid_t child) {
  const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  const auto text = read_file(AT_FDCWD, "/proc/self/fdinfo/" + std::to_string(pidfd.get()));
  constexpr const char* kField = "\nPid:";
  const auto at = text ? text->find(kField) : std::string::npos;
  if (at == std::string::npos) return 0;
  return static_cast<pid_t>(
      std::max(0L, std::strtol(text->c_str() + at + std::strlen(kField), nullptr, 10)));
}

ino_t mount_namespace(pid_t pid_on_host) {
  struct stat info = {};
  const std::string path = "/proc/" + std::to_string(pid_on_host) + "/ns/mnt";
  return pid_on_host > 0 && stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

void kill_all_in(ino_t mount_namespace) {
  if (mount_namespace == 0) return;
  const Fd proc = own_proc();
  for (int round = 0; proc.valid() && round < kRounds; ++round)
    if (kill_round(proc.get(), mount_namespace) == 0) return;
}

}  // namespace coracle::runtime
