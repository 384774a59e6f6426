// A container's environment, command and arguments as they are executed.
#pragma once

#include <coracle/api/service.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pods/node_pod.h"
#include "pods/object_values.h"
#include "pods/resource_value.h"
#include "pods/security.h"
#include "runtime/runtime.h"

namespace coracle::pods {

using Env = std::vector<std::pair<std::string, std::string>>;

// $(NAME) becomes the variable's value, $$ a dollar sign; an unknown $(NAME) stays as it is.
std::string expand_variables(const std::string& text,
                             const std::map<std::string, std::string>& variables);

// What a field reference says; NotFound for a field that is not offered.
struct FieldFacts {
  Ip pod_ip, host_ip;
};
Result<std::string> field_value(const NodePod& pod, const FieldFacts& facts,
                                const std::string& field_path);

// The variables by which a Pod finds Services: NAME_SERVICE_HOST, NAME_PORT_80_TCP_ADDR, ... for
// every Service with a ClusterIP.
std::map<std::string, std::string> service_variables(const std::vector<Service>& services);

// The API's own Service.
inline constexpr const char* kServerNamespace = "default";
inline constexpr const char* kServerService = "kubernetes";
// enableServiceLinks.
bool wants_links(const NodePod& pod);
// Of all Services those that a Pod is told of: its namespace's, unless it wants no links. The way
// to the API is told in any case, unless a Service of the Pod's own has that name. Pure.
std::vector<Service> services_for(const NodePod& pod,
                                  const std::vector<std::shared_ptr<const Service>>& all);

struct EnvSources {
  FieldFacts fields;
  std::string node_name, cluster_domain;
  std::map<std::string, std::string> services;
  FetchObject fetch;
  std::function<Result<Allocatable>()> allocatable;  // the node's
  std::int64_t memory = 0;                           // the node's, in bytes
  UserFiles users = {};
};
// BadRequest or the fetch's error, naming what is missing, when the container cannot be made.
Result<Env> compute_env(const NodePod& pod, const PodContainer& container,
                        const EnvSources& sources);

// Everything the runtime needs to start it.
Result<ContainerSpec> compute_container(const NodePod& pod, const PodContainer& container,
                                        const EnvSources& sources);

}  // namespace coracle::pods
