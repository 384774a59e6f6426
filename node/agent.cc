// The node agent: builds its pieces in order and keeps the node's Ready condition true to them.
#include <coracle/agent.h>
#include <coracle/events.h>
#include <coracle/log.h>
#include <unistd.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "dns/cluster_dns.h"
#include "kernel_state.h"
#include "netlink/linux_kernel.h"
#include "node_registration.h"
#include "outlet.h"
#include "peer_probe.h"
#include "pod_network.h"
#include "pod_network_watch.h"
#include "pods/pod_manager.h"
#include "proxy/proxier.h"
#include "remote_nodes.h"
#include "runtime/runtime.h"
#include "service_cache.h"
#include "socket_keeper.h"
#include "sync_loop.h"
#include "sysctl.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;

// Damage to links, routes, forwarding and masquerading is seen when it is done; the full interval
// is for the sysctls of which the kernel says nothing. A look costs a few milliseconds.
constexpr SyncLoopOptions kSetupLoop{.min_interval = 20ms,
                                     .full_interval = 60s,
                                     .retry_min = 50ms,
                                     .retry_max = 1s,
                                     .probe_interval = 0ms};
// One step of the bring-up waits at most this long before the status says what it waits for.
constexpr auto kPatience = 300ms;

std::string cidr_file(const std::string& data_dir) {
  return data_dir + "/network/pod-cidr";
}

// "" when nothing is to be kept.
std::string kept(const AgentOptions& options, const std::string& name) {
  return options.keep_lists ? options.data_dir + "/kept" + name : "";
}

Result<void> check(const AgentOptions& options) {
  if (options.proxy_mode != "iptables")
    return Error{Code::BadRequest, "the proxy mode \"" + options.proxy_mode +
                                       "\" is not built; these work: iptables"};
  if (options.runtime != "process")
    return Error{Code::BadRequest,
                 "the runtime \"" + options.runtime + "\" is not built; these work: process"};
  TRY(parse_backend(options.backend));
  if (options.node_name.empty()) return Error{Code::BadRequest, "the node has no name"};
  return {};
}

// What is made of the Services on this node. The cache tells the rules of a change before the DNS.
struct ServiceParts {
  std::unique_ptr<KeptSockets> sockets;
  std::unique_ptr<ServiceCache> cache;
  std::unique_ptr<proxy::Proxier> proxier;
  std::unique_ptr<dns::ClusterDns> dns;
};

// Without it a lookup may fail while the agent is started anew, and that is all.
std::unique_ptr<KeptSockets> keep_sockets(const std::string& data_dir) {
  auto opened = KeptSockets::open(data_dir);
  if (opened) return std::move(*opened);
  log::warn("agent", "nobody keeps the DNS sockets over a restart",
            {{"error", opened.error().message}});
  return nullptr;
}

// PodNetwork sets route_localnet, which node ports on 127.0.0.1 need.
Result<ServiceParts> make_service_parts(Client& client, const Clock& clock,
                                        const AgentOptions& options) {
  ServiceParts out;
  out.sockets = keep_sockets(options.data_dir);
  out.cache = std::make_unique<ServiceCache>(client, kept(options, ""));
  out.proxier = TRY(
      proxy::Proxier::create(*out.cache, clock,
                             {.node_name = options.node_name,
                              .mode = options.proxy_mode,
                              .rules = {.pod_cidr = options.pod_cidr, .localhost_node_ports = true},
                              .cluster_dns = options.cluster_dns}));
  out.dns = TRY(dns::ClusterDns::create(
      *out.cache, clock,
      {.address = options.cluster_dns,
       .domain = options.cluster_domain,
       .pod_cidr = options.pod_cidr,
       .service_cidr = options.service_cidr,
       .resolv_conf = options.resolv_conf,
       .names = TRY(dns::parse_static_names(options.dns_stub_domains, options.dns_hosts)),
       .sockets = out.sockets ? out.sockets->functions() : SocketKeeper{},
       .await_rules = [proxier = out.proxier.get()](auto deadline) {
         (void)proxier->wait_synced(deadline);
       }}));
  return out;
}

class NodeAgent final : public Agent {
 public:
  NodeAgent(Client& client, const Clock& clock, AgentOptions options,
            std::unique_ptr<Runtime> runtime, ServiceParts services, Outlet outlet)
      : client_(client),
        clock_(clock),
        options_(std::move(options)),
        runtime_(std::move(runtime)),
        sockets_(std::move(services.sockets)),
        services_(std::move(services.cache)),
        proxier_(std::move(services.proxier)),
        dns_(std::move(services.dns)),
        outlet_(std::move(outlet)),
        events_(client, clock, "kubelet", options_.node_name),
        registration_(client, clock,
                      read_node_facts(options_.node_name, options_.node_ip, options_.version,
                                      options_.data_dir),
                      events_, [this] { setup_.mark_dirty(); }),
        peers_(client, [this] { setup_.mark_dirty(); }),
        probe_(
            {.node_name = options_.node_name,
             .cluster_cidr = options_.pod_cidr,
             .report = [this](const auto& r) { registration_.set_peers(compute_peer_report(r)); },
             .announce = options_.announce_server,
             .heard = options_.on_server_announced}),
        setup_(
            "node setup", clock, kSetupLoop, [this](bool full) { return bring_up(full); },
            [this] { return look_at_network(); }, [this] { return watch_ ? watch_->fd() : -1; }) {
    dns_->on_trouble([this](const std::string& why) {
      events_.warning({"v1", "Node", "", options_.node_name, options_.node_name, ""},
                      "ClusterDNSFailed", "This node does not answer its Pods' lookups: " + why);
    });
  }
  ~NodeAgent() override { stop(); }
  NodeAgent(const NodeAgent&) = delete;
  NodeAgent& operator=(const NodeAgent&) = delete;

  void start() {
    setup_.mark_dirty();
    registration_.start();
    peers_.start();
    dns_->start();
    proxier_->start();
    services_->start();
    setup_.start();
    outlet_.start();
  }

  bool wait_ready(std::chrono::steady_clock::time_point deadline) override {
    return registration_.wait_ready(deadline);
  }

  void stop() override {
    outlet_.stop();
    setup_.stop();
    if (pods_) pods_->stop();
    services_->stop();
    proxier_->stop();
    probe_.stop();
    peers_.stop();
    registration_.stop();
    dns_->stop();  // last, as somebody may ask
  }

 private:
  // Never damage that needs everything anew: what was touched is ensured by the next run.
  bool look_at_network() {
    if (watch_ && watch_->look()) setup_.mark_dirty();
    return false;
  }

  // Everything that is not up yet, in order; what is up is checked, all of it when `full`, else
  // what was touched. Runs again until all is well, then from time to time.
  Result<void> bring_up(bool full) {
    const auto cidr = pod_cidr();
    if (!cidr) {
      // The change of the Node that names it wakes us.
      registration_.set_condition(false, "NetworkNotReady",
                                  "waiting for the server to assign a Pod CIDR to this node");
      return {};
    }
    if (const auto up = ensure_network(*cidr, full); !up)
      return not_ready("NetworkNotReady", up.error());
    if (const auto up = ensure_pods(); !up) return not_ready("PodsNotAdopted", up.error());
    if (!proxier_->synced() && !proxier_->wait_synced(std::chrono::steady_clock::now() + kPatience))
      return not_ready("ServiceRulesNotReady",
                       {Code::Unavailable, "the Service rules are not in the kernel yet"});
    registration_.set_condition(true, "KubeletReady", "the node agent is posting ready status");
    return {};
  }

  Error not_ready(const std::string& reason, const Error& error) {
    registration_.set_condition(false, reason, error.message);
    return error;
  }

  // The API's word, or what it was before a restart while the server cannot be asked.
  std::optional<Cidr> pod_cidr() {
    if (const auto assigned = registration_.pod_cidr()) return assigned;
    const auto remembered = read_small_file(cidr_file(options_.data_dir));
    const auto cidr = remembered ? Cidr::parse(*remembered) : Result<Cidr>(remembered.error());
    return cidr ? std::optional(*cidr) : std::nullopt;
  }

  Result<void> ensure_network(const Cidr& cidr, bool full) {
    if (network_ && cidr != pod_cidr_ && !std::exchange(warned_, true))
      log::warn("agent",
                "the node's Pod CIDR has changed, but its Pods have addresses of the old one: "
                "remove them and restart the agent",
                {{"cidr", cidr.to_string()}, {"old", pod_cidr_.to_string()}});
    if (network_) {
      const auto touched = watch_->take();
      const auto parts = full ? PodNetworkParts{} : touched;
      TRY(network_->ensure(parts));
      watch_->ensured(parts);
      TRY(follow_address());
      return follow_peers();
    }
    const IptablesTool tool = TRY(IptablesTool::detect());
    watch_ = TRY(PodNetworkWatch::open(tool.variant()));
    network_ = TRY(PodNetwork::create({.data_dir = options_.data_dir,
                                       .pod_cidr = cidr,
                                       .cluster_cidr = options_.pod_cidr,
                                       .node_ip = options_.node_ip,
                                       .backend = *parse_backend(options_.backend),
                                       .cluster_dns = options_.cluster_dns},
                                      TRY(LinuxKernel::open()), make_firewall(tool)));
    watch_->ensured({});
    pod_cidr_ = cidr;
    tell_own_addresses();
    TRY(follow_address());
    TRY(follow_peers());
    const auto remembered = read_small_file(cidr_file(options_.data_dir));
    if (remembered && *remembered == cidr.to_string()) return {};
    std::error_code failed;
    std::filesystem::create_directories(options_.data_dir + "/network", failed);
    return write_file_durably(cidr_file(options_.data_dir), cidr.to_string());
  }

  Result<void> follow_address() { return move_to(address_.now()); }  // the next one wakes us

  Result<void> move_to(const Ip& ip) {
    if (ip == node_ip_) return {};
    log::info("agent", "the node's address has changed",
              {{"old", node_ip_.to_string()}, {"new", ip.to_string()}});
    if (options_.on_address) options_.on_address(ip);
    client_.reconnect();  // nothing comes back to the old one
    registration_.set_ip(ip);
    if (pods_) pods_->set_node_ip(ip);
    TRY(network_->set_node_ip(ip));
    node_ip_ = ip;
    tell_own_addresses();
    probe_.probe_now();
    return {};
  }

  void tell_own_addresses() {
    dns_->set_own({node_ip_, bridge_address(pod_cidr_).ip, vtep_address(pod_cidr_)});
  }

  // Until the API has told, those of an earlier run count.
  Result<void> follow_peers() {
    watch_->expect(nullptr);  // whatever fails below is looked at
    const OwnNode own{options_.node_name, pod_cidr_, options_.pod_cidr, node_ip_};
    const auto remotes = peers_.remotes(own);
    if (remotes) TRY(network_->set_remotes(*remotes));
    watch_->expect(network_->applied());
    probe_.follow(bridge_address(pod_cidr_).ip, peers_.peers(own));
    return {};
  }

  Result<void> ensure_pods() {
    if (!pods_) {
      pods_ = std::make_unique<pods::PodManager>(
          client_, clock_, *runtime_, pods::connector_of(*network_), events_,
          pods::PodWorkerOptions{
              .node_name = options_.node_name,
              .node_ip = node_ip_,
              .cluster_domain = options_.cluster_domain,
              .cluster_dns = options_.cluster_dns,
              .resolv_conf = options_.resolv_conf,
              .known_services = [this] { return services_->known_services(); },
              .on_pod_ip = [this](const auto& uid, const auto& ns,
                                  const auto& ip) { dns_->set_pod(uid, ns, ip); },
              .kept_pods = kept(options_, "/pods")});
      pods_->start();
    }
    if (pods_->wait_adopted(std::chrono::steady_clock::now() + kPatience)) return {};
    return Error{Code::Unavailable,
                 "waiting for the list of this node's Pods, to adopt those that run"};
  }

  Client& client_;
  const Clock& clock_;
  const AgentOptions options_;
  const std::unique_ptr<Runtime> runtime_;
  const std::unique_ptr<KeptSockets> sockets_;
  const std::unique_ptr<ServiceCache> services_;
  const std::unique_ptr<proxy::Proxier> proxier_;
  const std::unique_ptr<dns::ClusterDns> dns_;
  const Outlet outlet_;
  EventRecorder events_;
  NodeRegistration registration_;
  RemoteNodes peers_;
  PeerProbe probe_;
  // Of the setup loop.
  std::unique_ptr<PodNetworkWatch> watch_;
  std::unique_ptr<PodNetwork> network_;
  Cidr pod_cidr_;
  bool warned_ = false;
  OwnAddress address_{options_.node_ip};
  Ip node_ip_ = options_.node_ip;  // that everybody was told
  std::unique_ptr<pods::PodManager> pods_;
  SyncLoop setup_;
};

// All errors of a teardown that goes on after each.
class Problems {
 public:
  void note(const Result<void>& done, const std::string& what) {
    if (done) return;
    text_ += (text_.empty() ? "" : "; ") + what + ": " + done.error().message;
  }
  Result<void> result() const {
    if (text_.empty()) return {};
    return Error{Code::Internal, text_};
  }

 private:
  std::string text_;
};

Result<void> remove_sandboxes(const std::string& data_dir) {
  const auto runtime = TRY(make_process_runtime({.data_dir = data_dir}, system_clock()));
  const auto sandboxes = TRY(runtime->list());
  Problems problems;
  for (const SandboxState& sandbox : sandboxes)
    problems.note(runtime->remove_sandbox(sandbox.spec.pod_uid),
                  "Pod " + sandbox.spec.ns + "/" + sandbox.spec.name);
  return problems.result();
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::create(Client& client, const Clock& clock,
                                             AgentOptions options) {
  TRY(check(options));
  auto runtime =
      TRY(make_process_runtime({.data_dir = options.data_dir,
                                .hidden_paths = {options.data_dir},
                                .pod_max_pids = std::max<std::int64_t>(options.pod_max_pids, 0)},
                               clock));
  TRY(PodNetwork::prepare(options.data_dir));
  auto services = TRY(make_service_parts(client, clock, options));
  Outlet outlet = TRY(make_outlet(options.open_tunnel, *runtime, clock, options.data_dir));
  auto agent = std::make_unique<NodeAgent>(client, clock, std::move(options), std::move(runtime),
                                           std::move(services), std::move(outlet));
  agent->start();
  return std::unique_ptr<Agent>(std::move(agent));
}

Result<void> Agent::uninstall(const AgentOptions& options) {
  Problems problems;
  // Where there is no such directory, there are no Pods.
  if (::access(options.data_dir.c_str(), F_OK) == 0)
    problems.note(remove_sandboxes(options.data_dir), "Pods");
  problems.note(KeptSockets::end(options.data_dir), "kept sockets");
  problems.note(proxy::remove_service_rules(), "Service rules");
  problems.note(PodNetwork::cleanup(options.data_dir), "Pod network");
  if (auto done = problems.result(); !done)
    return done;  // what is left is found again by its records
  for (const char* directory : {"/pods", "/volumes", "/ipam", "/network", "/kept"}) {
    std::error_code error;
    std::filesystem::remove_all(options.data_dir + directory, error);
    if (error) problems.note(Error{Code::Internal, error.message()}, options.data_dir + directory);
  }
  return problems.result();
}

}  // namespace coracle
