#include "registry_errors.h"

#include <nlohmann/json.hpp>

namespace coracle {

std::string qualified_resource(const Resource& resource) {
  return resource.group.empty() ? resource.plural : resource.plural + "." + resource.group;
}

namespace {
std::string named(const Resource& resource, const std::string& name) {
  return qualified_resource(resource) + " \"" + name + "\"";
}
}  // namespace

Error not_found(const Resource& resource, const std::string& name) {
  return {Code::NotFound, named(resource, name) + " not found"};
}

Error already_exists(const Resource& resource, const std::string& name) {
  return {Code::AlreadyExists, named(resource, name) + " already exists"};
}

Error conflict(const Resource& resource, const std::string& name, const std::string& why) {
  return {Code::Conflict, "Operation cannot be fulfilled on " + named(resource, name) + ": " + why};
}

Error modified(const Resource& resource, const std::string& name) {
  return conflict(resource, name,
                  "the object has been modified; please apply your changes to the latest version "
                  "and try again");
}

Error forbidden(const Resource& resource, const std::string& name, const std::string& why) {
  return {Code::Forbidden, named(resource, name) + " is forbidden: " + why};
}

Error invalid(const Resource& resource, const std::string& name, const FieldErrors& errors) {
  const std::string kind =
      resource.group.empty() ? resource.kind : resource.kind + "." + resource.group;
  std::string joined;
  for (const Cause& cause : errors.causes()) {
    if (!joined.empty()) joined += ", ";
    joined += (cause.field.empty() ? "" : cause.field + ": ") + cause.message;
  }
  if (errors.causes().size() != 1) joined = "[" + joined + "]";
  return {Code::Invalid, kind + " \"" + name + "\" is invalid: " + joined, errors.causes()};
}

Error internal_error(const std::string& what) {
  return {Code::Internal, "Internal error occurred: " + what};
}

}  // namespace coracle
