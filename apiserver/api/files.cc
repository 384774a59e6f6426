#include <coracle/files.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <utility>

namespace coracle {
namespace {

// A descriptor that closes itself.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

bool is_at(int fd, const std::string& path) {
  struct stat ours = {};
  struct stat there = {};
  return fstat(fd, &ours) == 0 && lstat(path.c_str(), &there) == 0 && ours.st_dev == there.st_dev &&
         ours.st_ino == there.st_ino;
}

// The file under that name, empty, made or left by somebody who died, which nobody else writes: who
// waited for its lock finds that it has been renamed away, and begins anew.
Result<File> open_alone(const std::string& path, unsigned mode) {
  for (;;) {
    File file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode));
    if (file.get() < 0) return Error::from_errno(errno, "creating " + path);
    while (flock(file.get(), LOCK_EX) != 0)
      if (errno != EINTR) return Error::from_errno(errno, "locking " + path);
    if (!is_at(file.get(), path)) continue;
    if (fchmod(file.get(), mode) != 0 || ftruncate(file.get(), 0) != 0)
      return Error::from_errno(errno, "emptying " + path);
    return file;
  }
}

}  // namespace

Result<std::string> read_whole_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error::from_errno(errno, "reading " + path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

Result<void> write_file_atomically(const std::string& path, const std::string& content,
                                   unsigned mode) {
  const std::string temporary = path + ".new";
  const File file = TRY(open_alone(temporary, mode));
  std::size_t written = 0;
  while (written < content.size()) {
    const ssize_t n = write(file.get(), content.data() + written, content.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::from_errno(errno, "writing " + temporary);
    written += static_cast<std::size_t>(n);
  }
  if (fsync(file.get()) != 0) return Error::from_errno(errno, "writing " + temporary);
  if (rename(temporary.c_str(), path.c_str()) != 0)
    return Error::from_errno(errno, "renaming to " + path);
  return {};
}

}  // namespace coracle
