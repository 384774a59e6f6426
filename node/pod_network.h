// This node's Pod network: bridge, one cable per Pod, forwarding and masquerading. Everything is
// idempotent, and what a crash left half done is completed or removed by the next call.
//
// A Pod has its address with the CIDR's prefix but reaches even its neighbours through the bridge's
// address, not directly: so every packet passes the node's IP layer, where replies of Services are
// translated back. That needs no br_netfilter, whose setting would change every other bridge of the
// machine; with it on, everything works alike.
#pragma once

#include <coracle/mutex.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cable.h"
#include "desired_state.h"
#include "ipam.h"
#include "kernel.h"
#include "masquerade.h"
#include "netns.h"

namespace coracle {

struct PodNetworkOptions {
  std::string data_dir;  // DATA/ipam and DATA/network are ours
  Cidr pod_cidr;         // this node's
  Cidr cluster_cidr;     // all nodes'
  Ip node_ip;
  OverlayBackend backend = OverlayBackend::Vxlan;
  std::optional<Ip> cluster_dns = {};  // the address for this node's DNS server
};

struct PodNetworkResult {
  Ip ip;
  int prefix = 0;
  Ip gateway;
  Mac mac;
  std::uint32_t mtu = 0;
  std::string host_link;
  bool operator==(const PodNetworkResult&) const = default;
};

// What ensure() is to look at.
struct PodNetworkParts {
  bool links = true;  // with their addresses and routes
  bool sysctls = true;
  bool rules = true;
};

// Thread-safe.
class PodNetwork {
 public:
  // Notes what cleanup() must not leave behind. Before the first rule of ours or of Services.
  static Result<void> prepare(const std::string& data_dir);
  // Of the calling thread's network namespace, with everything in place. Call every method from
  // threads in that namespace.
  static Result<std::unique_ptr<PodNetwork>> create(const PodNetworkOptions& options);
  static Result<std::unique_ptr<PodNetwork>> create(const PodNetworkOptions& options,
                                                    std::unique_ptr<Kernel> kernel,
                                                    std::unique_ptr<Firewall> firewall);

  // Puts back what is missing: bridge, Pods' cables, sysctls, rules. Removes links of ours that no
  // Pod has.
  Result<void> ensure(PodNetworkParts parts = {});

  // The other nodes from now on. Costs the kernel a few operations per node that differs: the
  // difference is that to what was last applied; after an error the next ensure() looks at
  // everything.
  Result<void> set_remotes(std::vector<RemoteNode> remotes);
  // This node's address from now on; all that depends on it follows.
  Result<void> set_node_ip(const Ip& ip);
  // What was last applied: events that agree with it need no look. Null when that is not known.
  std::shared_ptr<const KernelState> applied();

  // Connects the Pod's namespace: eth0 with an address, a default route, loopback. On an error
  // nothing of a new Pod stays.
  Result<PodNetworkResult> add(const std::string& pod_uid, int netns_fd);
  Result<PodNetworkResult> add(const std::string& pod_uid, const std::string& netns_path);
  // Success when it is gone already, and when its namespace is.
  Result<void> del(const std::string& pod_uid);
  // Whether the Pod is connected as add() does it; the error says what is wrong.
  Result<void> check(const std::string& pod_uid, int netns_fd);
  // Removes everything of Pods that do not live.
  Result<void> gc(const std::set<std::string>& live_pod_uids);

  // Removes every trace from the calling thread's network namespace: links, rules, sysctls,
  // records. Goes on after errors and reports them joined. No PodNetwork may be alive, and no
  // Service rules be left.
  static Result<void> cleanup(const std::string& data_dir);
  static Result<void> cleanup(const std::string& data_dir, Kernel& kernel,
                              const std::vector<std::unique_ptr<Firewall>>& firewalls);

 private:
  PodNetwork(PodNetworkOptions options, std::unique_ptr<Kernel> kernel,
             std::unique_ptr<Firewall> firewall, Ipam ipam);
  Result<void> ensure_links(const KernelState& actual) CORACLE_REQUIRES(mutex_);
  // Brings the kernel from `actual` to what is wanted, and remembers that.
  Result<void> apply_wanted(const KernelState& actual) CORACLE_REQUIRES(mutex_);
  Result<void> apply_remotes() CORACLE_REQUIRES(mutex_);
  KernelState wanted() CORACLE_REQUIRES(mutex_);
  void see_underlay(const KernelState& actual) CORACLE_REQUIRES(mutex_);
  Result<void> follow_mtu() CORACLE_REQUIRES(mutex_);
  Result<void> ensure_sysctls() CORACLE_REQUIRES(mutex_);
  Result<void> remove(const std::string& pod_uid) CORACLE_REQUIRES(mutex_);
  Result<void> ensure_cables(const KernelState& actual) CORACLE_REQUIRES(mutex_);
  Result<void> connect(const Cable& cable) CORACLE_REQUIRES(mutex_);
  Cable cable_of(const std::string& pod_uid, const Ip& ip, int netns_fd) CORACLE_REQUIRES(mutex_);

  const PodNetworkOptions options_;
  Mutex mutex_;
  const std::unique_ptr<Kernel> kernel_;
  const std::unique_ptr<Firewall> firewall_;
  Ipam ipam_ CORACLE_GUARDED_BY(mutex_);
  Underlay underlay_ CORACLE_GUARDED_BY(mutex_);  // when last looked at
  std::uint32_t mtu_ CORACLE_GUARDED_BY(mutex_);  // of bridge and Pods
  Ip node_ip_ CORACLE_GUARDED_BY(mutex_);
  std::vector<RemoteNode> remotes_ CORACLE_GUARDED_BY(mutex_);
  std::shared_ptr<const KernelState> applied_ CORACLE_GUARDED_BY(mutex_);
  // Of the Pods that this object has connected: to lay a cable anew that others have removed.
  std::map<std::string, NetNs> namespaces_ CORACLE_GUARDED_BY(mutex_);
};

}  // namespace coracle
