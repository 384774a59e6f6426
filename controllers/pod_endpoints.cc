#include "pod_endpoints.h"

#include <algorithm>

namespace coracle {

bool selects(const Service& service, const Pod& pod) {
  if (service.selector.empty() || service.meta.ns != pod.meta.ns) return false;
  return std::all_of(service.selector.begin(), service.selector.end(), [&](const auto& wanted) {
    const auto label = pod.meta.labels.find(wanted.first);
    return label != pod.meta.labels.end() && label->second == wanted.second;
  });
}

bool can_be_endpoint(const Pod& pod, bool terminating_too) {
  if (pod.finished() || pod.pod_ip.empty()) return false;
  return terminating_too || !pod.meta.deleting();
}

std::optional<std::int64_t> resolve_port(const ServicePort& port, const Pod& pod) {
  if (port.target_port_name.empty()) return port.target_port;
  for (const Container& container : pod.containers)
    for (const ContainerPort& candidate : container.ports)
      if (candidate.name == port.target_port_name && candidate.protocol == port.protocol)
        return candidate.container_port;
  return std::nullopt;
}

std::string endpoint_hostname(const Service& service, const Pod& pod) {
  return pod.subdomain == service.meta.name ? pod.hostname : "";
}

std::string last_change(const Service& service, const std::vector<PodPtr>& pods) {
  std::string newest = service.meta.creation_timestamp;
  for (const PodPtr& pod : pods)
    for (const PodCondition& c : pod->conditions)
      if (c.type == "Ready") newest = std::max(newest, c.last_transition_time);
  return newest;
}

}  // namespace coracle
