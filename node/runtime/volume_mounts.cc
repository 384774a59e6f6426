#include "runtime/volume_mounts.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "runtime/etc_files.h"
#include "runtime/rootfs.h"
#include "runtime/supervisor_fds.h"

namespace coracle::runtime {
namespace {

// As upstream, links may lead about in a volume, but not out of it.
Fd open_beneath(int dir, const std::string& path) {
  open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(syscall(SYS_openat2, dir, path.c_str(), &how, sizeof(how))));
}

Error cannot_open(const std::string& sub_path, int error) {
  if (error == EXDEV || error == ELOOP)
    return {Code::BadRequest, "subPath \"" + sub_path + "\" leads out of its volume"};
  return Error::from_errno(error, "subPath " + sub_path);
}

// Directories have the volume's own mode. Each is made in a parent that was found in the volume.
Result<Fd> make_beneath(int volume, const std::string& path) {
  struct stat info = {};
  if (fstat(volume, &info) != 0) return Error::from_errno(errno, "volume");
  const mode_t before = umask(0);
  for (std::size_t begin = 0, end = 0; begin < path.size(); begin = end + 1) {
    end = std::min(path.find('/', begin), path.size());
    const Fd parent = open_beneath(volume, begin == 0 ? "." : path.substr(0, begin));
    const std::string name = path.substr(begin, end - begin);
    if (name.empty()) continue;
    if (parent.valid() && mkdirat(parent.get(), name.c_str(), info.st_mode & 0777U) == 0) continue;
    if (parent.valid() && errno == EEXIST) continue;
    const int error = errno;
    umask(before);
    return cannot_open(path, error);
  }
  umask(before);
  Fd out = open_beneath(volume, path);
  if (!out.valid()) return cannot_open(path, errno);
  return out;
}

Result<Fd> open_source(const StartMount& mount) {
  const std::string path =
      mount.kind == Volume::Kind::Memory ? memory_volume_path(mount.source) : mount.source;
  Fd volume(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!volume.valid()) return Error::from_errno(errno, mount.source);
  if (mount.sub_path.empty()) return volume;
  Fd part = open_beneath(volume.get(), mount.sub_path);
  if (part.valid()) return part;
  if (errno != ENOENT) return cannot_open(mount.sub_path, errno);
  return make_beneath(volume.get(), mount.sub_path);
}

Result<void> set_attributes(int tree, std::uint64_t attributes, unsigned recursive) {
  mount_attr wanted = {};
  wanted.attr_set = attributes;
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | recursive, &wanted, sizeof(wanted)) != 0)
    return Error::from_errno(errno, "mount_setattr");
  return {};
}

// What lies below `source` and is to be hidden. An error for what is hidden itself.
Result<std::vector<std::string>> find_covered(const std::string& source,
                                              const std::vector<std::string>& hidden) {
  std::vector<std::string> out;
  for (const std::string& path : hidden) {
    if (is_in(source, path))
      return Error{Code::Forbidden, source + " holds this node's own data: no Pod may have it"};
    if (source == "/") out.push_back(path.substr(1));
    if (is_below(path, source)) out.push_back(path.substr(source.size() + 1));
  }
  return out;
}

Result<ClonedVolume> clone_one(const StartMount& mount, const std::vector<std::string>& hidden) {
  const Fd source = TRY(open_source(mount));
  ClonedVolume out;
  out.target = mount.target;
  struct stat info = {};
  if (fstat(source.get(), &info) != 0) return Error::from_errno(errno, mount.source);
  out.directory = S_ISDIR(info.st_mode);
  const bool host = mount.kind == Volume::Kind::Host;
  if (host) out.covered = TRY(find_covered(TRY(path_of(source.get())), hidden));
  const unsigned recursive = host ? AT_RECURSIVE : 0;
  out.tree = Fd(
      static_cast<int>(syscall(SYS_open_tree, source.get(), "",
                               OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | recursive)));
  if (!out.tree.valid()) return Error::from_errno(errno, "open_tree");
  // A device file that a container makes for itself opens no disk.
  TRY(set_attributes(out.tree.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, recursive));
  if (mount.read_only)
    TRY(set_attributes(out.tree.get(), MOUNT_ATTR_RDONLY,
                       mount.submounts_read_only ? recursive : 0));
  return out;
}

Error about(const StartMount& mount, const Error& error) {
  return error.context("volume \"" + mount.volume + "\"");
}

Result<void> clone_all(std::vector<ClonedVolume>& out, const std::vector<StartMount>& mounts,
                       bool memory, const std::vector<std::string>& hidden) {
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    if ((mounts[i].kind == Volume::Kind::Memory) != memory) continue;
    auto cloned = clone_one(mounts[i], hidden);
    if (!cloned) return about(mounts[i], cloned.error());
    out[i] = std::move(*cloned);
  }
  return {};
}

// The place itself, made where it is missing.
Result<Fd> open_target(const std::string& path, bool directory) {
  for (auto slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1))
    (void)mkdir(path.substr(0, slash).c_str(), 0755);
  Fd target(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!target.valid() && errno == ENOENT && directory) {
    (void)mkdir(path.c_str(), 0755);
  } else if (!target.valid() && errno == ENOENT) {
    const Fd made(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  }
  if (!target.valid()) target = Fd(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!target.valid()) return Error::from_errno(errno, "mountPath " + path);
  return target;
}

// What the container is shown of its processes and of itself is not to be forged.
Result<void> check_target(int target, const std::string& path) {
  struct statfs system = {};
  if (fstatfs(target, &system) == 0 && system.f_type == PROC_SUPER_MAGIC)
    return Error{Code::BadRequest, "mountPath " + path + " lies in /proc"};
  struct stat at = {}, root = {};
  if (fstat(target, &at) == 0 && stat("/", &root) == 0 && at.st_dev == root.st_dev &&
      at.st_ino == root.st_ino)
    return Error{Code::BadRequest, "mountPath " + path + " is the container's root"};
  return {};
}

}  // namespace

Result<std::vector<ClonedVolume>> clone_volumes(const std::vector<StartMount>& mounts,
                                                const std::vector<std::string>& hidden) {
  std::vector<ClonedVolume> out(mounts.size());
  if (mounts.empty()) return out;
  TRY(clone_all(out, mounts, false, hidden));
  const Fd own(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!own.valid() || setns(kEtcNamespaceFd, CLONE_NEWNS) != 0)
    return Error::from_errno(errno, "entering the Pod's mount namespace");
  const auto cloned = clone_all(out, mounts, true, hidden);
  if (setns(own.get(), CLONE_NEWNS) != 0)
    return Error::from_errno(errno, "returning to the mount namespace");
  TRY(cloned);
  return out;
}

Result<void> place_volumes(const std::vector<ClonedVolume>& volumes) {
  for (const ClonedVolume& volume : volumes) {
    const Fd target = TRY(open_target(volume.target, volume.directory));
    TRY(check_target(target.get(), volume.target));
    if (move_mount(volume.tree.get(), "", target.get(), "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
      return Error::from_errno(errno, "mountPath " + volume.target);
    for (const std::string& path : volume.covered) TRY(cover(volume.target + "/" + path));
  }
  return {};
}

}  // namespace coracle::runtime
