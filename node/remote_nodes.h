// The other nodes as the API names them: whom this node's Pod network leads to.
#pragma once

#include <coracle/api/node.h>
#include <coracle/client.h>
#include <coracle/informer.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "desired_state.h"
#include "peer_rounds.h"

namespace coracle {

struct OwnNode {
  std::string name;
  Cidr pod_cidr;      // this node's
  Cidr cluster_cidr;  // all nodes'
  Ip ip;
};

// Every other node with an IPv4 InternalIP and a Pod CIDR, sorted. What would lead packets astray
// is left out: a range outside the cluster's, one that overlaps ours or that of a node before it by
// name, an address that is ours or nobody's.
std::vector<RemoteNode> compute_remotes(const std::vector<std::shared_ptr<const Node>>& nodes,
                                        const OwnNode& own);
// The same nodes, as whom the way is tested to.
std::vector<ProbePeer> compute_peers(const std::vector<std::shared_ptr<const Node>>& nodes,
                                     const OwnNode& own);

// Thread-safe.
class RemoteNodes {
 public:
  // `on_change` is called, from a thread of ours, when an address, a Pod CIDR or the readiness of a
  // node has changed; not for heartbeats and other conditions.
  RemoteNodes(Client& client, std::function<void()> on_change);
  void start() { informer_.start(); }
  void stop() { informer_.stop(); }
  // Nothing until the API has told of all.
  std::optional<std::vector<RemoteNode>> remotes(const OwnNode& own) const;
  std::optional<std::vector<ProbePeer>> peers(const OwnNode& own) const;

 private:
  Informer<Node> informer_;
};

// What the network was last made for, so that it can be made before the server is reached.
std::string remotes_text(const std::vector<RemoteNode>& remotes);
std::vector<RemoteNode> parse_remotes(const std::string& text);  // leaves out what is damaged

}  // namespace coracle
