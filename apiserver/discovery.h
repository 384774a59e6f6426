// Discovery documents, rendered from the list of kinds: both the legacy ones and the aggregated
// form, and /version. Pure; each returns the JSON text of the body.
#pragma once

#include <coracle/result.h>

#include <string>
#include <string_view>
#include <vector>

#include "registry.h"

namespace coracle {

using Kinds = std::vector<ResourceKind>;

// GET /api. `server_address` is the "host:port" shown to clients.
std::string discovery_api_versions(const std::string& server_address);
// GET /apis.
std::string discovery_api_groups(const Kinds& kinds);
// GET /apis/<group>. NotFound when no kind is of that group.
Result<std::string> discovery_api_group(const Kinds& kinds, std::string_view group);
// GET /api/v1 (group "") and /apis/<group>/<version>. NotFound when no kind is of it.
Result<std::string> discovery_resources(const Kinds& kinds, std::string_view group,
                                        std::string_view version);

// The aggregated form: `version` is that of apidiscovery.k8s.io, "v2" or "v2beta1". The first is
// /api (the core group), the second /apis (all others). The answer's Content-Type must be
// aggregated_discovery_type(version); with a plain one clients read no resources.
std::string aggregated_core(const Kinds& kinds, std::string_view version);
std::string aggregated_groups(const Kinds& kinds, std::string_view version);
std::string aggregated_discovery_type(std::string_view version);

// GET /version. `coracle_version` becomes build metadata of the Kubernetes version that the wire
// behaviour follows ("v1.33.1+coracle-0.1.0").
std::string version_document(std::string_view coracle_version);

}  // namespace coracle
