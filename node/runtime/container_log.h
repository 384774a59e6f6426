// A container's output as files in the format of the container runtime interface: one line each of
// "<RFC 3339 with nanoseconds> stdout|stderr F|P <text>", P for a part of a long line. The file
// before last is kept beside it when it grows too large.
#pragma once

#include <array>
#include <string>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

class ContainerLog {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{10} << 20U;
  static constexpr std::size_t kMaxLine = std::size_t{16} << 10U;

  // `path` is relative to the sandbox's directory, which must outlive it. The file is there, and
  // open, from now on: that it is closed tells those who follow it that this container has ended,
  // also one that never wrote.
  ContainerLog(int dirfd, std::string path) : dirfd_(dirfd), path_(std::move(path)) { open_file(); }
  // What arrived on standard output (0) or standard error (1).
  void add(int stream, const char* data, std::size_t size);
  // The last lines may lack their ends.
  void finish();

 private:
  void write_line(int stream, char mark);
  void open_file();

  const int dirfd_;
  const std::string path_;
  Fd file_;
  std::size_t size_ = 0;
  std::array<std::string, 2> partial_;
};

}  // namespace coracle::runtime
