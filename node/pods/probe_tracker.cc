#include "pods/probe_tracker.h"

#include <algorithm>
#include <charconv>

namespace coracle::pods {

const char* to_string(ProbeKind kind) {
  switch (kind) {
    case ProbeKind::Startup:
      return "Startup";
    case ProbeKind::Readiness:
      return "Readiness";
    case ProbeKind::Liveness:
      return "Liveness";
  }
  return "";
}

// Until a first verdict a container is not ready and not started, but not dead either.
ProbeTracker::ProbeTracker(const ProbeTarget& target)
    : verdict_(target.assumed || target.kind == ProbeKind::Liveness ? Verdict::Success
                                                                    : Verdict::Unknown) {}

bool ProbeTracker::note(bool success, const Probe& probe) {
  in_a_row_ = success == last_ ? in_a_row_ + 1 : 1;
  last_ = success;
  const std::int64_t threshold = success ? probe.success_threshold : probe.failure_threshold;
  if (in_a_row_ < std::max<std::int64_t>(1, threshold)) return false;
  const Verdict before = verdict_;
  verdict_ = success ? Verdict::Success : Verdict::Failure;
  return verdict_ != before;
}

std::int64_t probe_port(const Probe& probe, const Container& container) {
  if (probe.port_name.empty()) return probe.port;
  for (const ContainerPort& port : container.ports)
    if (port.name == probe.port_name) return port.container_port;
  // A number written as text is one too.
  std::int64_t number = 0;
  const char* end = probe.port_name.data() + probe.port_name.size();
  const auto parsed = std::from_chars(probe.port_name.data(), end, number);
  return parsed.ec == std::errc() && parsed.ptr == end ? number : 0;
}

}  // namespace coracle::pods
