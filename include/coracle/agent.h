// The node agent: makes this machine (or network namespace) a node. Rules and Pods stay up when it
// stops.
#pragma once

#include <coracle/byte_stream.h>
#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace coracle {

struct AgentOptions {
  std::string node_name;
  Ip node_ip;
  std::string data_dir;  // absolute; <data_dir>/pods, ipam, ... live below
  Cidr pod_cidr;         // the cluster's
  Cidr service_cidr;
  std::string cluster_domain;
  Ip cluster_dns;          // every node answers DNS there
  std::string proxy_mode;  // "iptables"
  std::string runtime;     // "process"
  // How nodes reach each other's Pods: "vxlan", "host-gw" or, by peer, "auto".
  std::string backend = "vxlan";
  // The node's resolver configuration: whom its DNS asks for names outside the cluster, and what
  // Pods with the dnsPolicy Default get. "": none.
  std::string resolv_conf = "/etc/resolv.conf";
  // Names outside the cluster that this node's DNS need not ask those servers for:
  // "ZONE=IP[:PORT]", who knows a zone, and "NAME=IP", a host of at least two labels. Any number
  // for the same name.
  std::vector<std::string> dns_stub_domains = {}, dns_hosts = {};
  // Processes and threads that a Pod may have at a time, where there are cgroups that count them;
  // -1: any number. It counts for containers that start from now on.
  std::int64_t pod_max_pids = 4096;
  // Called when the node has another address, from a thread of the agent. Null: nobody asks.
  std::function<void(const Ip&)> on_address = {};
  std::string version;  // shown as the node's kubeletVersion
  // Keeps the last known Pods, Services and EndpointSlices in <data_dir>/kept, and begins with them
  // while the server is away.
  bool keep_lists = false;
  // On the node that runs the server: where that is reached now, "https://10.0.0.7:6443", or
  // nothing. All other nodes are told, through the Pod network. Asked now and then, from a thread
  // of the agent; must return quickly.
  std::function<std::optional<std::string>()> announce_server = {};
  // A node says that it runs a server there; from a thread of the agent, again and again, at most
  // once a second for each node; must return quickly. Always a well-formed https URL of an IPv4 or
  // IPv6 address and a port, but a mere hint from whoever can send a packet to UDP 8473: what
  // answers there has to prove, by the pinned authority, that it is the cluster's server.
  std::function<void(const std::string& url)> on_server_announced = {};
  // Opens the connection over which the server asks for logs, see tunnel.h; from a thread of the
  // agent, again whenever it ended. Null: nobody asks.
  std::function<Result<std::unique_ptr<ByteStream>>(const std::stop_token& stop)> open_tunnel = {};
};

class Agent {
 public:
  // Starts registering at once. BadRequest for a proxy mode, runtime or backend that is not
  // built, naming those that are, and for names that cannot be read.
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

// The address of this machine that others know, while networks move: the one it was given as long
// as the machine has it, else one that is detected. A given one that the machine never had is that
// of a router before it. Not thread-safe.
class OwnAddress {
 public:
  explicit OwnAddress(const Ip& given) : given_(given), current_(given) {}
  // Stays the last one while the machine has none.
  Ip now();

 private:
  const Ip given_;
  Ip current_;
  bool was_home_ = false;  // the machine has had the given one
};

}  // namespace coracle
