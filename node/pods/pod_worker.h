// PodWorker: applies the planned actions to runtime, network and API, and notes in the Pod's memory
// what came of it. Thread-safe for different Pods.
#pragma once

#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/events.h>

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "netns.h"
#include "pods/pod_actions.h"
#include "pods/pod_env.h"
#include "pods/pod_state.h"

namespace coracle::pods {

// What is asked of the Pod network; PodNetwork does it.
struct PodConnector {
  std::function<Result<Ip>(const std::string& pod_uid, const NetNs& netns)> add;
  std::function<Result<void>(const std::string& pod_uid)> del;
  std::function<Result<void>(const std::set<std::string>& live_pod_uids)> gc;
};

struct PodWorkerOptions {
  std::string node_name;
  Ip node_ip;
  std::string cluster_domain;
};

class PodWorker {
 public:
  PodWorker(Client& client, const Clock& clock, Runtime& runtime, PodConnector network,
            EventRecorder& events, PodWorkerOptions options);

  // False when it failed or must wait: the rest of the plan is void then, and memory says when to
  // try again. REQUIRES: the memory is that of the view.
  bool apply(const PodView& view, PodMemory& memory, const PodAction& action);
  // Everything of a Pod that the API does not know any more.
  Result<void> remove(const std::string& pod_uid);
  // The Event for what the Pod asks for in vain.
  void announce(const NodePod& pod);
  void announce_backoff(const NodePod& pod, const std::string& container);
  void announce_probe(const NodePod& pod, const std::string& container, const std::string& message);
  Json status_of(const PodView& view) const;
  // Tells the API the status if it is another one. The Pod as the API has it afterwards, null when
  // it is gone there.
  Result<std::shared_ptr<const NodePod>> write_status(const PodView& view);

 private:
  Result<void> run(const PodView& view, PodMemory& memory, const CreateSandbox& action);
  Result<void> run(const PodView& view, PodMemory& memory, const ReplaceSandbox& action);
  Result<void> run(const PodView& view, PodMemory& memory, const ConnectNetwork& action);
  Result<void> run(const PodView& view, PodMemory& memory, const DisconnectNetwork& action);
  Result<void> run(const PodView& view, PodMemory& memory, const StartContainer& action);
  Result<void> run(const PodView& view, PodMemory& memory, const StopContainer& action);
  Result<void> run(const PodView& view, PodMemory& memory, const KillContainer& action);
  Result<void> run(const PodView& view, PodMemory& memory, const RemoveSandbox& action);
  Result<void> run(const PodView& view, PodMemory& memory, const Finish& action);
  void fail_start(const NodePod& pod, const PodContainer& container, ContainerMemory& memory,
                  StartFailure failure);
  void started(const NodePod& pod, const PodContainer& container, const ContainerState& state);
  Result<ContainerSpec> container_spec(const NodePod& pod, const PodContainer& container,
                                       const Ip& ip);
  Result<std::vector<Object>> visible_services(const NodePod& pod);

  Client& client_;
  const Clock& clock_;
  Runtime& runtime_;
  const PodConnector network_;
  EventRecorder& events_;
  const PodWorkerOptions options_;
};

// The states of all containers as the view shows them.
std::vector<ContainerState> container_states(const PodView& view);

}  // namespace coracle::pods
