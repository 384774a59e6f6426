// Runs a command inside a running container, for `coracle lab exec --pod` and exec probes.
#pragma once

#include <coracle/result.h>

#include <string>
#include <vector>

namespace coracle {

// With our standard input and outputs, in the namespaces, root, user, capabilities and environment
// of the container ("" = the Pod's first). `pods_dir` is DATA/pods. Its exit code, 128 + signal,
// 127 when there is no such program. NotFound when the Pod does not run.
Result<int> pod_exec(const std::string& pods_dir, const std::string& pod_uid,
                     const std::string& container, const std::vector<std::string>& argv);

}  // namespace coracle
