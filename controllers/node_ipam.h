// Gives each Node a range of the cluster's Pod CIDR.
#pragma once

#include <coracle/api/node.h>
#include <coracle/events.h>
#include <coracle/informer.h>
#include <coracle/net.h>

#include <optional>
#include <set>
#include <vector>

#include "controller.h"

namespace coracle {

// Pure: the first range of that size in `cluster` that overlaps none in `taken`.
std::optional<Cidr> next_cidr(const Cidr& cluster, int prefix, const std::vector<Cidr>& taken);

// Key: the Node's.
class NodeIpamController : public Reconciler {
 public:
  NodeIpamController(Client& client, const Informer<Node>& nodes, EventRecorder& events,
                     const Cidr& cluster, int prefix)
      : client_(client), nodes_(nodes), events_(events), cluster_(cluster), prefix_(prefix) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  std::vector<Cidr> taken(const std::string& but) const;

  Client& client_;
  const Informer<Node>& nodes_;
  EventRecorder& events_;
  const Cidr cluster_;
  const int prefix_;
  std::map<std::string, Cidr> given_;  // to Nodes whose cached object may not show it yet
};

}  // namespace coracle
