// Desired × actual kernel state -> operations, pure. What `owned` does not name is never touched.
#pragma once

#include <functional>
#include <vector>

#include "kernel.h"

namespace coracle {

// Operations in a safe order: removals before what may collide with them, a bridge before its
// ports, links before addresses before neighbours before FDB entries before routes; a changed route
// or FDB entry is replaced, not removed; a VXLAN link that differs in more than learning is made
// anew. Owned are the links `owned` accepts with all their (not link-local) addresses, neighbours
// and FDB entries, and the routes with our protocol number. A desired veth that is missing is left
// out: only who holds the other end's namespace can make it.
std::vector<Operation> diff(const KernelState& desired, const KernelState& actual,
                            const std::function<bool(const Link&)>& owned);
// Owned by the agent: links with our prefix.
std::vector<Operation> diff(const KernelState& desired, const KernelState& actual);

}  // namespace coracle
