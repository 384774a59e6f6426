// Notices when others change what the Pod network consists of. Used from one thread at a time.
#pragma once

#include <coracle/result.h>

#include <memory>
#include <utility>

#include "netlink/route_watch.h"
#include "pod_network.h"
#include "proxy/rule_watch.h"

namespace coracle {

class PodNetworkWatch {
 public:
  // Of the calling thread's network namespace, from now on.
  static Result<std::unique_ptr<PodNetworkWatch>> open(IptablesVariant variant);
  ~PodNetworkWatch();
  PodNetworkWatch(const PodNetworkWatch&) = delete;
  PodNetworkWatch& operator=(const PodNetworkWatch&) = delete;

  // Readable when look() may have something to tell.
  int fd() const { return either_; }
  // Whether there is anything to take.
  bool look();
  // What may have been changed since the last call, so is to be ensured. Our own changes are seen
  // too: ensuring once more then finds nothing to do.
  PodNetworkParts take();
  // What the Pod network has applied: events that agree with it are not reported. Null: all are.
  void expect(std::shared_ptr<const KernelState> applied) { applied_ = std::move(applied); }
  // After what was taken has been ensured.
  void ensured(PodNetworkParts parts);

 private:
  PodNetworkWatch(RouteWatch routes, std::unique_ptr<proxy::RuleWatch> rules);

  RouteWatch routes_;
  const std::unique_ptr<proxy::RuleWatch> rules_;
  const int either_;  // an epoll descriptor of both
  std::shared_ptr<const KernelState> applied_;
  PodNetworkParts seen_{false, false, false};
};

}  // namespace coracle
