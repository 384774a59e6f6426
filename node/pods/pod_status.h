// The status the API is told of a Pod: pure.
#pragma once

#include <coracle/net.h>

#include <string>

#include "pods/pod_state.h"

namespace coracle::pods {

// Of a Pod that was active for longer than spec.activeDeadlineSeconds.
inline constexpr const char* kDeadlineReason = "DeadlineExceeded";
inline constexpr const char* kDeadlineMessage =
    "Pod was active on the node longer than the specified deadline";

struct StatusFacts {
  Ip node_ip;
  std::string now;  // RFC 3339, for what changes now
};
// The whole status: what is ours computed, what is others' (qosClass, foreign conditions) kept from
// the Pod's present one. An unchanged state yields an equal document.
Json compute_pod_status(const PodView& view, const StatusFacts& facts);

}  // namespace coracle::pods
