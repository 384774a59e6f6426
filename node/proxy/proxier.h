// Proxier: keeps this node's Service rules as the API says. Owns the caches of Services and
// EndpointSlices, the loop and the backend. Rules stay in the kernel when it stops, so that
// restarts are not felt.
#pragma once

#include <coracle/api/endpoint_slice.h>
#include <coracle/api/service.h>
#include <coracle/client.h>
#include <coracle/informer.h>
#include <coracle/mutex.h>

#include <chrono>
#include <memory>
#include <string>

#include "proxy/backend.h"
#include "sync_loop.h"

namespace coracle::proxy {

struct ProxierConfig {
  std::string node_name;
  std::string mode = "iptables";
  IptablesConfig rules;
};

class Proxier {
 public:
  // BadRequest for a mode that is not built, NotFound when iptables is not installed. Must be
  // called, as start(), in the network namespace whose rules it keeps.
  static Result<std::unique_ptr<Proxier>> create(Client& client, const Clock& clock,
                                                 ProxierConfig config);
  // As create(), over a given backend.
  Proxier(Client& client, const Clock& clock, ProxierConfig config,
          std::unique_ptr<ProxyBackend> backend);
  ~Proxier();  // stops
  Proxier(const Proxier&) = delete;
  Proxier& operator=(const Proxier&) = delete;

  void start();
  void stop();
  // Removes every rule of ours. REQUIRES: stopped.
  Result<void> cleanup() { return backend_->cleanup(); }
  // The kernel has served the Services that the API named at some time since start().
  bool synced() const { return loop_.ever_succeeded(); }
  // True once what the caches hold now is in the kernel; false at the deadline.
  bool wait_synced(std::chrono::steady_clock::time_point deadline) const {
    return loop_.wait_clean(deadline);
  }

 private:
  Result<void> sync(bool full);
  bool damaged();

  const ProxierConfig config_;
  std::unique_ptr<ProxyBackend> backend_;
  Informer<Service> services_;
  Informer<EndpointSlice> slices_;
  bool repairing_ = false;  // of the loop's thread: the backend knows what to repair
  SyncLoop loop_;
};

// Removes the rules of this or an earlier run without a Proxier, for uninstall. No error without
// iptables.
Result<void> remove_service_rules();

}  // namespace coracle::proxy
