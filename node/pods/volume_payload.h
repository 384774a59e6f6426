// The files of configMap, secret, downwardAPI and projected volumes: pure but for what is fetched.
#pragma once

#include <coracle/result.h>

#include <functional>
#include <string>

#include "pods/node_pod.h"
#include "pods/object_values.h"
#include "pods/resource_value.h"
#include "runtime/volume.h"

namespace coracle::pods {

struct PayloadSources {
  FetchObject fetch;
  std::function<Result<Allocatable>()> allocatable;  // the node's
};

// Whether it is a volume of such files.
bool has_payload(const Json& volume);
// Whether its files depend on objects that others may change.
bool refers_to_objects(const Json& volume);

// `volume` as the Pod's spec has it. Errors in the kubelet's words: what is missing, or the
// fetch's.
Result<VolumeFiles> compute_payload(const NodePod& pod, const Json& volume,
                                    const PayloadSources& sources);

// Labels or annotations as a downward file shows them: a line each, the value as Go quotes it.
std::string format_map(const std::map<std::string, std::string>& values);

}  // namespace coracle::pods
