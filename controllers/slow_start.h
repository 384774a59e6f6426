// Many calls to an API that may refuse them: in batches of 1, 2, 4, ... as long as none is refused.
#pragma once

#include <coracle/result.h>

#include <cstddef>
#include <functional>

namespace coracle {

// How many calls of a batch are under way at a time: the store commits those that wait together.
inline constexpr std::size_t kCallsAtOnce = 8;

// Calls call(0), ..., call(count - 1), from several threads. A batch begins when the one before it
// was done without an error; after an error no further call begins, and the first one is returned.
// `call` must be thread-safe.
Result<void> slow_start(std::size_t count, const std::function<Result<void>(std::size_t)>& call);

}  // namespace coracle
