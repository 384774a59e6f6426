// What a Pod's securityContext asks for, as the runtime does it: pure.
#pragma once

#include <coracle/result.h>

#include <string>
#include <vector>

#include "pods/node_pod.h"
#include "runtime/runtime.h"

namespace coracle::pods {

// Contents of passwd(5) and group(5) as the container has them.
struct UserFiles {
  std::string passwd, group;
};

// User, groups, capabilities and flags; the container's word goes before the Pod's. Without a
// runAsGroup, the user's own group; with supplementalGroupsPolicy Merge (the default) its other
// groups too. no_new_privs stays on unless allowPrivilegeEscalation is true in so many words.
// BadRequest with the kubelet's message when it would break runAsNonRoot.
Result<Privileges> compute_privileges(const NodePod& pod, const PodContainer& container,
                                      const UserFiles& files);

// The user's home directory, "/" when there is no such user: the default of HOME.
std::string home_of(std::uint32_t uid, const std::string& passwd);

// From resources.limits and resources.requests.
ResourceLimits compute_limits(const NodePod& pod, const PodContainer& container);

// "cpu" and "memory", as far as any container has a limit of it.
std::vector<std::string> limited_resources(const NodePod& pod);
bool shares_processes(const NodePod& pod);

// The bit's number; negative when there is no such capability. With or without CAP_.
int capability_number(const std::string& name);

// What of securityContexts has no effect, as paths from the spec.
std::vector<std::string> unsupported_security(const NodePod& pod);

}  // namespace coracle::pods
