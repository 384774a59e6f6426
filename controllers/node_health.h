// What a Node's silence means: conditions and taints, as upstream's node life-cycle controller
// writes them. Pure.
#pragma once

#include <coracle/api/node.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace coracle {

using NodePtr = std::shared_ptr<const Node>;

// Of all nodes together. When most are down it is rather the network, or us: upstream then evicts
// nothing more (in clusters of up to 50 nodes), and with all of them down nothing at all.
enum class Disruption { None, Partial, Full };
// Partial: more than two nodes, and 55 % of all, are not Ready.
Disruption compute_disruption(std::size_t ready, std::size_t all);

// The conditions to write of a node that gave no sign of life for too long, empty when they say so
// already. `now`: RFC 3339.
Json compute_silent_conditions(const Node& node, const std::string& now);

// The node's taints: those that follow from its conditions and from spec.unschedulable as they
// should be, all others as they are. NoExecute taints are added only without a disruption, and go
// in a full one.
std::vector<Taint> compute_taints(const Node& node, Disruption disruption, const std::string& now);

}  // namespace coracle
