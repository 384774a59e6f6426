// The subcommands of the executable. Wiring, signals and exit codes; no logic. Each returns an exit
// code.
#pragma once

#include <coracle/agent.h>
#include <coracle/http_client.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace coracle {

// What a server's own node is told as well as an agent's.
struct NodeFlags {
  std::string resolv_conf = "/etc/resolv.conf";
  std::vector<std::string> dns_stub_domains, dns_hosts;  // "ZONE=IP[:PORT]" and "NAME=IP"
  std::int64_t pod_max_pids = 4096;                      // -1: no limit
};

struct ServerFlags {
  std::string data_dir = "/var/lib/coracle", node_name, node_ip, bind_address = "::";
  int secure_port = 6443;
  int tunnel_port = 0;  // 0: the next one, or any
  std::string pod_cidr = "10.42.0.0/16", service_cidr = "10.96.0.0/16";
  std::string cluster_domain = "cluster.local", cluster_dns = "10.96.0.10";
  std::string proxy_mode = "iptables", backend = "vxlan", runtime = "process";
  NodeFlags node;
  bool no_agent = false;
  int node_monitor_grace_period = 8;  // seconds; what is silent for so long is NotReady a second on
  int not_ready_toleration = 300, unreachable_toleration = 300;  // seconds
};
int run_server(const ServerFlags& flags);

struct AgentFlags {
  std::string server, token, data_dir = "/var/lib/coracle", node_name, node_ip;
  NodeFlags node;
  bool replace = false;
};
int run_agent(const AgentFlags& flags);

struct TokenFlags {
  std::string data_dir = "/var/lib/coracle", kubeconfig;
  std::string ttl = "24h", description;
};
// A new one, for the cluster of that authority; ttl 0 is for ever.
Result<std::string> make_join_token(Client& client, const std::string& ca_pem,
                                    std::chrono::seconds ttl, const std::string& description);
// One that is good for an hour at least and that an earlier call made for the same purpose, or a
// new one for a day.
Result<std::string> lasting_join_token(Client& client, const std::string& ca_pem,
                                       const std::string& description);
// "coracle agent --server URL --token TOKEN".
std::string join_command(const std::string& server, const std::string& token);
int token_create(const TokenFlags& flags);
int token_list(const TokenFlags& flags);
int token_delete(const TokenFlags& flags, const std::string& id);

struct LabFlags {
  std::string name = "lab";
  int nodes = 0;        // as many as there are, at first three
  std::string backend;  // "": what it has, at first vxlan
  std::optional<std::string>
      resolv_conf;  // of its nodes; absent: what it has, at first the machine's
};
int lab_up(const LabFlags& flags);
int lab_down(const LabFlags& flags);
int lab_status(const LabFlags& flags);
int lab_kubeconfig(const LabFlags& flags);
int lab_url(const LabFlags& flags, const std::string& ns, const std::string& service);
// "cut", "heal", "move", "power-cut" or "flush".
int lab_fault(const LabFlags& flags, const std::string& fault, const std::string& node);
int lab_exec_command(const LabFlags& flags, const std::string& node, const std::string& pod,
                     const std::vector<std::string>& argv);

// 0 only when the server and all nodes are ready.
int print_status(const std::string& data_dir);
int print_url(const std::string& data_dir, const std::string& ns, const std::string& service);
int uninstall(const ServerFlags& flags);
// Copies of the database of the server whose data directory this is.
int backup(const std::string& data_dir, const std::string& file, bool force);
int restore(const std::string& data_dir, const std::string& file);
// The database in a server's data directory.
std::string database_path(const std::string& data_dir);

// Where lab node NODE keeps its data.
std::string lab_data_dir(const std::string& lab, const std::string& node);
// "coracle: <message>" on stderr; returns 1.
int fail(const Error& error);
// The "InternalIP" of a Node, "" when it has none.
std::string node_address(const Object& node);
Result<HttpClientOptions> admin_options(const std::string& data_dir);
// A client with the admin credentials under a server's data directory.
Result<std::unique_ptr<Client>> admin_client(const std::string& data_dir);
// The cluster's DNS as its Service tells it.
struct ClusterDnsFacts {
  std::string address, domain;
};
Result<ClusterDnsFacts> cluster_dns_facts(Client& client);
// "http://web.default.svc.cluster.local:80" for each TCP port of the Service: how Pods reach it.
std::vector<std::string> names_of(const Object& service, const std::string& domain);
// The URLs of a Service's node ports, as `minikube service --url` prints them.
Result<std::vector<std::string>> service_urls(Client& client, const ObjectKey& service);

// systemd's readiness protocol: sends to $NOTIFY_SOCKET, and does nothing when it is unset. See
// sd_notify(3).
void notify(const std::string& state);

}  // namespace coracle
