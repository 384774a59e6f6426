#include <coracle/files.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>

namespace coracle {

Result<std::string> read_whole_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error::from_errno(errno, "reading " + path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

Result<void> write_file_atomically(const std::string& path, const std::string& content,
                                   unsigned mode) {
  const std::string temporary = path + ".new";
  (void)unlink(temporary.c_str());
  const int fd =
      open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) return Error::from_errno(errno, "creating " + temporary);
  std::size_t written = 0;
  bool ok = true;
  while (ok && written < content.size()) {
    const ssize_t n = write(fd, content.data() + written, content.size() - written);
    if (n < 0 && errno == EINTR) continue;
    ok = n > 0;
    if (ok) written += static_cast<std::size_t>(n);
  }
  ok = ok && fsync(fd) == 0;
  const int failure = errno;
  close(fd);
  if (!ok) return Error::from_errno(failure, "writing " + temporary);
  if (rename(temporary.c_str(), path.c_str()) != 0)
    return Error::from_errno(errno, "renaming to " + path);
  return {};
}

}  // namespace coracle
