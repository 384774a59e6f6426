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
constexpr const char* kLimits = "mode=755,size=16m,nr_inodes=";
constexpr std::size_t kInodes = 9;  // and one for each volume's directory
constexpr const char* kVolumes = "/volumes";

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
Result<void> become_empty(std::size_t volumes) {
  const std::string limits = kLimits + std::to_string(kInodes + volumes);
  TRY(check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "making mounts private"));
  // Any directory will do.
  TRY(check(mount("tmpfs", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, limits.c_str()),
            "mounting the Pod's tmpfs"));
  TRY(check(chdir("/proc"), "the Pod's tmpfs"));
  TRY(check(syscall(SYS_pivot_root, ".", "."), "pivot_root"));
  TRY(check(umount2(".", MNT_DETACH), "leaving the host's file system"));
  return check(chdir("/"), "/");
}

Result<void> make_volume(const Volume& volume) {
  const std::string path = memory_volume_path(volume.name);
  TRY(check(mkdir(path.c_str(), 0755), "making a volume"));
  std::string options =
      volume.group ? "mode=3777,gid=" + std::to_string(*volume.group) : std::string("mode=1777");
  if (volume.size > 0) options += ",size=" + std::to_string(volume.size);
  return check(mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()),
               "mounting a volume");
}

// Opens what the supervisor keeps by kEtcDirFd, or something in it.
Result<Fd> open_kept(int sandbox_dir, pid_t supervisor, const std::string& path) {
  Fd out = TRY(
      open_dir("/proc/" + std::to_string(supervisor) + "/fd/" + std::to_string(kEtcDirFd) + path));
  if (supervisor_pid(sandbox_dir) != supervisor)  // the number may be another process's by now
    return Error{Code::NotFound, "the Pod's supervisor has ended"};
  return out;
}

}  // namespace

std::string memory_volume_path(const std::string& volume) {
  return std::string(kVolumes) + "/" + volume;
}

Result<void> make_etc(const EtcFiles& files, const std::vector<Volume>& volumes) {
  const Fd host = TRY(own_mount_namespace());
  TRY(check(unshare(CLONE_NEWNS), "new mount namespace"));
  const Fd own = TRY(own_mount_namespace());
  TRY(become_empty(volumes.size()));
  umask(022);
  TRY(overwrite(AT_FDCWD, files));
  TRY(check(mkdir(kVolumes, 0755), kVolumes));
  for (const Volume& volume : volumes)
    if (volume.kind == Volume::Kind::Memory) TRY(make_volume(volume));
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
  const Fd etc = TRY(open_kept(sandbox_dir, supervisor, ""));
  if (overwrite(etc.get(), files)) return {};
  for (const char* name : kEtcFiles) TRY(overwrite_file(etc.get(), name, ""));
  return overwrite(etc.get(), files);
}

Result<Fd> open_memory_volume(int sandbox_dir, pid_t supervisor, const std::string& volume) {
  return open_kept(sandbox_dir, supervisor, memory_volume_path(volume));
}

}  // namespace coracle::runtime
