// Time as a dependency: code that waits or stamps takes a Clock, tests give a fake one.
#pragma once

#include <chrono>
#include <string>

namespace coracle {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time, for timestamps in objects.
  virtual std::chrono::system_clock::time_point now() const = 0;
  // Monotonic time, for delays and deadlines.
  virtual std::chrono::steady_clock::time_point steady_now() const = 0;
};

// The machine's clocks. Thread-safe, lives for ever.
const Clock& system_clock();

// RFC 3339 in UTC, as Kubernetes writes it: seconds ("...:05Z") for meta/v1 Time and microseconds
// ("...:05.000000Z") for MicroTime. Implemented in apiserver/api/time.cc.
std::string format_time(std::chrono::system_clock::time_point time);
std::string format_micro_time(std::chrono::system_clock::time_point time);
// The epoch when the text is no RFC 3339 time.
std::chrono::system_clock::time_point parse_time(const std::string& text);

}  // namespace coracle
