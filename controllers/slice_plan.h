// Spreads endpoints over EndpointSlices with as few writes as possible: what exists stays where it
// is. Pure. After the reconciler of k8s.io/endpointslice.
#pragma once

#include <coracle/api/endpoint_slice.h>

#include <memory>
#include <string>
#include <vector>

namespace coracle {

inline constexpr std::size_t kMaxEndpointsPerSlice = 100;

// Endpoints that share their ports.
struct EndpointGroup {
  std::vector<EndpointPort> ports;  // sorted by name
  std::vector<Endpoint> endpoints;
};

struct SliceUpdate {
  std::shared_ptr<const EndpointSlice> existing;
  std::vector<Endpoint> endpoints;
};
struct SlicePlan {
  std::vector<EndpointGroup> create;  // each one slice
  std::vector<SliceUpdate> update;
  std::vector<std::shared_ptr<const EndpointSlice>> remove;
  bool empty() const { return create.empty() && update.empty() && remove.empty(); }
};

// `existing` are the slices of one owner and address type. An endpoint is the same one when address
// and target are. Without any endpoint one slice is left, with neither ports nor endpoints, so that
// watchers of a Service's slices always have one.
SlicePlan plan_slices(const std::vector<std::shared_ptr<const EndpointSlice>>& existing,
                      const std::vector<EndpointGroup>& desired);

}  // namespace coracle
