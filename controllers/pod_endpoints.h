// What a Service and a Pod have to do with each other, for Endpoints and EndpointSlices alike.
// Pure.
#pragma once

#include <coracle/api/pod.h>
#include <coracle/api/service.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coracle {

using PodPtr = std::shared_ptr<const Pod>;
using ServicePtr = std::shared_ptr<const Service>;

// Every label of the selector is on the Pod. An empty selector selects nothing.
bool selects(const Service& service, const Pod& pod);
// It has an address and has not finished; a terminating one only when they are wanted.
bool can_be_endpoint(const Pod& pod, bool terminating_too);
// The number a Service port's targetPort means on this Pod; none when the Pod has no port of that
// name and protocol.
std::optional<std::int64_t> resolve_port(const ServicePort& port, const Pod& pod);
// The Pod's hostname when the Service is the one its subdomain names, else "".
std::string endpoint_hostname(const Service& service, const Pod& pod);
// When the newest change that endpoints should follow happened (RFC 3339): of the Service's
// creation and the Pods' readiness. Upstream's last-change-trigger-time.
std::string last_change(const Service& service, const std::vector<PodPtr>& pods);

inline constexpr const char* kLastChangeAnnotation =
    "endpoints.kubernetes.io/last-change-trigger-time";
inline constexpr const char* kHeadlessLabel = "service.kubernetes.io/headless";
inline constexpr const char* kServiceNameLabel = "kubernetes.io/service-name";
inline constexpr const char* kManagedByLabel = "endpointslice.kubernetes.io/managed-by";

}  // namespace coracle
