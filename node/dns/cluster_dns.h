// The cluster's DNS on this node: the Services of the cache become the zone of a Server, a few
// milliseconds after they change. Keeps trying when it cannot listen. Thread-safe.
#pragma once

#include <coracle/clock.h>
#include <coracle/mutex.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "dns/dns_metrics.h"
#include "dns/server.h"
#include "dns/zone.h"
#include "service_cache.h"
#include "sync_loop.h"

namespace coracle::dns {

struct ClusterDnsOptions {
  Ip address;          // the cluster's DNS address; need not be on the machine yet
  Port port = 53;      // 0: any
  std::string domain;  // "cluster.local"
  Cidr pod_cidr, service_cidr;
  // Whose servers are asked for what is outside the cluster; "": nobody is.
  std::string resolv_conf = "/etc/resolv.conf";
  StaticNames names = {};     // before those servers
  SocketKeeper sockets = {};  // to be used while ClusterDns lives
  // Called before a change is told: returns once this node's Service rules are up to date with the
  // cache, or at the deadline. A name that leads nowhere yet costs its first user a second, until
  // TCP tries again. Null: nobody makes rules.
  std::function<void(std::chrono::steady_clock::time_point deadline)> await_rules = {};
};

class ClusterDns {
 public:
  // BadRequest for a domain that is no name. To be called, as start(), in the network namespace
  // where it listens, and before the cache is started. The cache must outlive it and be stopped
  // before it goes.
  static Result<std::unique_ptr<ClusterDns>> create(ServiceCache& services, const Clock& clock,
                                                    ClusterDnsOptions options);
  ~ClusterDns();  // stops
  ClusterDns(const ClusterDns&) = delete;
  ClusterDns& operator=(const ClusterDns&) = delete;

  // Called from a thread of ours when names cannot be answered, and why; once for each reason.
  // REQUIRES: before start()
  void on_trouble(std::function<void(const std::string& why)> f) { on_trouble_ = std::move(f); }
  void start();
  void stop();  // nobody answers then; questions wait in the sockets if somebody keeps these
  // This node's addresses, whose processes are served as Pods are.
  void set_own(std::set<Ip> own);
  // A Pod of this node has the address, or (no address) has none any more.
  void set_pod(const std::string& uid, const std::string& ns, const std::optional<Ip>& ip);

  // It answers, and knows all Services that the cache held at some time.
  bool synced() const;
  Port port() const;          // 0 while it does not listen
  Counters counters() const;  // since the start

 private:
  struct LocalPod {
    std::string ns;
    Ip ip;
    bool operator==(const LocalPod&) const = default;
  };
  ClusterDns(ServiceCache& services, const Clock& clock, ClusterDnsOptions options,
             const ZoneConfig& zone);
  Result<void> sync();
  Result<void> ensure_server();
  std::shared_ptr<Server> server() const;
  void tell_hosts();
  void compile();

  ServiceCache& services_;
  const Clock& clock_;
  const ClusterDnsOptions options_;
  std::function<void(const std::string&)> on_trouble_;
  // Of the loop's thread.
  ZoneTable table_;
  bool filled_ = false;  // the table has all that the cache had
  std::string trouble_;

  mutable Mutex mutex_;
  std::shared_ptr<Server> server_ CORACLE_GUARDED_BY(mutex_);
  std::set<ObjectKey> touched_ CORACLE_GUARDED_BY(mutex_);
  std::map<std::string, LocalPod> pods_ CORACLE_GUARDED_BY(mutex_);  // by uid
  std::set<Ip> own_ CORACLE_GUARDED_BY(mutex_);
  bool hosts_changed_ CORACLE_GUARDED_BY(mutex_) = true;
  bool synced_ CORACLE_GUARDED_BY(mutex_) = false;
  SyncLoop loop_;
  const DnsMetrics metrics_;
};

}  // namespace coracle::dns
