// OpenAPI, rendered from the list of kinds and the schema. kubectl reads it to know what the server
// validates (the PATCH operations' parameters), how lists merge, and for `explain`. Pure; the
// results depend on the kinds only, so a caller may keep them.
#pragma once

#include <coracle/result.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "registry.h"
#include "schema.h"

namespace coracle {

// GET /openapi/v2: a gnostic OpenAPI v2 Document in protobuf. The answer's Content-Type must be
// kOpenApiV2Type: the type that clients ask for holds a '@', which they cannot read themselves.
std::string openapi_v2_protobuf(const std::vector<ResourceKind>& kinds);
inline constexpr std::string_view kOpenApiV2Type =
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
// The same document as JSON (GET /openapi/v2 with Accept: application/json).
std::string openapi_v2_json(const std::vector<ResourceKind>& kinds);

// GET /openapi/v3: where the documents are. `path` below is "api/v1" or
// "apis/discovery.k8s.io/v1", without a leading slash; NotFound when no kind is of it.
std::string openapi_v3_index(const std::vector<ResourceKind>& kinds);
Result<std::string> openapi_v3_document(const std::vector<ResourceKind>& kinds,
                                        std::string_view path);
// The hash that the index puts into a document's address.
std::string openapi_hash(std::string_view document);

namespace openapi {

// "core.v1.Pod" -> "io.k8s.api.core.v1.Pod".
std::string definition_name(std::string_view type);
// The schemas of the types and of everything they reach, by definition name. `v3` chooses how
// references are written.
Json definitions(const std::vector<std::string>& roots, const std::vector<ResourceKind>& kinds,
                 bool v3);
// The types that the kinds' documents begin from.
std::vector<std::string> roots_of(const std::vector<ResourceKind>& kinds);
// The paths object for the kinds.
Json paths(const std::vector<ResourceKind>& kinds, bool v3);
// A v2 document in gnostic's protobuf.
std::string encode_v2(const Json& document);

}  // namespace openapi
}  // namespace coracle
