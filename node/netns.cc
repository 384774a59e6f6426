#include "netns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

namespace coracle {
namespace {

constexpr const char* kOwnNetNs = "/proc/thread-self/ns/net";

// The body of create(), on a thread that ends afterwards.
Result<void> unshare_and_mount(const std::string& path) {
  if (unshare(CLONE_NEWNET) != 0) return Error::from_errno(errno, "unshare");
  if (mount(kOwnNetNs, path.c_str(), "none", MS_BIND, nullptr) != 0)
    return Error::from_errno(errno, "mount on " + path);
  return {};
}

}  // namespace

NetNs::~NetNs() {
  if (fd_ >= 0) ::close(fd_);
}

Result<NetNs> NetNs::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, path);
  NetNs ns(fd);
  struct statfs fs {};
  // A file that is only a mount point whose mount is gone is not a namespace.
  constexpr long kNsfsMagic = 0x6e736673;
  if (::fstatfs(fd, &fs) != 0 || fs.f_type != kNsfsMagic)
    return Error{Code::NotFound, path + " is not a network namespace"};
  return ns;
}

Result<NetNs> NetNs::of_pid(pid_t pid) {
  return open("/proc/" + std::to_string(pid) + "/ns/net");
}

Result<NetNs> NetNs::current() {
  return open(kOwnNetNs);
}

Result<NetNs> NetNs::duplicate(int netns_fd) {
  const int fd = ::fcntl(netns_fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return Error::from_errno(errno, "network namespace");
  return NetNs(fd);
}

Result<NetNs> NetNs::create(const std::string& dir, const std::string& name) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return Error{Code::Internal, dir + ": " + error.message()};
  const std::string path = dir + "/" + name;
  if (open(path)) return Error{Code::AlreadyExists, path + " exists"};
  // A plain file there is what a crash between unmount and unlink left: it is reused.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return Error::from_errno(errno, path);
  ::close(fd);
  Result<void> made;
  std::thread([&] { made = unshare_and_mount(path); }).join();
  if (!made) {
    ::unlink(path.c_str());
    return made.error();
  }
  return open(path);
}

Result<void> NetNs::remove(const std::string& dir, const std::string& name) {
  const std::string path = dir + "/" + name;
  // EINVAL: it was not mounted. More than one mount may lie there after a crash.
  for (int i = 0; i < 16 && ::umount2(path.c_str(), MNT_DETACH) == 0; ++i) {
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno(errno, path);
  return {};
}

Result<void> run_in_netns(int netns_fd, const std::function<Result<void>()>& f) {
  Result<void> result;
  std::thread([&] {
    if (setns(netns_fd, CLONE_NEWNET) != 0) {
      result = Error::from_errno(errno, "entering the network namespace");
      return;
    }
    result = f();
  }).join();
  return result;
}

}  // namespace coracle
