// The termination message of a container: a file of its own, at a path of its Pod's choice, whose
// end tells why it ended. It lies in the container's memory, so that what is written there wears no
// disk, and outlives the container by a descriptor.
#pragma once

#include <coracle/result.h>

#include <string>
#include <string_view>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

inline constexpr std::size_t kMaxTerminationMessage = 4096;
inline constexpr std::size_t kMaxLogMessage = 2048, kMaxLogMessageLines = 80;

struct TerminationLog {
  Fd file;   // to be read, also when the mount is gone
  Fd mount;  // detached
};
// A new, empty file in the working directory, which every user may write.
Result<TerminationLog> make_termination_log();
// Below the caller's root; what is missing of the path is made. REQUIRES: the mount namespace is
// the caller's own.
Result<void> place_termination_log(const TerminationLog& log, const std::string& path);

// Valid UTF-8 each, and empty when there is nothing to be read.
std::string read_termination_log(int file);
// The last lines of a container's log, of both of its streams: `path` as ContainerLog was given it.
std::string read_last_lines(int dirfd, const std::string& path);
// The same from the end of the log's text; half a line at its beginning is left out. Pure.
std::string last_lines(std::string_view log);

}  // namespace coracle::runtime
