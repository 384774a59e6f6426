// Service (core/v1): the fields that our own code reads. The rest lives on in the stored JSON.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace coracle {

struct ServicePort {
  std::string name;
  std::string protocol = "TCP";
  std::int64_t port = 0;
  std::int64_t target_port = 0;  // 0 when it is a name
  std::string target_port_name;  // "" when it is a number
  std::int64_t node_port = 0;
  std::string app_protocol;
  bool operator==(const ServicePort&) const = default;
};

struct Service {
  Meta meta;
  std::string type = "ClusterIP";
  std::map<std::string, std::string> selector;
  std::string cluster_ip;  // "", "None" or an address
  std::vector<std::string> cluster_ips;
  std::vector<std::string> ip_families;
  std::vector<ServicePort> ports;
  std::vector<std::string> external_ips;
  std::string external_name;
  std::string external_traffic_policy;  // "Cluster", "Local" or ""
  std::string internal_traffic_policy;
  std::string session_affinity;                       // "None", "ClientIP" or ""
  std::int64_t session_affinity_timeout_seconds = 0;  // 0: not given
  std::vector<std::string> load_balancer_source_ranges;
  bool publish_not_ready_addresses = false;
  std::vector<std::string> load_balancer_ips;  // status.loadBalancer.ingress[].ip

  bool headless() const { return cluster_ip == "None"; }
  // Members of a wrong type read as absent.
  static Result<Service> decode(const Object& object);
};

}  // namespace coracle
