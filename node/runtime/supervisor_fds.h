// The descriptors a supervisor is started with.
#pragma once

namespace coracle::runtime {

inline constexpr int kSandboxDirFd = 3;  // <data>/pods/<uid>
inline constexpr int kExecutableFd = 4;  // this executable, not writable through /proc
inline constexpr int kReadyFd = 5;       // takes "ok" or an error, then closes

}  // namespace coracle::runtime
