// Errors with the texts Kubernetes clients expect. The HTTP layer fills Status.details from the
// request.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <string>

#include "registry.h"

namespace coracle {

// "pods", "deployments.apps": how messages name a resource.
std::string qualified_resource(const Resource& resource);
Error not_found(const Resource& resource, const std::string& name);
Error already_exists(const Resource& resource, const std::string& name);
// Operation cannot be fulfilled on pods "x": <why>
Error conflict(const Resource& resource, const std::string& name, const std::string& why);
// The lost race: "the object has been modified; ..."
Error modified(const Resource& resource, const std::string& name);
// pods "x" is forbidden: <why>
Error forbidden(const Resource& resource, const std::string& name, const std::string& why);
// One 422 with every cause: Kind.group "name" is invalid: ...
Error invalid(const Resource& resource, const std::string& name, const FieldErrors& errors);
// Internal error occurred: <what>
Error internal_error(const std::string& what);

}  // namespace coracle
