// All controllers, over one Client. See controllers/controllers.cc for the list.
#pragma once

#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>

namespace coracle {

struct ControllersOptions {
  Cidr pod_cidr = {};  // the cluster's; each node gets a /24 of it
  int node_cidr_prefix = 24;
  // A node that gave no sign of life for so long is NotReady; at least 4 s. Agents learn it from
  // their Lease and give one four times in it.
  std::chrono::seconds node_monitor_grace_period{8};
  // Ports of the nodes that no LoadBalancer gets: "TCP/6443".
  std::set<std::string> taken_ports = {};
};

class Controllers {
 public:
  static Result<std::unique_ptr<Controllers>> create(Client& client, const Clock& clock,
                                                     const ControllersOptions& options);
  virtual ~Controllers() = default;  // stops
  virtual void start() = 0;
  // Finishes what is being reconciled. Idempotent.
  virtual void stop() = 0;
};

}  // namespace coracle
