// One probe of one container as values: when it is due, and what its results add up to.
#pragma once

#include <coracle/net.h>

#include <string>

#include "pods/pod_state.h"

namespace coracle::pods {

enum class ProbeKind { Startup, Readiness, Liveness };
const char* to_string(ProbeKind kind);  // "Startup", as Events say it

struct ProbeTarget {
  std::string container, container_id;
  ProbeKind kind = ProbeKind::Readiness;
  Probe probe;
  Ip ip;
  std::int64_t port = 0;  // resolved; 0 when the Pod declares no such port
  Time first{};           // not before: the container's start and the initial delay
  bool assumed = false;   // success until told otherwise: an adopted container's
  bool operator==(const ProbeTarget&) const = default;
};

// Counts results in a row against the thresholds.
class ProbeTracker {
 public:
  explicit ProbeTracker(const ProbeTarget& target);
  // True when the verdict changed.
  bool note(bool success, const Probe& probe);
  Verdict verdict() const { return verdict_; }

 private:
  Verdict verdict_;
  bool last_ = false;
  std::int64_t in_a_row_ = 0;
};

// The port that an httpGet or tcpSocket probe names, by number or by the container's port name; 0
// when there is none.
std::int64_t probe_port(const Probe& probe, const Container& container);

}  // namespace coracle::pods
