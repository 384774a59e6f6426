// Values of ConfigMaps and Secrets, as containers get them: pure.
#pragma once

#include <coracle/client.h>
#include <coracle/object.h>

#include <functional>
#include <map>
#include <string>

namespace coracle::pods {

// Fetches a ConfigMap or Secret of the Pod's namespace.
using FetchObject =
    std::function<Result<Object>(const Resource& resource, const std::string& name)>;

// What is no base64 ends the value.
std::string decode_base64(const std::string& text);

// By key; a Secret's are decoded. `binary`: also a ConfigMap's binaryData.
std::map<std::string, std::string> object_values(const Resource& resource, const Object& object,
                                                 bool binary = false);

// configmap "x" not found
Error not_found(const Resource& resource, const std::string& name);

}  // namespace coracle::pods
