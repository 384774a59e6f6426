// Descriptors as discovery and OpenAPI see them, without the hooks of the real ones.
#pragma once

#include <vector>

#include "apiserver/registry.h"

namespace coracle {

inline ResourceKind test_kind(const Resource& resource, const std::string& singular,
                              const std::string& type) {
  ResourceKind kind;
  kind.resource = resource;
  kind.singular = singular;
  kind.schema_type = type;
  return kind;
}

inline std::vector<ResourceKind> test_kinds() {
  std::vector<ResourceKind> kinds;
  kinds.push_back(test_kind(resources::kNamespaces, "namespace", "core.v1.Namespace"));
  kinds.back().short_names = {"ns"};
  kinds.back().has_status = true;
  kinds.back().delete_collection = false;
  kinds.back().subresources = {"finalize"};
  kinds.push_back(test_kind(resources::kPods, "pod", "core.v1.Pod"));
  kinds.back().short_names = {"po"};
  kinds.back().categories = {"all"};
  kinds.back().has_status = true;
  kinds.back().subresources = {"binding"};
  kinds.push_back(test_kind(resources::kServices, "service", "core.v1.Service"));
  kinds.back().short_names = {"svc"};
  kinds.back().categories = {"all"};
  kinds.back().has_status = true;
  kinds.push_back(test_kind(resources::kConfigMaps, "configmap", "core.v1.ConfigMap"));
  kinds.back().short_names = {"cm"};
  kinds.push_back(
      test_kind(resources::kEndpointSlices, "endpointslice", "discovery.v1.EndpointSlice"));
  kinds.push_back(test_kind(resources::kLeases, "lease", "coordination.v1.Lease"));
  return kinds;
}

}  // namespace coracle
