// The node's DNS server: UDP and TCP sockets on the cluster DNS address, one thread with one loop
// that never waits for anybody. What it knows of the cluster is handed to it from other threads.
#pragma once

#include <coracle/clock.h>
#include <coracle/mutex.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "dns/resolv_watch.h"
#include "dns/responder.h"
#include "dns/routes.h"
#include "dns/tcp_listener.h"
#include "dns/upstream.h"
#include "dns/zone.h"
#include "socket_keeper.h"

namespace coracle::dns {

struct ServerOptions {
  std::vector<Ip> listen;  // need not be on the machine yet
  Port port = 53;          // 0: any, the same for all and both protocols
  Cidr pod_cidr;           // the cluster's
  bool search_path = true;
  std::string resolv_conf = "/etc/resolv.conf";  // "": none
  // Servers that answer what is outside the cluster; empty: those of `resolv_conf`, as it changes.
  std::vector<UpstreamServer> upstream = {};
  StaticNames names = {};  // outside the cluster, before all servers
  CacheOptions cache = {};
  ForwarderOptions forwarder = {};
  TcpLimits tcp = {};
  SocketKeeper sockets = {};
  // How long a stop waits for what was asked of upstream servers: what they take, mostly.
  std::chrono::milliseconds last_answers{200};
};

// Thread-safe.
class Server {
 public:
  // Listens, in the network namespace of the calling thread: questions wait until start().
  // AlreadyExists when somebody else has the address and port.
  static Result<std::unique_ptr<Server>> create(const Clock& clock, ServerOptions options);
  // Answers, from its own thread. Idempotent; not to be called by two threads at a time.
  void start();
  // Stops. What waits for upstream servers is answered if they answer soon; what is not read yet
  // waits in the sockets if somebody keeps them.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // As Resolver::set_zone, from the next packet on.
  void set_zone(std::shared_ptr<const Zone> zone, bool synced);
  void set_pods(PodNamespaces pods);
  // This node's addresses, whose processes are served as Pods are.
  void set_own(std::set<Ip> own);

  Port port() const { return port_; }
  Counters counters() const;

 private:
  class Loop;
  struct News {  // for the loop
    std::shared_ptr<const Zone> zone;
    bool synced = false;
    std::shared_ptr<const PodNamespaces> pods;
    std::set<Ip> own;
  };
  Server() = default;
  void tell();

  mutable Mutex mutex_;
  News news_ CORACLE_GUARDED_BY(mutex_);
  Counters counters_ CORACLE_GUARDED_BY(mutex_);
  Port port_ = 0;
  int wake_ = -1;
  std::unique_ptr<Loop> loop_;
  std::jthread thread_;
};

}  // namespace coracle::dns
