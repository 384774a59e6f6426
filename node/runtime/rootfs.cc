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

#include "runtime/etc_files.h"
#include "runtime/termination_log.h"
#include "runtime/volume_mounts.h"

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

Result<void> bind_read_only(const std::string& source, const std::string& target,
                            unsigned long flags) {
  TRY(check(mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr), target));
  return check(
      mount(nullptr, target.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | flags, nullptr),
      target);
}

// A file system of the host's that a container sees through an overlay, and what lies over it.
struct Layer {
  std::string lower;  // "" = "/"
  std::string upper, work;
  std::string at(const std::string& path) const { return upper + path.substr(lower.size()); }
};

// The host's attributes of the directory, where it has one.
Result<void> make_like_host(const Layer& layer, const std::string& path) {
  struct stat host = {};
  const bool known = lstat(path.c_str(), &host) == 0 && S_ISDIR(host.st_mode);
  const std::string target = layer.at(path);
  if (mkdir(target.c_str(), 0755) != 0) {
    if (errno == EEXIST) return {};
    return Error::from_errno(errno, target);
  }
  if (!known) return {};
  TRY(check(chown(target.c_str(), host.st_uid, host.st_gid), target));
  return check(chmod(target.c_str(), host.st_mode & 07777U), target);
}

Result<void> make_parents(const Layer& layer, const std::string& path) {
  for (auto slash = path.find('/', layer.lower.size() + 1); slash != std::string::npos;
       slash = path.find('/', slash + 1))
    TRY(make_like_host(layer, path.substr(0, slash)));
  return {};
}

// Directories appear empty (an opaque directory of the upper layer); files not at all (a whiteout),
// nor does what is not there yet. Nothing is mounted there that could be taken away again.
Result<void> hide(const Layer& layer, const std::string& path) {
  struct stat host = {};
  const bool directory = lstat(path.c_str(), &host) == 0 && S_ISDIR(host.st_mode);
  TRY(make_parents(layer, path));
  const std::string target = layer.at(path);
  if (!directory) {
    if (mknod(target.c_str(), S_IFCHR, makedev(0, 0)) != 0 && errno != EEXIST)
      return Error::from_errno(errno, target);
    return {};
  }
  TRY(make_like_host(layer, path));
  return check(setxattr(target.c_str(), "trusted.overlay.opaque", "y", 1, 0), target);
}

// As the file system knows the path. Of one that is not there, the first part that is missing:
// it may come while the container runs.
std::string real_path(const std::string& given) {
  char resolved[PATH_MAX];
  std::string path = given, missing;
  while (realpath(path.c_str(), resolved) == nullptr) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return "";  // relative, and nothing of it is there
    missing = path.substr(slash);
    path = slash == 0 ? "/" : path.substr(0, slash);
  }
  const std::string found = std::strcmp(resolved, "/") == 0 ? "" : resolved;
  return found.empty() && missing.empty() ? "/" : found + missing;
}

// Without those that lie below another: their names are hidden too.
Result<std::vector<std::string>> resolve(const std::vector<std::string>& hidden) {
  std::vector<std::string> paths;
  for (const std::string& given : hidden) {
    paths.push_back(real_path(given));
    if (paths.back() == "/") return Error{Code::BadRequest, given + " is the whole file system"};
    if (paths.back().empty()) paths.pop_back();
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> out;
  for (const std::string& path : paths)
    if (std::none_of(out.begin(), out.end(), [&](const auto& o) { return is_in(path, o); }))
      out.push_back(path);
  return out;
}

// As /proc/self/mountinfo spells spaces and the like.
std::string without_escapes(const char* text) {
  std::string out;
  for (; *text != '\0'; ++text) {
    if (text[0] == '\\' && text[1] != '\0' && text[2] != '\0' && text[3] != '\0') {
      out += static_cast<char>((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
      text += 3;
    } else {
      out += *text;
    }
  }
  return out;
}

// Where programs lie, and /etc, where they are file systems of their own: an overlay shows none
// that is mounted below it. Parents before what lies in them.
Result<std::vector<std::string>> find_submounts(const std::vector<std::string>& hidden) {
  constexpr const char* kWanted[] = {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix"};
  FILE* mounts = std::fopen("/proc/self/mountinfo", "re");
  if (mounts == nullptr) return Error::from_errno(errno, "/proc/self/mountinfo");
  std::vector<std::string> out;
  char* line = nullptr;
  std::size_t size = 0;
  while (getline(&line, &size, mounts) > 0) {
    char* rest = nullptr;
    char* field = strtok_r(line, " ", &rest);
    for (int i = 0; i < 4 && field != nullptr; ++i) field = strtok_r(nullptr, " ", &rest);
    if (field == nullptr) continue;
    const std::string path = without_escapes(field);
    const auto holds = [&](const auto& parent) { return is_in(path, parent); };
    const bool wanted =
        path == "/etc" || std::any_of(std::begin(kWanted), std::end(kWanted), holds);
    if (wanted && std::none_of(hidden.begin(), hidden.end(), holds)) out.push_back(path);
  }
  std::free(line);
  (void)std::fclose(mounts);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Result<void> mount_layer(const Layer& layer, const std::string& target) {
  const std::string options = "lowerdir=" + (layer.lower.empty() ? "/" : layer.lower) +
                              ",upperdir=" + layer.upper + ",workdir=" + layer.work;
  return check(mount("overlay", target.c_str(), "overlay", kPlain, options.c_str()),
               "mounting the overlay of " + (layer.lower.empty() ? "/" : layer.lower));
}

Result<void> bind_submounts(const std::string& root, const std::vector<std::string>& submounts,
                            const std::vector<std::string>& hidden) {
  for (const std::string& path : submounts) {
    if (access(path.c_str(), F_OK) != 0) continue;  // gone, or below another by now
    TRY(bind_read_only(path, root + path, kPlain));
  }
  for (const std::string& path : hidden)
    if (std::any_of(submounts.begin(), submounts.end(),
                    [&](const auto& m) { return is_below(path, m); }))
      TRY(cover(root + path));
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
    // Read-only concerns the file, whose mode is the host's too, not the device.
    TRY(bind_read_only(std::string("/dev/") + name, target, MS_NOSUID | MS_NOEXEC));
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
                           "/proc/timer_stats", "/proc/sched_debug", "/proc/acpi", "/proc/asound",
                           "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"})
    TRY(cover(root + path));
  for (const char* path :
       {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"}) {
    const std::string target = root + path;
    if (access(target.c_str(), F_OK) != 0) continue;
    TRY(bind_read_only(target, target, kPlain | MS_NOEXEC));
  }
  return {};
}

// Plain files in the upper layer to mount the Pod's onto: the host's may be symbolic links.
Result<void> make_etc_targets(const Layer& layer) {
  if (layer.lower.empty()) TRY(make_like_host(layer, "/etc"));
  for (const char* name : kEtcFiles) {
    const std::string target = layer.at("/etc/") + name;
    const int fd = open(target.c_str(), O_CREAT | O_CLOEXEC | O_WRONLY, 0644);
    if (fd < 0) return Error::from_errno(errno, target);
    close(fd);
  }
  return {};
}

Result<void> place_etc(const EtcMounts& mounts, const std::string& root) {
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const std::string target = root + "/etc/" + kEtcFiles[i];
    TRY(check(move_mount(mounts[i].get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH),
              target));
  }
  return {};
}

Result<void> change_root(const std::string& root) {
  TRY(check(chdir(root.c_str()), root));
  // The new root goes over the old one, which then is underneath: see pivot_root(2).
  TRY(check(static_cast<int>(syscall(SYS_pivot_root, ".", ".")), "pivot_root"));
  TRY(check(umount2(".", MNT_DETACH), "leaving the host's file system"));
  return check(chdir("/"), "/");
}

// The host's files as far as they are to be seen, at `root`.
Result<void> mount_layers(const std::string& root, const std::vector<std::string>& hidden) {
  std::vector<std::string> submounts = TRY(find_submounts(hidden));
  const bool own_etc = std::erase(submounts, "/etc") != 0;
  const Layer all = {"", "upper", "work"}, etc = {"/etc", "etc-upper", "etc-work"};
  for (const std::string& path : hidden)
    TRY(hide(own_etc && is_below(path, "/etc") ? etc : all, path));
  TRY(make_etc_targets(own_etc ? etc : all));
  TRY(mount_layer(all, root));
  if (own_etc) TRY(mount_layer(etc, root + "/etc"));
  return bind_submounts(root, submounts, hidden);
}

}  // namespace

bool is_below(const std::string& path, const std::string& parent) {
  return path.size() > parent.size() && path.starts_with(parent) && path[parent.size()] == '/';
}
bool is_in(const std::string& path, const std::string& parent) {
  return path == parent || is_below(path, parent);
}

// A path is hidden in the upper layer it belongs to; on file systems that are bound as they are,
// nothing of it is left but a place that something empty is mounted on.
Result<void> cover(const std::string& target) {
  struct stat info = {};
  if (lstat(target.c_str(), &info) != 0) return {};
  if (S_ISDIR(info.st_mode))
    return mount_at("tmpfs", target, MS_RDONLY | kPlain, "size=0,nr_inodes=2");
  return bind_read_only("/dev/null", target, MS_NOSUID | MS_NOEXEC);
}

Result<std::string> path_of(int fd) {
  char path[PATH_MAX];
  const ssize_t size =
      readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof(path));
  if (size < 0) return Error::from_errno(errno, "the path of a descriptor");
  return std::string(path, static_cast<std::size_t>(size));
}

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

Result<void> make_read_only(const std::vector<Fd>& mounts) {
  mount_attr change = {};
  change.attr_set = MOUNT_ATTR_RDONLY;
  for (const Fd& mount : mounts)
    TRY(check(mount_setattr(mount.get(), "", AT_EMPTY_PATH, &change, sizeof(change)),
              "readOnlyRootFilesystem"));
  return {};
}

namespace {

// Those that a container may write. A volume may come to lie over one.
Result<std::vector<Fd>> writable_mounts() {
  std::vector<Fd> out;
  for (const char* path : {"/", "/etc", "/run", "/tmp"}) {
    struct statx info = {};
    TRY(check(statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &info), path));
    if ((info.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0) continue;  // part of the root's
    out.emplace_back(open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW));
    if (!out.back().valid()) return Error::from_errno(errno, path);
  }
  return out;
}

}  // namespace

Result<Root> enter_rootfs(int sandbox_dir, const StartSpec& spec) {
  TRY(check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "making mounts private"));
  // The descriptor belongs to the mount namespace it was opened in, where nothing can be mounted
  // from here: only its path leads to the same place in this one.
  const std::string sandbox = TRY(path_of(sandbox_dir));
  const std::string base = sandbox + "/mnt";
  const auto volumes = TRY(clone_volumes(spec.mounts, TRY(resolve(spec.node_data))));
  const EtcMounts etc = TRY(clone_etc());
  TRY(mount_at("tmpfs", base, MS_NOSUID | MS_NODEV, "mode=755"));
  TRY(check(chdir(base.c_str()), base));
  for (const char* name : {"upper", "work", "etc-upper", "etc-work", "root"})
    TRY(check(mkdir(name, 0755), name));
  TerminationLog log = TRY(make_termination_log());
  const std::string root = "root";
  TRY(mount_layers(root, TRY(resolve(spec.hidden))));
  TRY(mount_at("proc", root + "/proc", kPlain | MS_NOEXEC, nullptr));
  TRY(mount_at("sysfs", root + "/sys", MS_RDONLY | kPlain | MS_NOEXEC, nullptr));
  TRY(mount_at("tmpfs", root + "/run", kPlain, "mode=755"));
  TRY(mount_at("tmpfs", root + "/tmp", kPlain, "mode=1777"));
  TRY(make_dev(root));
  TRY(guard_proc(root));
  TRY(place_etc(etc, root));
  TRY(change_root(root));
  std::vector<Fd> writable = TRY(writable_mounts());
  // Only now: on its way, links of the container's must not lead out of it.
  TRY(place_volumes(volumes));
  TRY(place_termination_log(log, spec.termination_message_path));
  return Root{std::move(log.file), std::move(writable)};
}

}  // namespace coracle::runtime
