#include "namespace.h"

#include <coracle/api/apps.h>

#include <nlohmann/json.hpp>

namespace coracle {

const std::vector<Resource>& namespaced_resources() {
  // What makes others before what it makes; Events last, they tell of the rest's end.
  static const std::vector<Resource> all = {
      resources::kDeployments,     resources::kReplicaSets,
      resources::kDaemonSets,      resources::kControllerRevisions,
      resources::kServices,        resources::kPods,
      resources::kEndpoints,       resources::kEndpointSlices,
      resources::kConfigMaps,      resources::kSecrets,
      resources::kServiceAccounts, resources::kLeases,
      resources::kEvents};
  return all;
}

Result<Again> NamespaceController::reconcile(const ObjectKey& key) {
  const auto ns = namespaces_.get(key);
  if (ns == nullptr || !ns->meta.deleting()) return Again{};
  std::size_t left = 0;
  for (const Resource& resource : namespaced_resources()) left += TRY(empty(key.name, resource));
  // Bound Pods end within their grace period.
  if (left > 0) return Again{std::chrono::milliseconds(200)};
  TRY(finalize(key.name));
  return Again{};
}

Result<std::size_t> NamespaceController::empty(const std::string& ns, const Resource& resource) {
  const ObjectList found = TRY(client_.list(resource, {.ns = ns}));
  std::size_t left = 0;
  for (const Object& object : found.items) {
    ++left;
    if (object.meta().deleting()) continue;
    const auto removed = client_.remove(resource, object.key(), {.uid = object.uid()});
    if (!removed && !is_not_found(removed.error()) && !is_conflict(removed.error()))
      return removed.error();
  }
  return left;
}

Result<void> NamespaceController::finalize(const std::string& name) {
  auto found = client_.get(resources::kNamespaces, {"", name});
  if (!found) {
    if (is_not_found(found.error())) return {};
    return found.error();
  }
  if (!found->meta().deleting()) return {};
  Json& document = found->json();
  document["spec"]["finalizers"] = Json::array();
  const auto finalized = client_.update(resources::kNamespaces, *found, "finalize");
  if (!finalized && !is_not_found(finalized.error())) return finalized.error();
  return {};
}

}  // namespace coracle
