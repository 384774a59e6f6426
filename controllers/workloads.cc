#include "workloads.h"

namespace coracle {
namespace {

template <typename T>
std::vector<std::string> namespace_of(const T& object) {
  return {object.meta.ns};
}

// Those of the namespace that the labels fit.
template <typename T>
void add_matching(WorkQueue& queue, const Informer<T>& workloads, const Meta& object) {
  for (const auto& workload : workloads.by_index("namespace", object.ns))
    if (workload->selector.matches(object.labels)) queue.add(workload->meta.key());
}

}  // namespace

Workloads::Workloads(Client& client, const Clock& clock, const Caches& caches,
                     EventRecorder& events)
    : caches_(caches),
      deployment_controller_(client, clock, caches.sets, caches.pods, events),
      replica_set_controller_(client, clock, caches.sets, caches.pods, events),
      daemon_set_controller_(client, clock, caches.nodes, caches.pods, events) {
  caches_.deployments.add_index("namespace", namespace_of<Deployment>);
  caches_.sets.add_index("namespace", namespace_of<ReplicaSet>);
  caches_.daemons.add_index("namespace", namespace_of<DaemonSet>);
}

void Workloads::watch(const Queues& queues) {
  caches_.deployments.on_change([=](const ObjectKey& key) { queues.deployments->add(key); });
  caches_.sets.on_change_values([=, this](const ObjectKey& key, const auto& old, const auto& now) {
    queues.replica_sets->add(key);
    if (old != nullptr) note_set(queues, *old);
    if (now != nullptr) note_set(queues, *now);
  });
  caches_.pods.on_change_values([=, this](const ObjectKey&, const auto& old, const auto& now) {
    if (old != nullptr) note_pod(queues, *old);
    if (now != nullptr) note_pod(queues, *now);
  });
  caches_.daemons.on_change([=](const ObjectKey& key) { queues.daemon_sets->add(key); });
  // Heartbeats change nothing that a DaemonSet looks at.
  caches_.nodes.on_change_values([=, this](const ObjectKey&, const auto& old, const auto& now) {
    if (old != nullptr && now != nullptr && old->taints == now->taints &&
        old->meta.labels == now->meta.labels)
      return;
    for (const auto& set : caches_.daemons.list()) queues.daemon_sets->add(set->meta.key());
  });
}

void Workloads::note_set(const Queues& queues, const ReplicaSet& set) const {
  const OwnerReference* owner = controller_of(set.meta);
  if (owner == nullptr) return add_matching(*queues.deployments, caches_.deployments, set.meta);
  if (owner->kind == "Deployment") queues.deployments->add({set.meta.ns, owner->name});
}

void Workloads::note_pod(const Queues& queues, const Pod& pod) const {
  const OwnerReference* owner = controller_of(pod.meta);
  if (owner == nullptr) {
    add_matching(*queues.replica_sets, caches_.sets, pod.meta);
    add_matching(*queues.daemon_sets, caches_.daemons, pod.meta);
    return;
  }
  if (owner->kind == "DaemonSet") queues.daemon_sets->add({pod.meta.ns, owner->name});
  if (owner->kind != "ReplicaSet") return;
  const ObjectKey set{pod.meta.ns, owner->name};
  queues.replica_sets->add(set);
  // Recreate waits for the end of old Pods, which no ReplicaSet's status tells.
  if (!pod.meta.deleting() && !pod.finished()) return;
  if (const auto found = caches_.sets.get(set)) note_set(queues, *found);
}

}  // namespace coracle
