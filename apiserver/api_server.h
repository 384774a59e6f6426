// The API server: HTTPS in front of a Registry, with the cluster's certificates and the admin's
// kubeconfig.
#pragma once

#include <coracle/byte_stream.h>
#include <coracle/clock.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "join.h"
#include "registry.h"

namespace coracle {

struct ApiServerOptions {
  Registry& registry;
  const Clock& clock;
  std::string bind_address = "0.0.0.0";  // an unspecified address means every one, IPv4 and IPv6
  int port = 6443;                       // 0: any free one
  int tunnel_port = -1;                  // where nodes open their tunnels; 0: any, -1: nowhere
  bool tunnel_port_may_move = false;     // to any free one when that is taken
  std::string data_dir = {};             // <data_dir>/pki and <data_dir>/kubeconfig are kept there
  std::vector<Ip> addresses = {};        // of this server; the first goes into the kubeconfig
  std::string cluster_domain = "cluster.local";
  Ip kubernetes_service_ip = {};
  ClusterFacts facts = {};  // what a node that joins is told
  std::chrono::hours node_certificate_life{24 * 365};
  std::string version = "0.1.0";
  int threads = 32;                    // requests served at a time
  std::size_t max_connections = 1024;  // watches not counted; waiting ones cost no thread
  std::size_t max_per_source = 512;    // of them, by address
  std::size_t max_watches = 4096;      // at a time; they take none of the threads
  std::size_t reserved_watches = 256;  // of them, for nodes
  std::chrono::milliseconds bookmark_interval{60'000};
  std::chrono::milliseconds header_timeout{10'000};
};

class ApiServer {
 public:
  // Serves at once; /readyz fails until set_ready(true). Registry and clock must outlive it.
  static Result<std::unique_ptr<ApiServer>> create(const ApiServerOptions& options);
  virtual ~ApiServer() = default;
  virtual int port() const = 0;
  virtual int tunnel_port() const = 0;  // 0: there is none
  // The tunnel of the node that runs in this process: the other end is the agent's. Thread-safe.
  virtual Result<std::unique_ptr<ByteStream>> open_tunnel(const std::string& node) = 0;
  virtual std::string kubeconfig_path() const = 0;
  // Where clients find it now: "https://10.0.0.7:6443". Thread-safe.
  virtual std::string url() const = 0;
  virtual void set_ready(bool ready) = 0;
  // The addresses of this server from now on: names them in its certificate, the first in the
  // kubeconfig. Connections that are open stay. Thread-safe.
  virtual Result<void> set_addresses(const std::vector<Ip>& addresses) = 0;
  // Ends watches and connections. Idempotent.
  virtual void stop() = 0;
};

}  // namespace coracle
