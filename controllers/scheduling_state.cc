#include "scheduling_state.h"

#include <algorithm>

#include "workload.h"

namespace coracle {
namespace {

// What upstream's scores take a container for that requests nothing.
constexpr std::int64_t kSmallCpu = 100;
constexpr std::int64_t kSmallMemory = std::int64_t{200} << 20U;

std::string controller_uid(const Pod& pod) {
  const OwnerReference* owner = controller_of(pod.meta);
  return owner == nullptr ? "" : owner->uid;
}

std::string group_key(const Pod& pod) {
  std::string key = pod.meta.ns + '\0' + controller_uid(pod) + (pod.meta.deleting() ? "-" : "+");
  for (const auto& [name, value] : pod.meta.labels) key += '\0' + name + '\0' + value;
  if (pod.placement != nullptr && pod.placement->terms != nullptr)
    key += '\0' + pod.placement->terms->text;
  return key;
}

PodGroup group_of(const Pod& pod) {
  return {pod.meta.ns,
          pod.meta.labels,
          controller_uid(pod),
          pod.meta.deleting(),
          pod.placement != nullptr ? pod.placement->terms : nullptr,
          {}};
}

}  // namespace

std::vector<HostPort> host_ports(const Pod& pod) {
  std::vector<HostPort> out;
  for (const auto* list : {&pod.containers, &pod.init_containers})
    for (const Container& container : *list)
      for (const ContainerPort& port : container.ports) {
        if (port.host_port <= 0) continue;
        const bool any = port.host_ip == "0.0.0.0" || port.host_ip == "::";
        out.push_back({port.protocol, any ? "" : port.host_ip, port.host_port});
      }
  return out;
}

const ResourceAmounts& requests_of(const Pod& pod) {
  static const ResourceAmounts kOnePod{.pods = 1};
  return pod.placement == nullptr ? kOnePod : pod.placement->requests;
}

ResourceAmounts weight_of(const Pod& pod) {
  ResourceAmounts out = requests_of(pod);
  const auto containers = static_cast<std::int64_t>(pod.containers.size());
  if (out.cpu == 0) out.cpu = kSmallCpu * containers;
  if (out.memory == 0) out.memory = kSmallMemory * containers;
  return out;
}

void SchedulingState::set_node(const NodePtr& node) {
  nodes_[node->meta.name].node = node;
}

// What its Pods use stays until they are gone, too.
void SchedulingState::remove_node(const std::string& name) {
  const auto found = nodes_.find(name);
  if (found == nodes_.end()) return;
  found->second.node = nullptr;
  if (found->second.requested.pods == 0) nodes_.erase(found);
}

void SchedulingState::place(const PodPtr& pod, const std::string& node, Source source) {
  const auto before = placed_.find(pod->meta.uid);
  if (before != placed_.end()) {
    if (source == Source::Assumed) return;
    (void)remove(pod->meta.uid);
  }
  Placed now{pod, node, group_key(*pod), source};
  groups_.try_emplace(now.group, group_of(*pod)).first->second.on[node] += 1;
  NodeUse& use = nodes_[node];
  use.requested += requests_of(*pod);
  use.weight += weight_of(*pod);
  for (const HostPort& port : host_ports(*pod)) ++use.ports[port];
  placed_.emplace(pod->meta.uid, std::move(now));
}

std::string SchedulingState::remove(const std::string& uid) {
  const auto found = placed_.find(uid);
  if (found == placed_.end()) return "";
  const Placed& its = found->second;
  const auto group = groups_.find(its.group);
  if (--group->second.on[its.node] == 0) group->second.on.erase(its.node);
  if (group->second.on.empty()) groups_.erase(group);
  const auto node = nodes_.find(its.node);
  NodeUse& use = node->second;
  use.requested -= requests_of(*its.pod);
  use.weight -= weight_of(*its.pod);
  for (const HostPort& port : host_ports(*its.pod))
    if (--use.ports[port] == 0) use.ports.erase(port);
  if (use.node == nullptr && use.requested.pods == 0) nodes_.erase(node);
  std::string freed = std::move(found->second.node);
  placed_.erase(found);
  return freed;
}

std::string SchedulingState::forget(const std::string& uid) {
  const auto found = placed_.find(uid);
  if (found == placed_.end() || found->second.source != Source::Assumed) return "";
  return remove(uid);
}

const Node* SchedulingState::node(const std::string& name) const {
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : found->second.node.get();
}

const Labels& SchedulingState::namespace_labels(const std::string& name) const {
  static const Labels kNone;
  const auto found = namespaces_.find(name);
  return found == namespaces_.end() ? kNone : found->second;
}

}  // namespace coracle
