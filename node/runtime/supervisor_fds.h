// The descriptors a supervisor is started with, and those it makes for others to find.
#pragma once

namespace coracle::runtime {

inline constexpr int kSandboxDirFd = 3;  // <data>/pods/<uid>
inline constexpr int kExecutableFd = 4;  // this executable, not writable through /proc
inline constexpr int kReadyFd = 5;       // takes "ok" or an error, then closes

// Far from what it opens in between; see etc_files.h.
inline constexpr int kEtcDirFd = 40;        // found by the agent, in /proc/<pid>/fd
inline constexpr int kEtcNamespaceFd = 41;  // for its children

}  // namespace coracle::runtime
