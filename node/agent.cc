// The node agent: builds its pieces in order and keeps the node's Ready condition true to them.
#include <arpa/inet.h>
#include <coracle/agent.h>
#include <coracle/events.h>
#include <coracle/log.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "kernel_state.h"
#include "netlink/linux_kernel.h"
#include "node_registration.h"
#include "pod_network.h"
#include "pod_network_watch.h"
#include "pods/pod_manager.h"
#include "proxy/proxier.h"
#include "remote_nodes.h"
#include "runtime/runtime.h"
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

bool has_address(const Ip& ip) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(ip.is_v4() ? ip.to_v4() : 0);
  const bool bound =
      ip.is_v4() && ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return bound;
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

class NodeAgent final : public Agent {
 public:
  NodeAgent(Client& client, const Clock& clock, AgentOptions options,
            std::unique_ptr<Runtime> runtime, std::unique_ptr<proxy::Proxier> proxier)
      : client_(client),
        clock_(clock),
        options_(std::move(options)),
        runtime_(std::move(runtime)),
        proxier_(std::move(proxier)),
        events_(client, clock, "kubelet", options_.node_name),
        registration_(client, clock,
                      read_node_facts(options_.node_name, options_.node_ip, options_.version),
                      [this] { setup_.mark_dirty(); }),
        peers_(client, [this] { setup_.mark_dirty(); }),
        setup_(
            "node setup", clock, kSetupLoop, [this](bool full) { return bring_up(full); },
            [this] { return look_at_network(); }, [this] { return watch_ ? watch_->fd() : -1; }) {}
  ~NodeAgent() override { stop(); }
  NodeAgent(const NodeAgent&) = delete;
  NodeAgent& operator=(const NodeAgent&) = delete;

  void start() {
    setup_.mark_dirty();
    registration_.start();
    peers_.start();
    proxier_->start();
    setup_.start();
  }

  bool wait_ready(std::chrono::steady_clock::time_point deadline) override {
    return registration_.wait_ready(deadline);
  }

  void stop() override {
    setup_.stop();
    if (pods_) pods_->stop();
    proxier_->stop();
    peers_.stop();
    registration_.stop();
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
                                       .backend = *parse_backend(options_.backend)},
                                      TRY(LinuxKernel::open()), make_firewall(tool)));
    watch_->ensured({});
    pod_cidr_ = cidr;
    TRY(follow_address());
    TRY(follow_peers());
    const auto remembered = read_small_file(cidr_file(options_.data_dir));
    if (remembered && *remembered == cidr.to_string()) return {};
    std::error_code failed;
    std::filesystem::create_directories(options_.data_dir + "/network", failed);
    return write_file_durably(cidr_file(options_.data_dir), cidr.to_string());
  }

  // The address we were given, while this machine has it. One that it never had is that of a
  // router before it, which leads to us.
  Result<void> follow_address() {
    const bool home = has_address(options_.node_ip);
    was_home_ = was_home_ || home;
    if (home || !was_home_) return move_to(options_.node_ip);
    if (has_address(node_ip_)) return {};
    const auto detected = detect_node_ip();
    return detected ? move_to(*detected) : Result<void>();  // the next address wakes us
  }

  Result<void> move_to(const Ip& ip) {
    if (ip == node_ip_) return {};
    log::info("agent", "the node's address has changed",
              {{"old", node_ip_.to_string()}, {"new", ip.to_string()}});
    TRY(network_->set_node_ip(ip));
    node_ip_ = ip;
    client_.reconnect();  // nothing comes back to the old one
    registration_.set_ip(ip);
    return {};
  }

  // Until the API has told, those of an earlier run count.
  Result<void> follow_peers() {
    watch_->expect(nullptr);  // whatever fails below is looked at
    const auto remotes =
        peers_.remotes({options_.node_name, pod_cidr_, options_.pod_cidr, node_ip_});
    if (remotes) TRY(network_->set_remotes(*remotes));
    watch_->expect(network_->applied());
    return {};
  }

  Result<void> ensure_pods() {
    if (!pods_) {
      pods_ = std::make_unique<pods::PodManager>(
          client_, clock_, *runtime_, pods::connector_of(*network_), events_,
          pods::PodWorkerOptions{options_.node_name, options_.node_ip, options_.cluster_domain});
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
  const std::unique_ptr<proxy::Proxier> proxier_;
  EventRecorder events_;
  NodeRegistration registration_;
  RemoteNodes peers_;
  // Of the setup loop.
  std::unique_ptr<PodNetworkWatch> watch_;
  std::unique_ptr<PodNetwork> network_;
  Cidr pod_cidr_;
  bool warned_ = false;
  Ip node_ip_ = options_.node_ip;  // now
  bool was_home_ = false;          // this machine has had the address it was given
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

// The address from which this machine would reach others; nothing is sent.
Result<Ip> default_source() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error::from_errno(errno, "socket");
  sockaddr_in remote{};
  remote.sin_family = AF_INET;
  remote.sin_port = htons(9);
  remote.sin_addr.s_addr = htonl(0xC0000201);  // 192.0.2.1: of no network, so the default route's
  sockaddr_in local{};
  socklen_t size = sizeof(local);
  const bool found = ::connect(fd, reinterpret_cast<sockaddr*>(&remote), sizeof(remote)) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0;
  const int error = errno;
  ::close(fd);
  if (!found) return Error::from_errno(error, "the default route's source address");
  return Ip::v4(ntohl(local.sin_addr.s_addr));
}

bool is_global(const Ip& ip) {
  return !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified();
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::create(Client& client, const Clock& clock,
                                             AgentOptions options) {
  TRY(check(options));
  auto runtime = TRY(make_process_runtime(
      {.data_dir = options.data_dir, .hidden_paths = {options.data_dir}}, clock));
  // PodNetwork sets route_localnet, which node ports on 127.0.0.1 need.
  proxy::ProxierConfig config{
      .node_name = options.node_name,
      .mode = options.proxy_mode,
      .rules = {.pod_cidr = options.pod_cidr, .localhost_node_ports = true}};
  auto proxier = TRY(proxy::Proxier::create(client, clock, std::move(config)));
  auto agent = std::make_unique<NodeAgent>(client, clock, std::move(options), std::move(runtime),
                                           std::move(proxier));
  agent->start();
  return std::unique_ptr<Agent>(std::move(agent));
}

Result<void> Agent::uninstall(const AgentOptions& options) {
  Problems problems;
  problems.note(remove_sandboxes(options.data_dir), "Pods");
  problems.note(proxy::remove_service_rules(), "Service rules");
  problems.note(PodNetwork::cleanup(options.data_dir), "Pod network");
  if (auto done = problems.result(); !done)
    return done;  // what is left is found again by its records
  for (const char* directory : {"/pods", "/ipam", "/network"}) {
    std::error_code error;
    std::filesystem::remove_all(options.data_dir + directory, error);
    if (error) problems.note(Error{Code::Internal, error.message()}, options.data_dir + directory);
  }
  return problems.result();
}

Result<Ip> detect_node_ip() {
  if (const auto source = default_source(); source && is_global(*source)) return *source;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return Error::from_errno(errno, "getifaddrs");
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(all, freeifaddrs);
  for (const ifaddrs* a = all; a != nullptr; a = a->ifa_next) {
    const bool up = (a->ifa_flags & IFF_UP) != 0;
    if (!up || a->ifa_addr == nullptr || a->ifa_addr->sa_family != AF_INET) continue;
    if (std::strncmp(a->ifa_name, kLinkPrefix, std::strlen(kLinkPrefix)) == 0) continue;
    sockaddr_in address{};
    std::memcpy(&address, a->ifa_addr, sizeof(address));
    const Ip ip = Ip::v4(ntohl(address.sin_addr.s_addr));
    if (is_global(ip)) return ip;
  }
  return Error{Code::NotFound,
               "this machine has no address that others could reach; name one with --node-ip"};
}

}  // namespace coracle
