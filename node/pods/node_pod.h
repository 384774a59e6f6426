// A Pod as this node runs it: the typed fields, the document behind them, and its containers in the
// order in which they start.
#pragma once

#include <coracle/api/pod.h>
#include <coracle/events.h>

#include <string>
#include <vector>

#include "pods/hook.h"

namespace coracle::pods {

struct PodContainer {
  // A sidecar is an init container with restartPolicy Always: started in turn with the init
  // containers, then kept running.
  enum class Role { Init, Sidecar, Main };
  Container spec;
  Role role = Role::Main;
  std::size_t index = 0;  // in its list of the spec
  Hook post_start, pre_stop;
};

struct NodePod {
  Pod pod;
  Object object;
  std::vector<PodContainer> containers;  // init containers and sidecars, then the others

  static Result<NodePod> decode(const Object& object);
  const PodContainer* find(const std::string& container) const;
  // The container as the spec has it; an empty object when there is none.
  const Json& document(const PodContainer& container) const;
  const Json& spec() const;
  const Json& status() const;
  bool has_init() const { return !pod.init_containers.empty(); }
};

// What an Event about the Pod, or about one of its containers, refers to.
ObjectReference reference_of(const NodePod& pod, const PodContainer* container = nullptr);

}  // namespace coracle::pods
