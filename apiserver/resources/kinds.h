// One function per kind, each in the file of its name; resources.cc puts them in order.
#pragma once

#include <set>
#include <string>

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
ResourceKind deployment_kind();
ResourceKind replica_set_kind();
ResourceKind daemon_set_kind();
ResourceKind controller_revision_kind();
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
// placement_validation.cc: affinity, topologySpreadConstraints, schedulingGates.
void validate_placement(const Json& spec, const std::string& path, FieldErrors& errors);
void validate_gates_update(const Json& spec, const Json& old, FieldErrors& errors);
// Its securityContexts and lifecycle hooks.
void validate_pod_security(const Json& spec, const std::string& path, FieldErrors& errors);
void validate_container(const Json& container, const std::string& path,
                        FieldErrors& errors);  // container_validation.cc
// Of a container; each as "path.limits[cpu]". resource_validation.cc
void check_resources(const Json& resources, const std::string& path, FieldErrors& errors);
// Of a Pod's spec; the names of those there are. volume_validation.cc
std::set<std::string> validate_volumes(const Json& spec, const std::string& path,
                                       FieldErrors& errors);
void validate_volume_mounts(const Json& container, const std::string& path,
                            const std::set<std::string>& volumes, FieldErrors& errors);
void default_probe(Json& container, const char* key);

// apps.cc's halves: apps_validation.cc.
void validate_deployment(const Json& deployment, FieldErrors& errors);
void validate_replica_set(const Json& set, FieldErrors& errors);
void validate_daemon_set(const Json& set, FieldErrors& errors);
void validate_controller_revision(const Json& revision, FieldErrors& errors);
void validate_controller_revision_update(const Json& revision, const Json& old,
                                         FieldErrors& errors);
// Of any workload: the selector stays.
void validate_workload_update(const Json& object, const Json& old, FieldErrors& errors);

// service.cc's halves.
void default_service(Json& service);
void validate_service(const Json& service, FieldErrors& errors);  // service_validation.cc
void validate_service_update(const Json& service, const Json& old, FieldErrors& errors);
std::function<Result<Allocation>(Json*, const Json*, bool)> service_allocator(
    const ResourceOptions& options);

}  // namespace coracle
