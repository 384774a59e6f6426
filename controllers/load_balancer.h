// LoadBalancer Services without a cloud: each is served on the addresses of the Ready nodes, at its
// own ports. A port that an older Service, a node port or the API has taken stays taken: the
// Service is <pending>, with an Event.
#pragma once

#include <coracle/api/node.h>
#include <coracle/api/service.h>
#include <coracle/events.h>
#include <coracle/informer.h>

#include <set>
#include <string>
#include <vector>

#include "controller.h"
#include "pod_endpoints.h"

namespace coracle {

struct LoadBalancerStatus {
  std::vector<std::string> ips;  // sorted; empty: none can be given
  std::string problem;           // why, "" when nothing is in the way
};
// Pure. `all` are all Services, `taken` "TCP/6443"-like ports of the nodes that are never given.
LoadBalancerStatus compute_load_balancer(const Service& service, const std::vector<ServicePtr>& all,
                                         const std::vector<std::shared_ptr<const Node>>& nodes,
                                         const std::set<std::string>& taken);

// One key for all: claims depend on each other.
class LoadBalancerController : public Reconciler {
 public:
  LoadBalancerController(Client& client, const Informer<Service>& services,
                         const Informer<Node>& nodes, EventRecorder& events,
                         std::set<std::string> taken)
      : client_(client),
        services_(services),
        nodes_(nodes),
        events_(events),
        taken_(std::move(taken)) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  Result<void> write(const Service& service, const LoadBalancerStatus& status);

  Client& client_;
  const Informer<Service>& services_;
  const Informer<Node>& nodes_;
  EventRecorder& events_;
  const std::set<std::string> taken_;
  std::map<std::string, std::string> reported_;  // problem by uid
};

}  // namespace coracle
