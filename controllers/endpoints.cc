#include "endpoints.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

namespace coracle {
namespace {

constexpr const char* kOverCapacityAnnotation = "endpoints.kubernetes.io/over-capacity";

struct PortOrder {
  bool operator()(const EndpointsPort& a, const EndpointsPort& b) const {
    return std::tie(a.port, a.protocol, a.name) < std::tie(b.port, b.protocol, b.name);
  }
};

EndpointAddress address_of(const Service& service, const Pod& pod) {
  return {pod.pod_ip,    endpoint_hostname(service, pod),
          pod.node_name, "Pod",
          pod.meta.ns,   pod.meta.name,
          pod.meta.uid};
}

// None when the Service has ports and the Pod has none of them.
std::optional<std::vector<EndpointsPort>> ports_of(const Service& service, const Pod& pod) {
  std::vector<EndpointsPort> out;
  for (const ServicePort& port : service.ports)
    if (const auto number = resolve_port(port, pod))
      out.push_back({port.name, *number, port.protocol, port.app_protocol});
  if (out.empty() && !(service.ports.empty() && service.headless())) return std::nullopt;
  std::sort(out.begin(), out.end(), PortOrder{});
  return out;
}

void cut(std::vector<EndpointAddress>& addresses, std::size_t& room, bool& truncated) {
  if (addresses.size() > room) {
    addresses.resize(room);
    truncated = true;
  }
  room -= addresses.size();
}

Json address_json(const EndpointAddress& a) {
  Json out = {{"ip", a.ip}};
  if (!a.hostname.empty()) out["hostname"] = a.hostname;
  if (!a.node_name.empty()) out["nodeName"] = a.node_name;
  if (!a.target_kind.empty())
    out["targetRef"] = {{"kind", a.target_kind},
                        {"namespace", a.target_ns},
                        {"name", a.target_name},
                        {"uid", a.target_uid}};
  return out;
}

Json subset_json(const EndpointSubset& subset) {
  Json out = Json::object();
  for (const EndpointAddress& a : subset.addresses) out["addresses"].push_back(address_json(a));
  for (const EndpointAddress& a : subset.not_ready_addresses)
    out["notReadyAddresses"].push_back(address_json(a));
  for (const EndpointsPort& p : subset.ports) {
    Json port = {{"port", p.port}, {"protocol", p.protocol}};
    if (!p.name.empty()) port["name"] = p.name;
    if (!p.app_protocol.empty()) port["appProtocol"] = p.app_protocol;
    out["ports"].push_back(std::move(port));
  }
  return out;
}

std::map<std::string, std::string> labels_of(const Service& service) {
  auto labels = service.meta.labels;
  labels.erase(kHeadlessLabel);
  if (service.headless()) labels[kHeadlessLabel] = "";
  return labels;
}

Object endpoints_object(const Service& service, const DesiredEndpoints& desired,
                        const std::string& changed, const Endpoints* existing) {
  Json subsets = Json::array();
  for (const EndpointSubset& subset : desired.subsets) subsets.push_back(subset_json(subset));
  auto annotations =
      existing != nullptr ? existing->meta.annotations : std::map<std::string, std::string>{};
  annotations[kLastChangeAnnotation] = changed;
  annotations.erase(kOverCapacityAnnotation);
  if (desired.truncated) annotations[kOverCapacityAnnotation] = "truncated";
  Json meta = {
      {"name", service.meta.name}, {"namespace", service.meta.ns}, {"annotations", annotations}};
  if (const auto labels = labels_of(service); !labels.empty()) meta["labels"] = labels;
  if (existing != nullptr) {
    meta["resourceVersion"] = std::to_string(existing->meta.revision);
    if (!existing->meta.finalizers.empty()) meta["finalizers"] = existing->meta.finalizers;
  }
  return Object(Json{{"apiVersion", "v1"},
                     {"kind", "Endpoints"},
                     {"metadata", std::move(meta)},
                     {"subsets", std::move(subsets)}});
}

}  // namespace

DesiredEndpoints compute_endpoints(const Service& service, const std::vector<PodPtr>& pods) {
  struct SubsetOrder {
    bool operator()(const std::vector<EndpointsPort>& a,
                    const std::vector<EndpointsPort>& b) const {
      return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), PortOrder{});
    }
  };
  std::map<std::vector<EndpointsPort>, EndpointSubset, SubsetOrder> subsets;
  for (const PodPtr& pod : pods) {
    if (!can_be_endpoint(*pod, service.publish_not_ready_addresses)) continue;
    const auto ports = ports_of(service, *pod);
    if (!ports) continue;
    EndpointSubset& subset = subsets[*ports];
    subset.ports = *ports;
    const bool ready = pod->ready() || service.publish_not_ready_addresses;
    (ready ? subset.addresses : subset.not_ready_addresses).push_back(address_of(service, *pod));
  }
  DesiredEndpoints out;
  const auto by_ip = [](const EndpointAddress& a, const EndpointAddress& b) {
    return std::tie(a.ip, a.target_uid) < std::tie(b.ip, b.target_uid);
  };
  for (auto& [ports, subset] : subsets) {
    std::sort(subset.addresses.begin(), subset.addresses.end(), by_ip);
    std::sort(subset.not_ready_addresses.begin(), subset.not_ready_addresses.end(), by_ip);
    out.subsets.push_back(std::move(subset));
  }
  std::size_t room = kMaxEndpointsAddresses;
  for (EndpointSubset& subset : out.subsets) cut(subset.addresses, room, out.truncated);
  for (EndpointSubset& subset : out.subsets) cut(subset.not_ready_addresses, room, out.truncated);
  std::erase_if(out.subsets, [](const EndpointSubset& s) {
    return s.addresses.empty() && s.not_ready_addresses.empty();
  });
  return out;
}

std::vector<PodPtr> selected_pods(const Service& service, const Informer<Pod>& pods) {
  std::vector<PodPtr> out;
  if (service.selector.empty()) return out;
  for (PodPtr& pod : pods.by_index("namespace", service.meta.ns))
    if (selects(service, *pod)) out.push_back(std::move(pod));
  return out;
}

Result<Again> EndpointsController::reconcile(const ObjectKey& key) {
  const auto service = services_.get(key);
  if (service == nullptr) {
    TRY(remove(key));
  } else if (service->type == "ExternalName") {
    // What its selector made before its type changed; a user's own stays.
    const auto existing = endpoints_.get(key);
    if (existing != nullptr && existing->meta.annotations.contains(kLastChangeAnnotation))
      TRY(remove(key));
  } else if (!service->selector.empty()) {
    TRY(write(*service, selected_pods(*service, pods_)));
  }
  return Again{};
}

Result<void> EndpointsController::remove(const ObjectKey& key) {
  const auto existing = endpoints_.get(key);
  if (existing == nullptr) return {};
  const auto removed = client_.remove(resources::kEndpoints, key, {.uid = existing->meta.uid});
  if (!removed && !is_not_found(removed.error())) return removed.error();
  return {};
}

Result<void> EndpointsController::write(const Service& service, const std::vector<PodPtr>& pods) {
  const DesiredEndpoints desired = compute_endpoints(service, pods);
  const auto existing = endpoints_.get(service.meta.key());
  if (existing != nullptr && existing->subsets == desired.subsets &&
      existing->meta.labels == labels_of(service) &&
      existing->meta.annotations.contains(kOverCapacityAnnotation) == desired.truncated)
    return {};
  const Object object =
      endpoints_object(service, desired, last_change(service, pods), existing.get());
  const auto written = existing != nullptr ? client_.update(resources::kEndpoints, object, "")
                                           : client_.create(resources::kEndpoints, object);
  // The cache lags behind: its event brings the key again. A namespace that ends takes nothing new.
  if (!written && (is_already_exists(written.error()) || is_conflict(written.error())))
    return Error{Code::Conflict, written.error().message};
  if (!written && written.error().code == Code::Forbidden) return {};
  return written ? Result<void>() : written.error();
}

}  // namespace coracle
