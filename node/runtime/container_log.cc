#include "runtime/container_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <ctime>

namespace coracle::runtime {
namespace {

std::string stamp() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts = {};
  gmtime_r(&now.tv_sec, &parts);
  char out[48];
  const std::size_t length = strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%S", &parts);
  (void)std::snprintf(out + length, sizeof(out) - length, ".%09ldZ", now.tv_nsec);
  return out;
}

}  // namespace

void ContainerLog::open_file() {
  file_ = Fd(openat(dirfd_, path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  struct stat info = {};
  size_ =
      file_.valid() && fstat(file_.get(), &info) == 0 ? static_cast<std::size_t>(info.st_size) : 0;
}

void ContainerLog::add(int stream, const char* data, std::size_t size) {
  std::string& partial = partial_[static_cast<std::size_t>(stream)];
  while (size > 0) {
    const auto* end = static_cast<const char*>(std::memchr(data, '\n', size));
    std::size_t take = end == nullptr ? size : static_cast<std::size_t>(end - data);
    take = std::min(take, kMaxLine - partial.size());
    partial.append(data, take);
    data += take;
    size -= take;
    if (size > 0 && *data == '\n') {
      write_line(stream, 'F');
      ++data;
      --size;
    } else if (partial.size() >= kMaxLine) {
      write_line(stream, 'P');
    }
  }
}

void ContainerLog::finish() {
  for (const int stream : {0, 1})
    if (!partial_[static_cast<std::size_t>(stream)].empty()) write_line(stream, 'F');
  file_ = Fd();
}

void ContainerLog::write_line(int stream, char mark) {
  std::string& partial = partial_[static_cast<std::size_t>(stream)];
  std::string line =
      stamp() + (stream == 0 ? " stdout " : " stderr ") + mark + " " + partial + "\n";
  partial.clear();
  if (file_.valid() && size_ + line.size() > kMaxBytes) {
    file_ = Fd();
    (void)renameat(dirfd_, path_.c_str(), dirfd_, (path_ + ".1").c_str());
  }
  if (!file_.valid()) open_file();
  // A full disk loses lines, not Pods.
  if (file_.valid() && write(file_.get(), line.data(), line.size()) > 0) size_ += line.size();
}

}  // namespace coracle::runtime
