// What a resource field reference says (env valueFrom.resourceFieldRef): pure.
#pragma once

#include <coracle/object.h>
#include <coracle/quantity.h>
#include <coracle/result.h>

#include <cstdint>
#include <map>
#include <string>

#include "pods/node_pod.h"

namespace coracle::pods {

using coracle::quantity;

// By resource, as a Node's status.allocatable has it: what a container without a limit may use.
using Allocatable = std::map<std::string, std::string>;

// The container is the one of whose environment the reference is; it may name another one.
// BadRequest for a resource that is not offered, NotFound for a container.
Result<std::string> resource_value(const NodePod& pod, const PodContainer& container,
                                   const Json& reference, const Allocatable& allocatable);

// How soon the kernel ends the container when memory runs out, by the rules of the kubelet: 1000 is
// first. `memory` is the node's, in bytes.
int oom_score_adj(const NodePod& pod, const PodContainer& container, std::int64_t memory);

}  // namespace coracle::pods
