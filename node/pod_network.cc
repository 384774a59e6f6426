#include "pod_network.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "diff.h"
#include "netlink/linux_kernel.h"
#include "netns.h"
#include "proxy/base_chains.h"
#include "remote_nodes.h"
#include "sysctl.h"

namespace coracle {
namespace {

constexpr const char* kPodLink = "eth0";

std::string sysctl_file(const std::string& data_dir) {
  return data_dir + "/network/sysctls.json";
}

BaseChains base_chains(const std::string& data_dir) {
  return BaseChains(data_dir + "/network/base-chains.json");
}

std::string remotes_file(const std::string& data_dir) {
  return data_dir + "/network/remotes";
}

Result<void> remember_remotes(const std::string& data_dir, const std::vector<RemoteNode>& remotes) {
  std::error_code failed;
  std::filesystem::create_directories(data_dir + "/network", failed);
  return write_file_durably(remotes_file(data_dir), remotes_text(remotes));
}

// The kernel makes the route to the Pods along with the bridge's address, but not again when
// somebody has removed it alone.
std::vector<Operation> missing_pods_route(const Cidr& pod_cidr, const KernelState& actual) {
  constexpr std::uint8_t kKernelsProtocol = 2;  // RTPROT_KERNEL
  const Link* bridge = actual.find_link(kBridgeName);
  if (bridge == nullptr || !bridge->up) return {};
  const Address address{kBridgeName, bridge_address(pod_cidr)};
  const Cidr pods{pod_cidr.network(), pod_cidr.prefix};
  bool has_address = false;
  for (const Address& a : actual.addresses) has_address |= a == address;
  for (const Route& route : actual.routes) {
    if (route.link == kBridgeName && route.destination == pods) return {};
  }
  if (!has_address) return {};
  return {AddRoute{{pods, kBridgeName, {}, kKernelsProtocol}}};
}

// Of links and namespaces of our own: nothing to remember.
Result<void> set_own(Kernel& kernel, const std::string& key, const std::string& value) {
  const auto now = kernel.read_sysctl(key);
  if (!now) return is_not_found(now.error()) ? Result<void>() : now.error();
  if (*now == value) return {};
  return kernel.write_sysctl(key, value);
}

Result<void> ensure_own_sysctls(Kernel& kernel) {
  for (const char* link : {kBridgeName, kVxlanName})
    TRY(set_own(kernel, std::string("net/ipv4/conf/") + link + "/send_redirects", "0"));
  return {};
}

}  // namespace

PodNetwork::PodNetwork(PodNetworkOptions options, std::unique_ptr<Kernel> kernel,
                       std::unique_ptr<Firewall> firewall, Ipam ipam)
    : options_(std::move(options)),
      kernel_(std::move(kernel)),
      firewall_(std::move(firewall)),
      ipam_(std::move(ipam)),
      mtu_(pod_mtu(options_.backend, underlay_.mtu)),
      node_ip_(options_.node_ip) {
  if (const auto text = read_small_file(remotes_file(options_.data_dir)))
    remotes_ = parse_remotes(*text);
}

Result<void> PodNetwork::prepare(const std::string& data_dir) {
  return base_chains(data_dir).remember();
}

Result<std::unique_ptr<PodNetwork>> PodNetwork::create(const PodNetworkOptions& options) {
  return create(options, TRY(LinuxKernel::open()), TRY(open_firewall()));
}

Result<std::unique_ptr<PodNetwork>> PodNetwork::create(const PodNetworkOptions& options,
                                                       std::unique_ptr<Kernel> kernel,
                                                       std::unique_ptr<Firewall> firewall) {
  if (!options.pod_cidr.ip.is_v4() || options.pod_cidr.size() < 4)
    return Error{Code::BadRequest, "no Pod CIDR for IPv4 Pods: " + options.pod_cidr.to_string()};
  auto ipam = TRY(Ipam::open(options.data_dir + "/ipam", options.pod_cidr));
  std::unique_ptr<PodNetwork> network(
      new PodNetwork(options, std::move(kernel), std::move(firewall), std::move(ipam)));
  TRY(network->ensure());
  return network;
}

Result<void> PodNetwork::ensure(PodNetworkParts parts) {
  const MutexLock lock(mutex_);
  if (parts.links) {
    const KernelState actual = TRY(kernel_->dump());
    TRY(ensure_links(actual));
    TRY(ensure_cables(actual));
  }
  if (parts.sysctls) TRY(ensure_sysctls());
  if (!parts.rules) return {};
  return install_chains(*firewall_,
                        pod_chains(options_.pod_cidr, options_.cluster_cidr, options_.cluster_dns));
}

Result<void> PodNetwork::ensure_links(const KernelState& actual) {
  see_underlay(actual);
  TRY(apply_wanted(actual));
  TRY(follow_mtu());
  if (actual.find_link(kVxlanName) == nullptr) TRY(ensure_own_sysctls(*kernel_));
  return kernel_->apply_all(missing_pods_route(options_.pod_cidr, actual));
}

void PodNetwork::see_underlay(const KernelState& actual) {
  const std::uint32_t last = underlay_.mtu;
  underlay_ = find_underlay(actual, node_ip_);
  const bool usable = underlay_.link != "lo" && !underlay_.link.starts_with(kLinkPrefix);
  if (!usable) underlay_.link.clear();
  // While it is away nothing changes for the Pods.
  if (underlay_.link.empty()) underlay_.mtu = last;
}

KernelState PodNetwork::wanted() {
  NodeView view;
  view.pod_cidr = options_.pod_cidr;
  view.mtu = underlay_.mtu;
  view.underlay = underlay_.link;
  view.remotes = remotes_;
  view.backend = options_.backend;
  if (underlay_.has_node_ip) view.local = node_ip_;
  view.segments = underlay_.segments;
  view.cluster_dns = options_.cluster_dns;
  for (const auto& [ip, uid] : ipam_.allocations()) {
    if (!uid.empty()) view.pod_links.push_back(pod_link_name(uid));
  }
  return desired_state(view);
}

Result<void> PodNetwork::apply_wanted(const KernelState& actual) {
  KernelState next = wanted();
  applied_.reset();  // until all of it is
  TRY(kernel_->apply_all(diff(next, actual)));
  // Not ours, but there: routes may lead over it.
  if (!underlay_.link.empty())
    next.links.push_back({.name = underlay_.link, .kind = "", .master = ""});
  applied_ = std::make_shared<const KernelState>(std::move(next));
  return {};
}

// The host ends follow as the links they are; the other ends are in the Pods' namespaces.
Result<void> PodNetwork::follow_mtu() {
  const std::uint32_t mtu = pod_mtu(options_.backend, underlay_.mtu);
  if (mtu == mtu_) return {};
  for (const auto& [uid, netns] : namespaces_) {
    auto pod = TRY(kernel_->inside(netns.fd()));
    Link end;
    end.name = kPodLink;
    end.mtu = mtu;
    end.up = true;
    const auto done = pod->apply(ChangeLink{end});
    if (!done && !is_not_found(done.error())) return done.error().context("MTU of " + uid);
  }
  mtu_ = mtu;
  return {};
}

Result<void> PodNetwork::set_remotes(std::vector<RemoteNode> remotes) {
  const MutexLock lock(mutex_);
  std::sort(remotes.begin(), remotes.end());
  if (remotes == remotes_ && applied_) return {};
  const bool changed = remotes != remotes_;
  remotes_ = std::move(remotes);
  TRY(apply_remotes());
  if (changed) TRY(remember_remotes(options_.data_dir, remotes_));
  return {};
}

Result<void> PodNetwork::apply_remotes() {
  if (const auto applied = applied_) {
    const bool had_link = applied->find_link(kVxlanName) != nullptr;
    TRY(apply_wanted(*applied));
    return had_link ? Result<void>() : ensure_own_sysctls(*kernel_);
  }
  return ensure_links(TRY(kernel_->dump()));
}

Result<void> PodNetwork::set_node_ip(const Ip& ip) {
  const MutexLock lock(mutex_);
  node_ip_ = ip;
  return ensure_links(TRY(kernel_->dump()));
}

std::shared_ptr<const KernelState> PodNetwork::applied() {
  const MutexLock lock(mutex_);
  return applied_;
}

// A veth pair goes as a whole, and with it what the Pod had of the network.
Result<void> PodNetwork::ensure_cables(const KernelState& actual) {
  for (const auto& [uid, netns] : namespaces_) {
    const auto ip = ipam_.find(uid);
    if (ip && actual.find_link(pod_link_name(uid)) == nullptr)
      TRY(connect(cable_of(uid, *ip, netns.fd())));
  }
  return {};
}

Result<void> PodNetwork::ensure_sysctls() {
  Sysctls sysctls(*kernel_, sysctl_file(options_.data_dir));
  TRY(sysctls.set("net/ipv4/ip_forward", "1"));
  // For node ports on 127.0.0.1; the Service rules drop what neighbours send there (KUBE-FIREWALL).
  TRY(sysctls.set("net/ipv4/conf/all/route_localnet", "1"));
  // Pods go through us to their neighbours: we must not advise them to take the direct way. The
  // kernel sends redirects if either setting says so.
  TRY(sysctls.set("net/ipv4/conf/all/send_redirects", "0"));
  return ensure_own_sysctls(*kernel_);
}

Cable PodNetwork::cable_of(const std::string& pod_uid, const Ip& ip, int netns_fd) {
  const Ip gateway = bridge_address(options_.pod_cidr).ip;
  Cable cable;
  cable.host = {.name = pod_link_name(pod_uid),
                .kind = "veth",
                .master = kBridgeName,
                .mac = {},
                .mtu = mtu_,
                .up = true,
                .hairpin = true};
  cable.peer = {kPodLink, netns_fd, mac_of(ip), mtu_};
  cable.addresses = {{kPodLink, {ip, options_.pod_cidr.prefix}, true}};
  cable.routes = {{{gateway, 32}, kPodLink}, {{Ip(), 0}, kPodLink, gateway}};
  return cable;
}

// Only what is half there, or has no bridge to go to, is worth a look before.
Result<void> PodNetwork::connect(const Cable& cable) {
  auto far = make_cable(*kernel_, cable);
  if (!far && !is_already_exists(far.error()) && !is_not_found(far.error())) return far.error();
  if (!far) {
    TRY(ensure_links(TRY(kernel_->dump())));
    far = TRY(ensure_cable(*kernel_, cable));
  }
  // What somebody else on the bridge may advise must not lead past the node either.
  std::map<std::string, std::string> settings;
  for (const char* device : {"all", "default", kPodLink})
    settings[std::string("net/ipv4/conf/") + device + "/accept_redirects"] = "0";
  return (*far)->write_sysctls(settings);
}

Result<PodNetworkResult> PodNetwork::add(const std::string& pod_uid, int netns_fd) {
  const MutexLock lock(mutex_);
  const bool known = ipam_.find(pod_uid).has_value();
  const Ip ip = TRY(ipam_.allocate(pod_uid));
  const Cable cable = cable_of(pod_uid, ip, netns_fd);
  const auto connected = connect(cable);
  if (!connected) {
    // The error that counts is the first; what stays nevertheless is gc()'s.
    if (!known) (void)remove(pod_uid).has_value();
    return connected.error().context("Pod network of " + pod_uid);
  }
  if (auto netns = NetNs::duplicate(netns_fd))
    namespaces_.insert_or_assign(pod_uid, std::move(*netns));
  return PodNetworkResult{
      ip,         options_.pod_cidr.prefix, bridge_address(options_.pod_cidr).ip,
      mac_of(ip), cable.peer.mtu,           cable.host.name};
}

Result<PodNetworkResult> PodNetwork::add(const std::string& pod_uid,
                                         const std::string& netns_path) {
  const NetNs netns = TRY(NetNs::open(netns_path));
  return add(pod_uid, netns.fd());
}

Result<void> PodNetwork::remove(const std::string& pod_uid) {
  namespaces_.erase(pod_uid);
  // The link before the address: else the next Pod could meet its predecessor.
  TRY(kernel_->apply_all({RemoveLink{pod_link_name(pod_uid)}}));
  return ipam_.release(pod_uid);
}

Result<void> PodNetwork::del(const std::string& pod_uid) {
  const MutexLock lock(mutex_);
  return remove(pod_uid);
}

Result<void> PodNetwork::check(const std::string& pod_uid, int netns_fd) {
  const MutexLock lock(mutex_);
  const auto ip = ipam_.find(pod_uid);
  if (!ip) return Error{Code::NotFound, "the Pod " + pod_uid + " has no address"};
  return check_cable(*kernel_, cable_of(pod_uid, *ip, netns_fd));
}

Result<void> PodNetwork::gc(const std::set<std::string>& live_pod_uids) {
  const MutexLock lock(mutex_);
  const auto all = ipam_.allocations();
  for (const auto& [ip, uid] : all) {
    if (!uid.empty() && !live_pod_uids.contains(uid)) TRY(remove(uid));
  }
  TRY(ipam_.retain(live_pod_uids));
  return ensure_links(TRY(kernel_->dump()));
}

Result<void> PodNetwork::cleanup(const std::string& data_dir) {
  auto kernel = TRY(LinuxKernel::open());
  return cleanup(data_dir, *kernel, open_firewalls());
}

Result<void> PodNetwork::cleanup(const std::string& data_dir, Kernel& kernel,
                                 const std::vector<std::unique_ptr<Firewall>>& firewalls) {
  std::string problems;
  const auto note = [&](const Result<void>& result) {
    if (!result) problems += result.error().message + "; ";
  };
  for (const auto& firewall : firewalls) note(remove_chains(*firewall, pod_chains({}, {})));
  // When the last rules are gone: those of Services have gone before.
  note(base_chains(data_dir).remove());
  const auto actual = kernel.dump();
  if (actual) {
    for (const Operation& operation : diff({}, *actual)) note(kernel.apply(operation));
  } else {
    problems += actual.error().message + "; ";
  }
  note(Sysctls(kernel, sysctl_file(data_dir)).restore());
  if (!problems.empty()) return Error{Code::Internal, problems};  // the records are still needed
  for (const char* directory : {"/ipam", "/network"}) {
    std::error_code error;
    std::filesystem::remove_all(data_dir + directory, error);
    if (error) problems += data_dir + directory + ": " + error.message() + "; ";
  }
  if (!problems.empty()) return Error{Code::Internal, problems};
  return {};
}

}  // namespace coracle
