// A Pod's volumes and where its containers have them: pure.
#pragma once

#include <coracle/result.h>

#include <string>
#include <utility>
#include <vector>

#include "pods/node_pod.h"
#include "runtime/volume.h"

namespace coracle::pods {

struct PodVolume {
  Volume volume;
  const Json* source = nullptr;  // as the spec has it, alive as long as the Pod
  bool payload = false;          // its files are written by the agent, containers only read them
  std::string unsupported;       // the type, when the runtime cannot give it
};

// In the spec's order. The service account's own token volume is left out, see is_token_volume.
std::vector<PodVolume> volumes_of(const NodePod& pod);

// What is mounted into the container. `env`: what subPathExpr refers to. NotFound when it names a
// variable that is not set.
Result<std::vector<VolumeMount>> mounts_of(
    const NodePod& pod, const PodContainer& container,
    const std::vector<std::pair<std::string, std::string>>& env);

// The volume that admission adds for the service account's token: nobody asked for it, and no token
// can be had.
bool is_token_volume(const std::string& name);

}  // namespace coracle::pods
