// The node agent: makes this machine (or network namespace) a node. Rules and Pods stay up when it
// stops.
#pragma once

#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <memory>
#include <string>

namespace coracle {

struct AgentOptions {
  std::string node_name;
  Ip node_ip;
  std::string data_dir;  // absolute; <data_dir>/pods, ipam, ... live below
  Cidr pod_cidr;         // the cluster's
  std::string cluster_domain;
  Ip cluster_dns;
  std::string proxy_mode;  // "iptables"
  std::string runtime;     // "process"
  // How nodes reach each other's Pods: "vxlan", "host-gw" or, by peer, "auto".
  std::string backend = "vxlan";
  std::string version;  // shown as the node's kubeletVersion
};

class Agent {
 public:
  // Starts registering at once. BadRequest for a proxy mode, runtime or backend that is not
  // built, naming those that are.
  static Result<std::unique_ptr<Agent>> create(Client& client, const Clock& clock,
                                               AgentOptions options);
  virtual ~Agent() = default;
  // True once the node is Ready: Pod network up, Service rules in the kernel, Pods adopted. False
  // at the deadline.
  virtual bool wait_ready(std::chrono::steady_clock::time_point deadline) = 0;
  virtual void stop() = 0;

  // Removes everything the agent made on this machine: Pods, links, rules, sysctls. Goes on after
  // errors and reports them joined.
  static Result<void> uninstall(const AgentOptions& options);
};

// The address this machine reaches others from: the source address of its default route, else the
// first global address of an interface that is up. NotFound when there is none.
Result<Ip> detect_node_ip();

}  // namespace coracle
