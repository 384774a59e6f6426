// For what nothing tells about: a condition that becomes true by itself, asked for again and again.
#pragma once

#include <chrono>
#include <thread>

namespace coracle::test {

// True as soon as `condition` is. The limit is for what never comes, and generous, as machines that
// run tests are slow: no measure of how long it may take.
template <typename Condition>
bool eventually(const Condition& condition, std::chrono::seconds limit = std::chrono::seconds(60)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace coracle::test
