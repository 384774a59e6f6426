// What this node's Node says of the way to the other nodes. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "peer_rounds.h"

namespace coracle {

// For the condition NetworkUnavailable.
struct PeerFinding {
  bool unavailable = false;
  std::string reason, message;
  bool operator==(const PeerFinding&) const = default;
};
struct PeerReport {
  std::string annotation;  // coracle.io/peers; "": none
  // None: nobody to test, or nobody tested yet.
  std::optional<PeerFinding> finding = {};
  bool operator==(const PeerReport&) const = default;
};
// Of the peers that are Ready, more than half have to fail for the network to be unavailable: one
// that is broken must not keep Pods off all the others. What fails is named either way.
PeerReport compute_peer_report(const std::vector<PeerResult>& results);

}  // namespace coracle
