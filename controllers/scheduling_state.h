// What the scheduler knows of the cluster, kept up to date Pod by Pod: what is in use on each node,
// and where Pods of a kind are. Pods that differ in nothing that a selector or an anti-affinity
// could ask for are one group, so that a decision costs groups times nodes, not Pods. Used under
// one lock.
#pragma once

#include <coracle/api/node.h>
#include <coracle/api/pod.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "node_health.h"
#include "pod_endpoints.h"

namespace coracle {

struct HostPort {
  std::string protocol, ip;  // "": every address
  std::int64_t port = 0;
  auto operator<=>(const HostPort&) const = default;
};
std::vector<HostPort> host_ports(const Pod& pod);

// What the Pod requests; one that asks for nothing still takes a place.
const ResourceAmounts& requests_of(const Pod& pod);
// The same for weighing nodes: a container without a request counts as a small one, as upstream.
ResourceAmounts weight_of(const Pod& pod);

struct NodeUse {
  NodePtr node;  // null: Pods are bound to a node that is not there
  ResourceAmounts requested;
  ResourceAmounts weight;
  std::map<HostPort, int> ports;
};

struct PodGroup {
  std::string ns;
  Labels labels;
  std::string controller;  // uid of their controller, "" when none
  bool ending = false;     // being deleted
  std::shared_ptr<const PodTerms> terms;
  std::map<std::string, std::int64_t> on;  // how many, by node
};

class SchedulingState {
 public:
  void set_node(const NodePtr& node);
  void remove_node(const std::string& name);
  void set_namespace(const std::string& name, const Labels& labels) { namespaces_[name] = labels; }
  void remove_namespace(const std::string& name) { namespaces_.erase(name); }

  // The Pod is on that node. `Assumed` until the API says so: takes the place of nothing that it
  // said.
  enum class Source { Api, Assumed };
  void place(const PodPtr& pod, const std::string& node, Source source);
  // Returns the node that it was on, "" when it was on none.
  std::string remove(const std::string& uid);
  // The same of what was assumed and has not come true.
  std::string forget(const std::string& uid);
  bool holds(const std::string& uid) const { return placed_.contains(uid); }

  const std::map<std::string, NodeUse>& nodes() const { return nodes_; }
  const std::map<std::string, PodGroup>& groups() const { return groups_; }
  // nullptr when the node is not there.
  const Node* node(const std::string& name) const;
  const Labels& namespace_labels(const std::string& name) const;

 private:
  struct Placed {
    PodPtr pod;
    std::string node;
    std::string group;
    Source source = Source::Api;
  };

  std::map<std::string, NodeUse> nodes_;
  std::map<std::string, PodGroup> groups_;
  std::unordered_map<std::string, Placed> placed_;  // by uid
  std::map<std::string, Labels> namespaces_;
};

}  // namespace coracle
