// NetProbes: HTTP and TCP probes side by side on the calling thread, none of which waits for
// another. Not thread-safe but for wake().
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pods/probe_tracker.h"

namespace coracle::pods {

struct ProbeResult {
  bool success = false;
  std::string message;   // why not
  bool unknown = false;  // it could not be carried out, and tells nothing of the container
  long status = 0;       // of an HTTP answer
};

class NetProbes {
 public:
  using Id = std::uint64_t;
  NetProbes();
  ~NetProbes();
  NetProbes(const NetProbes&) = delete;
  NetProbes& operator=(const NetProbes&) = delete;

  // Starts it; its result comes from a later wait().
  void start(Id id, const ProbeTarget& target);
  void cancel(Id id);
  // Works on what runs until something is finished, wake() was called or the time is over.
  std::vector<std::pair<Id, ProbeResult>> wait(std::chrono::milliseconds at_most);
  void wake();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coracle::pods
