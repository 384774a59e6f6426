#include "runtime/rootfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace coracle::runtime {
namespace {

constexpr unsigned long kPlain = MS_NOSUID | MS_NODEV;

Result<void> check(int result, const std::string& what) {
  if (result != 0) return Error::from_errno(errno, what);
  return {};
}

Result<void> mount_at(const char* type, const std::string& target, unsigned long flags,
                      const char* options) {
  return check(mount(type, target.c_str(), type, flags, options), "mounting " + target);
}

// The host's attributes of the directory, where it has one.
Result<void> make_like_host(const std::string& upper, const std::string& path) {
  struct stat host = {};
  const bool known = lstat(path.c_str(), &host) == 0 && S_ISDIR(host.st_mode);
  const std::string target = upper + path;
  if (mkdir(target.c_str(), 0755) != 0) {
    if (errno == EEXIST) return {};
    return Error::from_errno(errno, target);
  }
  if (!known) return {};
  TRY(check(chown(target.c_str(), host.st_uid, host.st_gid), target));
  return check(chmod(target.c_str(), host.st_mode & 07777U), target);
}

Result<void> make_parents(const std::string& upper, const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1))
    TRY(make_like_host(upper, path.substr(0, slash)));
  return {};
}

// Directories appear empty (an opaque directory of the upper layer), files not at all (a whiteout).
// Nothing is mounted there that could be taken away again.
Result<void> hide(const std::string& upper, const std::string& path) {
  struct stat host = {};
  if (lstat(path.c_str(), &host) != 0) return {};
  TRY(make_parents(upper, path));
  const std::string target = upper + path;
  if (!S_ISDIR(host.st_mode)) {
    if (mknod(target.c_str(), S_IFCHR, makedev(0, 0)) != 0 && errno != EEXIST)
      return Error::from_errno(errno, target);
    return {};
  }
  TRY(make_like_host(upper, path));
  return check(setxattr(target.c_str(), "trusted.overlay.opaque", "y", 1, 0), target);
}

// As the file system knows them, without those that lie below another: their names are hidden too.
Result<std::vector<std::string>> resolve(const std::vector<std::string>& hidden) {
  std::vector<std::string> paths;
  char resolved[PATH_MAX];
  for (const std::string& given : hidden) {
    if (realpath(given.c_str(), resolved) == nullptr) continue;  // there is nothing to hide
    if (std::strcmp(resolved, "/") == 0)
      return Error{Code::BadRequest, given + " is the whole file system"};
    paths.emplace_back(resolved);
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> out;
  for (const std::string& path : paths)
    if (std::none_of(out.begin(), out.end(),
                     [&](const std::string& o) { return path == o || path.starts_with(o + "/"); }))
      out.push_back(path);
  return out;
}

// "/usr" and the like, where they are file systems of their own: an overlay shows none below it.
Result<void> bind_submounts(const std::string& root) {
  constexpr const char* kWanted[] = {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix"};
  FILE* mounts = std::fopen("/proc/self/mountinfo", "re");
  if (mounts == nullptr) return Error::from_errno(errno, "/proc/self/mountinfo");
  std::vector<std::string> found;
  char line[4096];
  while (std::fgets(line, sizeof(line), mounts) != nullptr) {
    char path[2048];
    if (std::sscanf(line, "%*s %*s %*s %*s %2047s", path) != 1) continue;
    const bool wanted = std::any_of(std::begin(kWanted), std::end(kWanted), [&](const char* w) {
      const std::size_t length = std::strlen(w);
      return std::strncmp(path, w, length) == 0 && (path[length] == '\0' || path[length] == '/');
    });
    if (wanted) found.emplace_back(path);
  }
  (void)std::fclose(mounts);
  for (const std::string& path : found) {
    const std::string target = root + path;
    TRY(check(mount(path.c_str(), target.c_str(), nullptr, MS_BIND, nullptr), target));
    TRY(check(
        mount(nullptr, target.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | kPlain, nullptr),
        target));
  }
  return {};
}

// Device nodes are the host's, bound: on every file system that the container can write, device
// files are dead, so that a node it makes for itself opens no disk.
Result<void> make_dev(const std::string& root) {
  const std::string dev = root + "/dev";
  TRY(mount_at("tmpfs", dev, MS_NOSUID | MS_NODEV | MS_STRICTATIME, "mode=755,size=64k"));
  for (const char* name : {"null", "zero", "full", "random", "urandom", "tty"}) {
    const std::string target = dev + "/" + name;
    const int fd = open(target.c_str(), O_CREAT | O_CLOEXEC | O_WRONLY, 0666);
    if (fd < 0) return Error::from_errno(errno, target);
    close(fd);
    const std::string source = std::string("/dev/") + name;
    TRY(check(mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr), target));
  }
  for (const char* name : {"/pts", "/shm", "/mqueue"})
    TRY(check(mkdir((dev + name).c_str(), 0755), dev + name));
  TRY(mount_at("devpts", dev + "/pts", MS_NOSUID | MS_NOEXEC,
               "newinstance,ptmxmode=0666,mode=0620,gid=5"));
  TRY(mount_at("tmpfs", dev + "/shm", kPlain | MS_NOEXEC, "mode=1777,size=64m"));
  TRY(mount_at("mqueue", dev + "/mqueue", kPlain | MS_NOEXEC, nullptr));
  constexpr const char* kLinks[][2] = {{"/proc/self/fd", "/fd"},
                                       {"/proc/self/fd/0", "/stdin"},
                                       {"/proc/self/fd/1", "/stdout"},
                                       {"/proc/self/fd/2", "/stderr"},
                                       {"pts/ptmx", "/ptmx"}};
  for (const auto& link : kLinks) TRY(check(symlink(link[0], (dev + link[1]).c_str()), link[1]));
  return {};
}

// As containerd does: what tells of the host is masked, what would change it is read-only.
Result<void> guard_proc(const std::string& root) {
  for (const char* path : {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/latency_stats",
                           "/proc/sched_debug", "/proc/acpi", "/proc/scsi", "/sys/firmware"}) {
    const std::string target = root + path;
    struct stat info = {};
    if (lstat(target.c_str(), &info) != 0) continue;
    if (S_ISDIR(info.st_mode)) {
      TRY(mount_at("tmpfs", target, MS_RDONLY | kPlain, "size=0,nr_inodes=2"));
    } else {
      TRY(check(mount("/dev/null", target.c_str(), nullptr, MS_BIND, nullptr), target));
    }
  }
  for (const char* path :
       {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/asound"}) {
    const std::string target = root + path;
    if (access(target.c_str(), F_OK) != 0) continue;
    TRY(check(mount(target.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr), target));
    TRY(check(mount(nullptr, target.c_str(), nullptr,
                    MS_BIND | MS_REMOUNT | MS_RDONLY | kPlain | MS_NOEXEC, nullptr),
              target));
  }
  return {};
}

constexpr const char* kEtcFiles[] = {"hosts", "resolv.conf", "hostname"};

// Plain files in the upper layer to bind the sandbox's onto: the host's may be symbolic links.
Result<void> make_etc_targets(const std::string& upper) {
  TRY(make_like_host(upper, "/etc"));
  for (const char* name : kEtcFiles) {
    const std::string target = upper + "/etc/" + name;
    const int fd = open(target.c_str(), O_CREAT | O_CLOEXEC | O_WRONLY, 0644);
    if (fd < 0) return Error::from_errno(errno, target);
    close(fd);
  }
  return {};
}

Result<void> bind_etc(const std::string& sandbox, const std::string& root) {
  for (const char* name : kEtcFiles) {
    const std::string source = sandbox + "/etc/" + name;
    const std::string target = root + "/etc/" + name;
    if (access(source.c_str(), F_OK) != 0) continue;
    TRY(check(mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr), target));
    TRY(check(mount(nullptr, target.c_str(), nullptr, MS_BIND | MS_REMOUNT | kPlain, nullptr),
              target));
  }
  return {};
}

// The descriptor belongs to the mount namespace it was opened in, where nothing can be mounted from
// here: only its path leads to the same place in this one.
Result<std::string> path_of(int fd) {
  char path[PATH_MAX];
  const ssize_t size =
      readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof(path));
  if (size < 0) return Error::from_errno(errno, "the sandbox's directory");
  return std::string(path, static_cast<std::size_t>(size));
}

Result<void> change_root(const std::string& root) {
  TRY(check(chdir(root.c_str()), root));
  // The new root goes over the old one, which then is underneath: see pivot_root(2).
  TRY(check(static_cast<int>(syscall(SYS_pivot_root, ".", ".")), "pivot_root"));
  TRY(check(umount2(".", MNT_DETACH), "leaving the host's file system"));
  return check(chdir("/"), "/");
}

}  // namespace

std::vector<std::string> always_hidden() {
  std::vector<std::string> out = {"/root",        "/home",        "/var/lib/coracle", "/etc/shadow",
                                  "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-"};
  if (DIR* ssh = opendir("/etc/ssh"); ssh != nullptr) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own
    while (const dirent* entry = readdir(ssh)) {
      const std::string name = entry->d_name;
      if (name.starts_with("ssh_host_") && name.ends_with("_key"))
        out.push_back("/etc/ssh/" + name);
    }
    closedir(ssh);
  }
  return out;
}

Result<void> enter_rootfs(int sandbox_dir, const std::vector<std::string>& hidden) {
  TRY(check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "making mounts private"));
  const std::string sandbox = TRY(path_of(sandbox_dir));
  const std::string base = sandbox + "/mnt";
  TRY(mount_at("tmpfs", base, MS_NOSUID | MS_NODEV, "mode=755"));
  TRY(check(chdir(base.c_str()), base));
  for (const char* name : {"upper", "work", "root"}) TRY(check(mkdir(name, 0755), name));
  const std::string upper = "upper";
  const std::vector<std::string> paths = TRY(resolve(hidden));
  for (const std::string& path : paths) TRY(hide(upper, path));
  TRY(make_etc_targets(upper));
  TRY(check(mount("overlay", "root", "overlay", kPlain, "lowerdir=/,upperdir=upper,workdir=work"),
            "mounting the overlay"));
  const std::string root = "root";
  TRY(bind_submounts(root));
  TRY(mount_at("proc", root + "/proc", kPlain | MS_NOEXEC, nullptr));
  TRY(mount_at("sysfs", root + "/sys", MS_RDONLY | kPlain | MS_NOEXEC, nullptr));
  TRY(mount_at("tmpfs", root + "/run", kPlain, "mode=755"));
  TRY(mount_at("tmpfs", root + "/tmp", kPlain, "mode=1777"));
  TRY(make_dev(root));
  TRY(guard_proc(root));
  TRY(bind_etc(sandbox, root));
  return change_root(root);
}

}  // namespace coracle::runtime
