// One function per kind, each in the file of its name; resources.cc puts them in order.
#pragma once

#include "resources/resources.h"

namespace coracle {

ResourceKind namespace_kind();
ResourceKind node_kind();
ResourceKind pod_kind(const TolerationSeconds& tolerations);
ResourceKind service_kind(const ResourceOptions& options);
ResourceKind endpoints_kind();
ResourceKind config_map_kind();
ResourceKind secret_kind();
ResourceKind service_account_kind();
ResourceKind event_kind();
ResourceKind endpoint_slice_kind();
ResourceKind lease_kind();
// reviews.cc: questions about the asker.
ResourceKind self_subject_access_review_kind();
ResourceKind self_subject_rules_review_kind();
ResourceKind self_subject_review_kind();

// pod.cc's halves.
void default_pod_spec(Json& spec);  // pod_defaults.cc
void default_tolerations(Json& spec, const TolerationSeconds& seconds);
void validate_pod_spec(const Json& spec, const std::string& path,
                       FieldErrors& errors);  // pod_validation.cc
void validate_pod_update(const Json& pod, const Json& old,
                         FieldErrors& errors);  // pod_validation.cc
void validate_container(const Json& container, const std::string& path,
                        FieldErrors& errors);  // container_validation.cc
void default_probe(Json& container, const char* key);

// service.cc's halves.
void default_service(Json& service);
void validate_service(const Json& service, FieldErrors& errors);  // service_validation.cc
void validate_service_update(const Json& service, const Json& old, FieldErrors& errors);
std::function<Result<Allocation>(Json*, const Json*, bool)> service_allocator(
    const ResourceOptions& options);

}  // namespace coracle
