#include "runtime/termination_log.h"

#include <coracle/utf8.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "runtime/container_log.h"

namespace coracle::runtime {
namespace {

constexpr const char* kFile = "termination-log";
// "2026-01-02T03:04:05.000000000Z stdout F ", see ContainerLog.
constexpr std::size_t kLinePrefix = 40;
// What is cut at the beginning is not needed: no line is longer than the last part.
constexpr std::size_t kMaxRead =
    kMaxLogMessage + kMaxLogMessageLines * kLinePrefix + ContainerLog::kMaxLine + kLinePrefix + 1;

Error cannot_place(const std::string& path, int error) {
  return Error::from_errno(error, "terminationMessagePath " + path);
}

// The last bytes of a file, at most that many.
std::string read_end(int file, std::size_t most) {
  struct stat info = {};
  if (file < 0 || fstat(file, &info) != 0) return "";
  const auto size = static_cast<std::size_t>(std::max<off_t>(0, info.st_size));
  std::string out(std::min(size, most), '\0');
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = pread(file, out.data() + done, out.size() - done,
                            static_cast<off_t>(size - out.size() + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;  // it was truncated meanwhile
    done += static_cast<std::size_t>(n);
  }
  out.resize(done);
  return out;
}

std::string read_end(int dirfd, const std::string& path, std::size_t most) {
  const Fd file(openat(dirfd, path.c_str(), O_RDONLY | O_CLOEXEC));
  return read_end(file.get(), most);
}

bool is_entry(std::string_view line) {
  return line.size() >= kLinePrefix && line.substr(29, 5) == "Z std" && line[37] == ' ' &&
         line[39] == ' ';
}

std::string valid_end(std::string_view text, std::size_t most) {
  return std::string(utf8::tail(utf8::to_valid(utf8::tail(text, most)), most));
}

}  // namespace

Result<TerminationLog> make_termination_log() {
  TerminationLog out;
  out.file = Fd(open(kFile, O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!out.file.valid() || fchmod(out.file.get(), 0666) != 0) return cannot_place(kFile, errno);
  out.mount = Fd(open_tree(AT_FDCWD, kFile, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!out.mount.valid()) return cannot_place(kFile, errno);
  return out;
}

Result<void> place_termination_log(const TerminationLog& log, const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1))
    (void)mkdir(path.substr(0, slash).c_str(), 0755);
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) {
    const Fd target(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (!target.valid()) return cannot_place(path, errno);
  }
  if (move_mount(log.mount.get(), "", AT_FDCWD, path.c_str(),
                 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) != 0)
    return cannot_place(path, errno);
  return {};
}

std::string read_termination_log(int file) {
  return valid_end(read_end(file, kMaxTerminationMessage), kMaxTerminationMessage);
}

std::string read_last_lines(int dirfd, const std::string& path) {
  std::string text = read_end(dirfd, path, kMaxRead);
  // A new file may just have been begun.
  if (text.size() < kMaxRead) text.insert(0, read_end(dirfd, path + ".1", kMaxRead - text.size()));
  return last_lines(text);
}

std::string last_lines(std::string_view log) {
  std::vector<std::string_view> lines;
  while (!log.empty() && lines.size() < kMaxLogMessageLines) {
    const std::size_t end = log.back() == '\n' ? log.size() - 1 : log.size();
    const std::size_t before = end == 0 ? std::string_view::npos : log.rfind('\n', end - 1);
    const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
    lines.push_back(log.substr(begin, end - begin));
    log = log.substr(0, begin);
  }
  std::string out;
  std::reverse(lines.begin(), lines.end());
  for (const std::string_view line : lines) {
    if (!is_entry(line)) continue;
    out += line.substr(kLinePrefix);
    if (line[38] == 'F') out += '\n';
  }
  return valid_end(out, kMaxLogMessage);
}

}  // namespace coracle::runtime
