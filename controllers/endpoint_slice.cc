#include "endpoint_slice.h"

#include <algorithm>
#include <tuple>

#include "endpoints.h"

namespace coracle {
namespace {

struct PortOrder {
  bool operator()(const EndpointPort& a, const EndpointPort& b) const {
    return std::tie(a.name, a.protocol, a.port) < std::tie(b.name, b.protocol, b.port);
  }
};
struct PortsOrder {
  bool operator()(const std::vector<EndpointPort>& a, const std::vector<EndpointPort>& b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), PortOrder{});
  }
};
using Groups = std::map<std::vector<EndpointPort>, std::vector<Endpoint>, PortsOrder>;

std::vector<EndpointGroup> listed(Groups groups) {
  std::vector<EndpointGroup> out;
  out.reserve(groups.size());
  for (auto& [ports, endpoints] : groups) out.push_back({ports, std::move(endpoints)});
  return out;
}

std::vector<EndpointPort> ports_of(const Service& service, const Pod& pod) {
  std::vector<EndpointPort> out;
  for (const ServicePort& port : service.ports)
    if (const auto number = resolve_port(port, pod))
      out.push_back({port.name, port.protocol, *number, port.app_protocol});
  std::sort(out.begin(), out.end(), PortOrder{});
  return out;
}

Endpoint endpoint_of(const Service& service, const Pod& pod) {
  Endpoint out;
  out.addresses = {pod.pod_ip};
  out.terminating = pod.meta.deleting();
  out.serving = pod.ready();
  out.ready = service.publish_not_ready_addresses || (pod.ready() && !pod.meta.deleting());
  out.hostname = endpoint_hostname(service, pod);
  out.node_name = pod.node_name;
  out.target_kind = "Pod";
  out.target_ns = pod.meta.ns;
  out.target_name = pod.meta.name;
  out.target_uid = pod.meta.uid;
  return out;
}

std::vector<SlicePtr> managed(const Informer<EndpointSlice>& slices, const ObjectKey& service,
                              const char* controller) {
  std::vector<SlicePtr> out;
  for (SlicePtr& slice : slices.by_index("service", service.to_string())) {
    const auto label = slice->meta.labels.find(kManagedByLabel);
    if (label != slice->meta.labels.end() && label->second == controller)
      out.push_back(std::move(slice));
  }
  return out;
}

// Conflict, that is to come back in a moment, while the cache lacks what the last pass wrote. A
// slice that someone removed at once never appears: its removal is waited for no longer than this.
Result<void> await_own_writes(std::map<ObjectKey, WrittenSlices>& written, const ObjectKey& key,
                              const Informer<EndpointSlice>& slices) {
  const auto it = written.find(key);
  if (it == written.end()) return {};
  if (!it->second.shown_by(slices)) {
    if (it->second.asked_too_often()) {
      written.erase(it);
      return {};
    }
    return Error{Code::Conflict, "the cache lags behind"};
  }
  written.erase(it);
  return {};
}

SliceOwner owner_of(const char* api_version, const char* kind, const Meta& meta,
                    const char* controller) {
  SliceOwner out;
  out.reference = {api_version, kind, meta.name, meta.uid, true, true};
  out.ns = meta.ns;
  out.service = meta.name;
  out.managed_by = controller;
  out.labels = meta.labels;
  out.labels.erase(kHeadlessLabel);
  out.labels[kServiceNameLabel] = meta.name;
  out.labels[kManagedByLabel] = controller;
  return out;
}

Endpoint mirrored(const EndpointAddress& address, bool ready) {
  Endpoint out;
  out.addresses = {address.ip};
  out.ready = ready;
  out.hostname = address.hostname;
  out.node_name = address.node_name;
  out.target_kind = address.target_kind;
  out.target_ns = address.target_ns;
  out.target_name = address.target_name;
  out.target_uid = address.target_uid;
  return out;
}

bool wants_mirror(const Service* service, const Endpoints* endpoints) {
  if (service == nullptr || endpoints == nullptr) return false;
  if (!service->selector.empty() || service->type == "ExternalName") return false;
  const auto skip = endpoints->meta.labels.find(kSkipMirrorLabel);
  if (skip != endpoints->meta.labels.end() && skip->second == "true") return false;
  return !endpoints->meta.annotations.contains("control-plane.alpha.kubernetes.io/leader");
}

}  // namespace

std::vector<EndpointGroup> compute_slices(const Service& service, const std::vector<PodPtr>& pods) {
  Groups groups;
  for (const PodPtr& pod : pods) {
    if (!can_be_endpoint(*pod, true)) continue;
    auto ports = ports_of(service, *pod);
    if (ports.empty() && !(service.ports.empty() && service.headless())) continue;
    groups[std::move(ports)].push_back(endpoint_of(service, *pod));
  }
  return listed(std::move(groups));
}

std::vector<EndpointGroup> mirror_endpoints(const Endpoints& endpoints) {
  Groups groups;
  for (const EndpointSubset& subset : endpoints.subsets) {
    std::vector<EndpointPort> ports;
    for (const EndpointsPort& p : subset.ports)
      ports.push_back({p.name, p.protocol, p.port, p.app_protocol});
    std::sort(ports.begin(), ports.end(), PortOrder{});
    std::size_t room = kMaxEndpointsAddresses;
    for (const bool ready : {true, false})
      for (const EndpointAddress& a : ready ? subset.addresses : subset.not_ready_addresses)
        if (a.ip.find(':') == std::string::npos && room > 0) {
          groups[ports].push_back(mirrored(a, ready));
          --room;
        }
  }
  return listed(std::move(groups));
}

Result<Again> EndpointSliceController::reconcile(const ObjectKey& key) {
  const auto service = services_.get(key);
  TRY(await_own_writes(written_, key, slices_));
  const auto existing = managed(slices_, key, kSliceController);
  if (service == nullptr || service->selector.empty() || service->type == "ExternalName") {
    TRY(remove_slices(client_, existing));
    return Again{};
  }
  const auto pods = selected_pods(*service, pods_);
  SliceOwner owner = owner_of("v1", "Service", service->meta, kSliceController);
  if (service->headless()) owner.labels[kHeadlessLabel] = "";
  owner.annotations[kLastChangeAnnotation] = last_change(*service, pods);
  TRY(write_slices(client_, owner, existing, compute_slices(*service, pods), written_[key]));
  return Again{};
}

Result<Again> EndpointSliceMirroringController::reconcile(const ObjectKey& key) {
  const auto service = services_.get(key);
  const auto endpoints = endpoints_.get(key);
  TRY(await_own_writes(written_, key, slices_));
  const auto existing = managed(slices_, key, kMirroringController);
  if (!wants_mirror(service.get(), endpoints.get())) {
    TRY(remove_slices(client_, existing));
    return Again{};
  }
  const SliceOwner owner = owner_of("v1", "Endpoints", endpoints->meta, kMirroringController);
  TRY(write_slices(client_, owner, existing, mirror_endpoints(*endpoints), written_[key]));
  return Again{};
}

}  // namespace coracle
