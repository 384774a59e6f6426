// PodWorker: applies the planned actions to runtime, network and API, and notes in the Pod's memory
// what came of it. Thread-safe for different Pods.
#pragma once

#include <coracle/api/service.h>
#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/events.h>
#include <coracle/mutex.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "netns.h"
#include "pods/hook_runner.h"
#include "pods/pod_actions.h"
#include "pods/pod_env.h"
#include "pods/pod_state.h"
#include "pods/volume_worker.h"

namespace coracle::pods {

// What is asked of the Pod network; PodNetwork does it.
struct PodConnector {
  std::function<Result<Ip>(const std::string& pod_uid, const NetNs& netns)> add;
  std::function<Result<void>(const std::string& pod_uid)> del;
  std::function<Result<void>(const std::set<std::string>& live_pod_uids)> gc;
};

// Every Service as this node last knew it; nothing when it does not know them.
using KnownServices = std::optional<std::vector<std::shared_ptr<const Service>>>;

struct PodWorkerOptions {
  std::string node_name;
  Ip node_ip;  // at first
  std::string cluster_domain;
  std::optional<Ip> cluster_dns = {};
  std::string resolv_conf = "/etc/resolv.conf";  // the node's; "": it has none
  // Asked until the API has told, and when it does not answer. Thread-safe.
  std::function<KnownServices()> known_services = {};
  // A Pod with a network of its own has that address now, or (no address) none any more.
  // Thread-safe; must return quickly.
  std::function<void(const std::string& uid, const std::string& ns, const std::optional<Ip>& ip)>
      on_pod_ip = {};
  std::string kept_pods = {};  // the file for a start without the API; "": nothing is kept
};

class PodWorker {
 public:
  PodWorker(Client& client, const Clock& clock, Runtime& runtime, PodConnector network,
            EventRecorder& events, PodWorkerOptions options);

  // The API answers, or has at some time since the start: before, asking it costs time only.
  void api_told() { told_ = true; }
  // False when it failed or must wait: the rest of the plan is void then, and memory says when to
  // try again. REQUIRES: the memory is that of the view.
  bool apply(const PodView& view, PodMemory& memory, const PodAction& action);
  // Everything of a Pod that the API does not know any more.
  Result<void> remove(const std::string& pod_uid);
  // What hostIP is from now on. Thread-safe.
  void set_node_ip(const Ip& ip);
  // The Event for what the Pod asks for in vain.
  void announce(const NodePod& pod);
  void announce_backoff(const NodePod& pod, const std::string& container);
  void announce_probe(const NodePod& pod, const std::string& container, const std::string& message);
  void announce_deadline(const NodePod& pod);
  HookRunner& hooks() { return hooks_; }
  Json status_of(const PodView& view) const;
  // Tells the API the status if it is another one. The Pod as the API has it afterwards, null when
  // it is gone there.
  Result<std::shared_ptr<const NodePod>> write_status(const PodView& view);

 private:
  Result<void> run(const PodView& view, PodMemory& memory, const PrepareVolumes&) {
    return volumes_.prepare(view.pod, memory.volumes);
  }
  Result<void> run(const PodView& view, PodMemory& memory, const WriteVolumes&) {
    return volumes_.write(view, memory.volumes);
  }
  Result<void> run(const PodView& view, PodMemory& memory, const CreateSandbox& action);
  Result<void> run(const PodView& view, PodMemory& memory, const ReplaceSandbox& action);
  Result<void> run(const PodView& view, PodMemory& memory, const ConnectNetwork& action);
  Result<void> run(const PodView& view, PodMemory& memory, const DisconnectNetwork& action);
  Result<void> run(const PodView& view, PodMemory& memory, const StartContainer& action);
  Result<void> run(const PodView& view, PodMemory& memory, const BackOffPull& action);
  Result<void> run(const PodView& view, PodMemory& memory, const RunPostStart& action);
  Result<void> run(const PodView& view, PodMemory& memory, const StopContainer& action);
  Result<void> run(const PodView& view, PodMemory& memory, const TerminateContainer& action);
  Result<void> run(const PodView& view, PodMemory& memory, const KillContainer& action);
  Result<void> run(const PodView& view, PodMemory& memory, const RemoveSandbox& action);
  Result<void> run(const PodView& view, PodMemory& memory, const Finish& action);
  // pod_images.cc. False: the container's image is not there, and its memory says why.
  bool ensure_image(const NodePod& pod, const PodContainer& container, ContainerMemory& memory);
  void fail_image(const NodePod& pod, const PodContainer& container, ContainerMemory& memory,
                  StartFailure failure);
  void fail_start(const NodePod& pod, const PodContainer& container, ContainerMemory& memory,
                  StartFailure failure);
  void started(const NodePod& pod, const PodContainer& container, const ContainerState& state);
  HookRun run_hook(const PodView& view, const ContainerState& state, HookJob::When when,
                   std::chrono::seconds timeout);
  Result<ContainerSpec> container_spec(const NodePod& pod, const PodContainer& container,
                                       const Ip& ip);
  Result<std::vector<Service>> visible_services(const NodePod& pod);
  Result<std::vector<Service>> ask_services(const NodePod& pod);

  Client& client_;
  const Clock& clock_;
  Runtime& runtime_;
  const PodConnector network_;
  EventRecorder& events_;
  HookRunner hooks_{runtime_, events_};
  Ip node_ip() const;
  Result<void> disconnect(const std::string& pod_uid);

  const PodWorkerOptions options_;
  VolumeWorker volumes_;
  mutable Mutex mutex_;
  Ip node_ip_ CORACLE_GUARDED_BY(mutex_) = options_.node_ip;
  std::atomic<bool> told_ = false;
};

// The states of all containers as the view shows them.
std::vector<ContainerState> container_states(const PodView& view);

}  // namespace coracle::pods
