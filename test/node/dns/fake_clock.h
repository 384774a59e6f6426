// Time that stands still until a test lets it pass.
#pragma once

#include <coracle/clock.h>

namespace coracle::dns::test {

class FakeClock final : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override { return {}; }
  std::chrono::steady_clock::time_point steady_now() const override { return now_; }
  void pass(std::chrono::milliseconds time) { now_ += time; }

 private:
  std::chrono::steady_clock::time_point now_{std::chrono::hours(1)};
};

}  // namespace coracle::dns::test
