#include "logs/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace coracle::logs {
namespace {

constexpr std::size_t kTime = 30, kStream = 31, kMark = 38, kText = 40;  // where they are
constexpr std::size_t kBlock = std::size_t{32} * 1024;
constexpr std::size_t kBackwards = std::size_t{64} * 1024;
constexpr std::size_t kMostBlocks = 8;                         // of one read()
constexpr std::size_t kLongestEntry = std::size_t{64} * 1024;  // a longer one is damage
constexpr int kMostTries = 16;                                 // against rotations under our hands

std::size_t read_at(int fd, char* into, std::size_t size, off_t at) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, into + done, size - done, at + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

// Looks from the end for where the last lines begin.
class TailSeeker {
 public:
  explicit TailSeeker(std::int64_t lines) : wanted_(lines) {}
  // The place in that file; nullopt when they begin before it. To be called with the newest first.
  std::optional<off_t> seek(int fd, off_t size) {
    std::string block;
    start_ = -1;
    for (off_t begin = size; begin > 0;) {
      const off_t end = begin;
      begin = std::max<off_t>(0, end - static_cast<off_t>(kBackwards));
      const std::string after = block.substr(0, kText);  // an entry's head may lie across
      block.resize(static_cast<std::size_t>(end - begin));
      block.resize(read_at(fd, block.data(), block.size(), begin));
      const std::size_t own = block.size();
      block += after;
      for (std::size_t i = own; i > 0; --i) {
        if (block[i - 1] != '\n') continue;
        if (start_ < 0)
          start_ = begin + static_cast<off_t>(i);  // what follows is not whole yet
        else if (entry(std::string_view(block).substr(i), begin + static_cast<off_t>(i)))
          return start_;
      }
      if (begin == 0 && start_ > 0 && entry(block, 0)) return start_;
      block.resize(own);
    }
    return std::nullopt;
  }

 private:
  // One entry further to the front. True: it ends the line before those that are wanted.
  bool entry(std::string_view text, off_t begin) {
    const bool ends_line = !seen_any_ || (text.size() > kMark && text[kMark] == 'F');
    seen_any_ = true;
    if (ends_line && found_ == wanted_) return true;
    if (ends_line) ++found_;
    start_ = begin;
    return false;
  }

  const std::int64_t wanted_;
  std::int64_t found_ = 0;
  bool seen_any_ = false;
  off_t start_ = -1;
};

}  // namespace

std::optional<LogEntry> parse_entry(std::string_view line) {
  if (line.size() < kText || line[kTime - 1] != 'Z' || line[kTime] != ' ' ||
      line[kMark - 1] != ' ' || line[kMark + 1] != ' ')
    return std::nullopt;
  const auto stream = line.substr(kStream, kMark - 1 - kStream);
  if (stream != "stdout" && stream != "stderr") return std::nullopt;
  return LogEntry{line.substr(0, kTime), stream, line[kMark] == 'F', line.substr(kText)};
}

LogReader::LogReader(std::string path, LogReaderOptions options)
    : path_(std::move(path)),
      options_(std::move(options)),
      left_(options_.limit.value_or(std::numeric_limits<std::int64_t>::max())) {
  open_both();
  if (options_.tail) seek_tail();
}

LogReader::File LogReader::open_file(const std::string& path) {
  File out;
  out.fd = runtime::Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info = {};
  if (!out.fd.valid() || fstat(out.fd.get(), &info) != 0) return {};
  out.inode = info.st_ino;
  out.size = info.st_size;
  return out;
}

// The file before the newest, and the newest: also when the one becomes the other meanwhile.
void LogReader::open_both() {
  for (int i = 0; i < kMostTries; ++i) {
    next_ = open_file(path_);
    now_ = open_file(path_ + ".1");
    struct stat info = {};
    const bool there = stat(path_.c_str(), &info) == 0;
    if (there == next_.fd.valid() && (!there || info.st_ino == next_.inode)) break;
  }
  if (now_.fd.valid()) return;
  now_ = std::move(next_);
  next_ = {};
}

void LogReader::seek_tail() {
  TailSeeker seeker(*options_.tail);
  if (next_.fd.valid()) {
    if (const auto start = seeker.seek(next_.fd.get(), next_.size)) {
      now_ = std::move(next_);
      next_ = {};
      at_ = *start;
      return;
    }
  }
  if (now_.fd.valid())
    if (const auto start = seeker.seek(now_.fd.get(), now_.size)) at_ = *start;
}

// More bytes of the file. False: there are none.
bool LogReader::fill() {
  if (!now_.fd.valid()) return false;
  std::size_t size = kBlock;
  if (!options_.follow)
    size = std::min(size, static_cast<std::size_t>(std::max<off_t>(0, now_.size - at_)));
  if (shown_ > 0) raw_.erase(0, std::exchange(shown_, 0));
  const std::size_t before = raw_.size();
  raw_.resize(before + size);
  const std::size_t got = read_at(now_.fd.get(), raw_.data() + before, size, at_);
  raw_.resize(before + got);
  at_ += static_cast<off_t>(got);
  if (raw_.empty()) std::string().swap(raw_);  // one that waits keeps no buffer
  return got > 0;
}

bool LogReader::rotated() const {
  struct stat info = {};
  return stat(path_.c_str(), &info) == 0 && (!now_.fd.valid() || info.st_ino != now_.inode);
}

// After the end of a file. False: there is nothing after it yet.
bool LogReader::advance() {
  if (!next_.fd.valid() && (!options_.follow || !rotated())) return false;
  // What was written between our last look and its end.
  if (options_.follow && now_.fd.valid() && !std::exchange(closed_, true)) return true;
  closed_ = false;
  if (!next_.fd.valid()) {
    // The newest, if ours is just before it, else the one between; more than one are gone.
    next_ = open_file(path_);
    File between = open_file(path_ + ".1");
    const bool ours = now_.fd.valid() && between.inode == now_.inode;
    if (between.fd.valid() && !ours) next_ = std::move(between);
    if (!next_.fd.valid() || (now_.fd.valid() && next_.inode == now_.inode)) {
      next_ = {};
      return rotated();
    }
  }
  now_ = std::exchange(next_, {});
  at_ = 0;
  raw_.clear();
  shown_ = 0;
  return true;
}

void LogReader::emit(std::string_view line, std::string& out) {
  const auto entry = parse_entry(line);
  if (!entry || (!options_.stream.empty() && entry->stream != options_.stream) ||
      entry->time < options_.since)
    return;
  const std::size_t before = out.size();
  if (options_.timestamps && line_begins_) out.append(entry->time).append(" ");
  out += entry->text;
  if (entry->full) out += '\n';
  line_begins_ = entry->full;
  const auto added = static_cast<std::int64_t>(out.size() - before);
  if (added > left_) out.resize(before + static_cast<std::size_t>(left_));
  left_ -= std::min(left_, added);
}

LogReader::Progress LogReader::read(std::string& out, std::size_t room) {
  const std::size_t full = out.size() + room;
  std::size_t blocks = 0;
  int files = 0;
  for (;;) {
    for (;;) {
      if (left_ == 0) return Progress::Done;
      if (out.size() >= full) return Progress::More;
      const std::size_t end = raw_.find('\n', shown_);
      if (end == std::string::npos) break;
      emit(std::string_view(raw_).substr(shown_, end - shown_), out);
      shown_ = end + 1;
    }
    if (raw_.size() - shown_ > kLongestEntry) shown_ = raw_.size();
    if (blocks++ == kMostBlocks) return Progress::More;
    if (fill()) continue;
    if (files++ == kMostTries) return Progress::More;
    if (!advance()) return Progress::Dry;
  }
}

}  // namespace coracle::logs
