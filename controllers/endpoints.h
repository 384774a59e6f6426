// Endpoints from Services' selectors, as kube-controller-manager's endpoint controller makes them.
#pragma once

#include <coracle/api/endpoints.h>
#include <coracle/informer.h>

#include <map>
#include <string>
#include <vector>

#include "controller.h"
#include "pod_endpoints.h"

namespace coracle {

// More addresses than this are cut off, ready ones last.
inline constexpr std::size_t kMaxEndpointsAddresses = 1000;

struct DesiredEndpoints {
  std::vector<EndpointSubset> subsets;  // sorted by ports, addresses by IP
  bool truncated = false;
};
// Pure. `pods` are those the Service selects. Pods whose named ports differ fall into different
// subsets.
DesiredEndpoints compute_endpoints(const Service& service, const std::vector<PodPtr>& pods);

// Key: the Service's. Services without a selector keep the Endpoints that someone else made.
class EndpointsController : public Reconciler {
 public:
  EndpointsController(Client& client, const Informer<Service>& services, const Informer<Pod>& pods,
                      const Informer<Endpoints>& endpoints)
      : client_(client), services_(services), pods_(pods), endpoints_(endpoints) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  Result<void> write(const Service& service, const std::vector<PodPtr>& pods);
  Result<void> remove(const ObjectKey& key);

  Client& client_;
  const Informer<Service>& services_;
  const Informer<Pod>& pods_;
  const Informer<Endpoints>& endpoints_;
};

// The Pods a Service selects, by the informer's index "namespace".
std::vector<PodPtr> selected_pods(const Service& service, const Informer<Pod>& pods);

}  // namespace coracle
