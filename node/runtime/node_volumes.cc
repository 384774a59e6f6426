#include "runtime/node_volumes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {
namespace {

constexpr mode_t kForAll = 0777, kSetGroup = 02000;

struct HostType {
  const char* name;
  const char* what;
  mode_t kind;
  bool made;  // where it is missing
};
constexpr HostType kHostTypes[] = {
    {"DirectoryOrCreate", "a directory", S_IFDIR, true},
    {"Directory", "a directory", S_IFDIR, false},
    {"FileOrCreate", "a file", S_IFREG, true},
    {"File", "a file", S_IFREG, false},
    {"Socket", "a socket file", S_IFSOCK, false},
    {"CharDevice", "a character device", S_IFCHR, false},
    {"BlockDevice", "a block device", S_IFBLK, false},
};

Result<void> make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return Error{Code::Internal, "making " + path + ": " + error.message()};
  return {};
}

Result<void> make_file(const std::string& path) {
  const Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!file.valid()) return Error::from_errno(errno, "making " + path);
  return {};
}

}  // namespace

Result<void> prepare_disk_volume(const std::string& dir, const Volume& volume) {
  TRY(make_directories(dir));
  if (chmod(dir.c_str(), 0700) != 0) return Error::from_errno(errno, dir);
  const std::string path = dir + "/" + volume.name;
  if (access(path.c_str(), F_OK) == 0) return {};
  // Complete, or not there: its containers may change its mode later. No volume's name has a dot.
  const std::string draft = path + ".new";
  TRY(make_directories(draft));
  const gid_t group = volume.group.value_or(0);
  if (chown(draft.c_str(), 0, group) != 0 ||
      chmod(draft.c_str(), kForAll | (volume.group ? kSetGroup : 0)) != 0 ||
      rename(draft.c_str(), path.c_str()) != 0)
    return Error::from_errno(errno, path);
  return {};
}

Result<void> prepare_host_volume(const Volume& volume) {
  const std::string& path = volume.path;
  struct stat info = {};
  const bool there = stat(path.c_str(), &info) == 0;
  if (volume.type.empty()) return there ? Result<void>() : make_directories(path);
  for (const HostType& type : kHostTypes) {
    if (volume.type != type.name) continue;
    if (!there && type.made) return type.kind == S_IFDIR ? make_directories(path) : make_file(path);
    if (there && (info.st_mode & S_IFMT) == type.kind) return {};
    return Error{Code::BadRequest, "hostPath type check failed: " + path + " is not " + type.what};
  }
  return Error{Code::BadRequest, "hostPath type " + volume.type + " is not known"};
}

}  // namespace coracle::runtime
