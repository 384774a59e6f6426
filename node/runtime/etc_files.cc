#include "runtime/etc_files.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/supervisor_fds.h"

namespace coracle::runtime {
namespace {

// A Pod in the node's network begins with the node's own /etc/hosts, which may be long.
constexpr const char* kLimits = "mode=755,size=16m,nr_inodes=8";

Result<void> check(long result, const char* what) {
  if (result < 0) return Error::from_errno(errno, what);
  return {};
}

Result<Fd> own_mount_namespace() {
  Fd out(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!out.valid()) return Error::from_errno(errno, "the mount namespace");
  return out;
}

// Relative to the directory `etc`.
Result<void> overwrite(int etc, const EtcFiles& files) {
  TRY(overwrite_file(etc, "hosts", files.hosts));
  TRY(overwrite_file(etc, "resolv.conf", files.resolv_conf));
  return overwrite_file(etc, "hostname", files.hostname);
}

// A tmpfs for the root, and nothing besides, in the calling process's namespace.
Result<void> become_empty() {
  TRY(check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "making mounts private"));
  // Any directory will do.
  TRY(check(mount("tmpfs", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, kLimits),
            "mounting the Pod's tmpfs"));
  TRY(check(chdir("/proc"), "the Pod's tmpfs"));
  TRY(check(syscall(SYS_pivot_root, ".", "."), "pivot_root"));
  TRY(check(umount2(".", MNT_DETACH), "leaving the host's file system"));
  return check(chdir("/"), "/");
}

}  // namespace

Result<void> make_etc(const EtcFiles& files) {
  const Fd host = TRY(own_mount_namespace());
  TRY(check(unshare(CLONE_NEWNS), "new mount namespace"));
  const Fd own = TRY(own_mount_namespace());
  TRY(become_empty());
  umask(022);
  TRY(overwrite(AT_FDCWD, files));
  const Fd dir = TRY(open_dir("/"));
  TRY(check(dup3(own.get(), kEtcNamespaceFd, O_CLOEXEC), "keeping the mount namespace"));
  TRY(check(dup3(dir.get(), kEtcDirFd, O_CLOEXEC), "keeping the Pod's tmpfs"));
  return check(setns(host.get(), CLONE_NEWNS), "returning to the mount namespace");
}

Result<EtcMounts> clone_etc() {
  const Fd own = TRY(own_mount_namespace());
  TRY(check(setns(kEtcNamespaceFd, CLONE_NEWNS), "entering the Pod's mount namespace"));
  EtcMounts out;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = Fd(open_tree(AT_FDCWD, kEtcFiles[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!out[i].valid()) return Error::from_errno(errno, kEtcFiles[i]);
  }
  TRY(check(setns(own.get(), CLONE_NEWNS), "returning to the mount namespace"));
  return out;
}

Result<void> write_etc(int sandbox_dir, pid_t supervisor, const EtcFiles& files) {
  const auto path = "/proc/" + std::to_string(supervisor) + "/fd/" + std::to_string(kEtcDirFd);
  const Fd etc = TRY(open_dir(path));
  if (supervisor_pid(sandbox_dir) != supervisor)  // the number may be another process's by now
    return Error{Code::NotFound, "the Pod's supervisor has ended"};
  if (overwrite(etc.get(), files)) return {};
  for (const char* name : kEtcFiles) TRY(overwrite_file(etc.get(), name, ""));
  return overwrite(etc.get(), files);
}

}  // namespace coracle::runtime
