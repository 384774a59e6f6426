// Proxier: keeps this node's Service rules as the API says. Owns the loop and the backend; the
// Services are those of a ServiceCache. Rules stay in the kernel when it stops, so that restarts
// are not felt.
#pragma once

#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "proxy/backend.h"
#include "service_cache.h"
#include "sync_loop.h"

namespace coracle::proxy {

struct ProxierConfig {
  std::string node_name;
  std::string mode = "iptables";
  IptablesConfig rules;
  // Where the node itself answers DNS; absent: nowhere.
  std::optional<Ip> cluster_dns = {};
};

class Proxier {
 public:
  // BadRequest for a mode that is not built, NotFound when iptables is not installed. Must be
  // called, as start(), in the network namespace whose rules it keeps, and before the cache is
  // started, which must outlive it.
  static Result<std::unique_ptr<Proxier>> create(ServiceCache& services, const Clock& clock,
                                                 ProxierConfig config);
  // As create(), over a given backend.
  Proxier(ServiceCache& services, const Clock& clock, ProxierConfig config,
          std::unique_ptr<ProxyBackend> backend);
  ~Proxier();  // stops
  Proxier(const Proxier&) = delete;
  Proxier& operator=(const Proxier&) = delete;

  void start();
  void stop();
  // Removes every rule of ours. REQUIRES: stopped.
  Result<void> cleanup() { return backend_->cleanup(); }
  // The kernel has served the Services that the API named at some time since start().
  bool synced() const { return told_; }
  // True once what the caches hold now is in the kernel; false at the deadline.
  bool wait_synced(std::chrono::steady_clock::time_point deadline) const {
    return loop_.wait_clean(deadline);
  }

 private:
  Result<void> sync(bool full);
  bool damaged();

  const ProxierConfig config_;
  std::unique_ptr<ProxyBackend> backend_;
  ServiceCache& services_;
  std::atomic<bool> told_ = false;
  bool repairing_ = false;  // of the loop's thread: the backend knows what to repair
  SyncLoop loop_;
};

// Removes the rules of this or an earlier run without a Proxier, for uninstall. No error without
// iptables.
Result<void> remove_service_rules();

}  // namespace coracle::proxy
