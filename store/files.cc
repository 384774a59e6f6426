#include "files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "object_table.h"

namespace coracle {
namespace {

Result<void> sync_path(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, path);
  const int failed = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (failed != 0) return Error::from_errno(failed, "fsync " + path);
  return {};
}

}  // namespace

bool file_exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}
bool is_empty_file(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) != 0 || status.st_size == 0;
}
std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}
std::string name_of(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

Result<void> sync_directory_of(const std::string& path) {
  return sync_path(directory_of(path), O_RDONLY | O_DIRECTORY);
}
Result<void> sync_file(const std::string& path) {
  return sync_path(path, O_RDWR);
}

Result<void> move_file(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0)
    return Error::from_errno(errno, "renaming " + from + " to " + to);
  return sync_directory_of(to);
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::from_errno(errno, path);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  if (file.bad()) return Error{Code::Unavailable, "reading " + path + " failed"};
  return std::move(bytes).str();
}

Result<void> copy_file(const std::string& from, const std::string& to) {
  std::error_code error;
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing, error);
  if (error) return Error::from_errno(error.value(), "copying " + from + " to " + to);
  return {};
}

void remove_file(const std::string& path) {
  (void)unlink(path.c_str());
}

const std::vector<std::string>& database_suffixes() {
  // The file itself comes last: while it is there, so is the reason to move the others.
  static const std::vector<std::string> suffixes{"-wal", "-shm", "-journal", ""};
  return suffixes;
}
void remove_database(const std::string& path) {
  for (const auto& suffix : database_suffixes()) remove_file(path + suffix);
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error))
    names.push_back(it->path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string utc_stamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &parts)};
}

Result<FileLock> FileLock::take(const std::string& path) {
  FileLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.fd_ < 0) return Error::from_errno(errno, path);
  if (flock(lock.fd_, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK)
    return Error{Code::Conflict, path + ": another process has this database open"};
  return Error::from_errno(errno, path);
}
FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

Revision FileLock::remembered() const {
  char text[32];
  const ssize_t size = pread(fd_, text, sizeof(text), 0);
  Revision revision = 0;
  if (size <= 0) return 0;
  const auto [end, error] = std::from_chars(text, text + size, revision);
  const bool sane = error == std::errc() && end != text + size && *end == '\n';
  return sane && revision > 0 && revision < kRevisionLimit ? revision : 0;
}

void FileLock::remember(Revision revision) const {
  std::string text = std::to_string(revision);
  text.insert(0, 20 - std::min<std::size_t>(20, text.size()), '0');
  text += '\n';
  (void)!pwrite(fd_, text.data(), text.size(), 0);
}

}  // namespace coracle
