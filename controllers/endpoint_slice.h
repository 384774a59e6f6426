// EndpointSlices from Services' selectors, and mirrored from Endpoints that someone made by hand
// for a Service without one.
#pragma once

#include <coracle/api/endpoints.h>
#include <coracle/informer.h>

#include "controller.h"
#include "pod_endpoints.h"
#include "slice_writer.h"

namespace coracle {

inline constexpr const char* kSliceController = "endpointslice-controller.k8s.io";
inline constexpr const char* kMirroringController = "endpointslicemirroring-controller.k8s.io";
inline constexpr const char* kSkipMirrorLabel = "endpointslice.kubernetes.io/skip-mirror";

// Pure. Pods whose named ports differ fall into different groups; terminating ones are in, not
// ready and marked.
std::vector<EndpointGroup> compute_slices(const Service& service, const std::vector<PodPtr>& pods);
// Pure. At most 1,000 addresses of each subset.
std::vector<EndpointGroup> mirror_endpoints(const Endpoints& endpoints);

// Key: the Service's. Slices need the informer's index "service" (namespace/name of the label).
class EndpointSliceController : public Reconciler {
 public:
  EndpointSliceController(Client& client, const Informer<Service>& services,
                          const Informer<Pod>& pods, const Informer<EndpointSlice>& slices)
      : client_(client), services_(services), pods_(pods), slices_(slices) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  Client& client_;
  const Informer<Service>& services_;
  const Informer<Pod>& pods_;
  const Informer<EndpointSlice>& slices_;
  std::map<ObjectKey, WrittenSlices> written_;
};

// Key: that of the Endpoints and the Service of the same name.
class EndpointSliceMirroringController : public Reconciler {
 public:
  EndpointSliceMirroringController(Client& client, const Informer<Service>& services,
                                   const Informer<Endpoints>& endpoints,
                                   const Informer<EndpointSlice>& slices)
      : client_(client), services_(services), endpoints_(endpoints), slices_(slices) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  Client& client_;
  const Informer<Service>& services_;
  const Informer<Endpoints>& endpoints_;
  const Informer<EndpointSlice>& slices_;
  std::map<ObjectKey, WrittenSlices> written_;
};

}  // namespace coracle
