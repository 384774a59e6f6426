// Reads a container's log as container_log.h writes it, while it grows and is rotated: nothing is
// lost of what lies on the disk, and nothing comes twice. Used from one thread at a time.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/sandbox_files.h"

namespace coracle::logs {

// An entry of the file: "<time> stdout|stderr F|P <text>".
struct LogEntry {
  std::string_view time;    // 30 characters, RFC 3339 with nanoseconds in UTC
  std::string_view stream;  // "stdout" or "stderr"
  bool full = true;         // ends its line
  std::string_view text;
};
// Of a line without its end; nullopt when it is none. Pure.
std::optional<LogEntry> parse_entry(std::string_view line);

struct LogReaderOptions {
  std::string since;                  // as LogEntry::time: what is older is left out; "" = nothing
  std::string stream;                 // "stdout" or "stderr"; "" = both
  std::optional<std::int64_t> tail;   // only so many last lines of what there is at first
  std::optional<std::int64_t> limit;  // only so many bytes
  bool timestamps = false;
  bool follow = false;  // else it ends where the log ended when it was opened
};

class LogReader {
 public:
  // `path` is that of the newest file, PATH.1 that before it; neither need exist. Looks at once for
  // where the last lines begin, from the end.
  LogReader(std::string path, LogReaderOptions options);

  enum class Progress { More, Dry, Done };
  // Appends lines as they are shown, at least `room` bytes if there are, and reads some hundred
  // KiB at most. Dry: that was all there is by now; Done: all that was asked for.
  Progress read(std::string& out, std::size_t room);

 private:
  struct File {
    runtime::Fd fd = runtime::Fd();
    ino_t inode = 0;
    off_t size = 0;  // when it was opened
  };
  static File open_file(const std::string& path);
  void open_both();
  void seek_tail();
  bool fill();
  bool advance();
  bool rotated() const;
  void emit(std::string_view line, std::string& out);

  const std::string path_;
  const LogReaderOptions options_;
  std::int64_t left_;  // bytes that may still be shown
  File now_, next_;    // what is read, and what follows it if that is known
  off_t at_ = 0;
  bool closed_ = false;      // nothing is written to now_ any more
  std::string raw_;          // read, not yet shown
  std::size_t shown_ = 0;    // of raw_
  bool line_begins_ = true;  // with the next entry
};

}  // namespace coracle::logs
