// For what recurses into documents that may nest deeply.
#pragma once

#include <functional>

namespace coracle {

// Calls `work` on a thread with a stack of 16 MiB (address space; memory only as it is used) and
// waits for it. False, without having called it, when there is no such thread to be had.
bool call_on_big_stack(const std::function<void()>& work);

}  // namespace coracle
