// The descriptors a supervisor is started with.
#pragma once

namespace coracle::runtime {

inline constexpr int kListenFd = 3;      // the bound, listening socket
inline constexpr int kSandboxDirFd = 4;  // <data>/pods/<uid>
inline constexpr int kExecutableFd = 5;  // this executable, not writable through /proc
inline constexpr int kReadyFd = 6;       // takes "ok" or an error, then closes

}  // namespace coracle::runtime
