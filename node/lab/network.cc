// Bringing a lab's network up and down. What it is called says whose it is, so down() works from
// the names and a small file of what names don't tell.
#include <coracle/lab.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "cable.h"
#include "desired_state.h"
#include "diff.h"
#include "lab/lab_state.h"
#include "netlink/linux_kernel.h"
#include "netns.h"
#include "proxy/base_chains.h"
#include "sysctl.h"

namespace coracle {
namespace {

constexpr const char* kIpForward = "net/ipv4/ip_forward";

bool is_mount_point(const std::string& path) {
  const auto mounts = read_small_file("/proc/self/mountinfo");
  return mounts && mounts->find(" " + path + " ") != std::string::npos;
}

// As `ip netns add` does it: a shared mount, so that namespaces made now are seen, and go, in every
// mount namespace that has it. Notes what it does before it does it.
Result<void> prepare_netns_dir(const std::string& name, lab::State& state) {
  std::error_code error;
  state.made_netns_dir |= !std::filesystem::exists(lab::kNetNsDir, error);
  state.mounted_netns_dir |= !is_mount_point(lab::kNetNsDir);
  TRY(lab::save(name, state));
  std::filesystem::create_directories(lab::kNetNsDir, error);
  if (error) return Error{Code::Internal, std::string(lab::kNetNsDir) + ": " + error.message()};
  if (is_mount_point(lab::kNetNsDir)) return {};
  if (mount(lab::kNetNsDir, lab::kNetNsDir, "none", MS_BIND | MS_REC, nullptr) != 0 ||
      mount("", lab::kNetNsDir, "none", MS_SHARED | MS_REC, nullptr) != 0)
    return Error::from_errno(errno, lab::kNetNsDir);
  return {};
}

Result<void> ensure_bridge(Kernel& kernel, const LabPlan& plan) {
  KernelState desired;
  desired.links.push_back({.name = plan.bridge,
                           .kind = "bridge",
                           .master = "",
                           .mac = mac_of(plan.gateway),
                           .mtu = 1500,
                           .up = true});
  desired.addresses.push_back({plan.bridge, {plan.gateway, plan.subnet.prefix}});
  KernelState actual = TRY(kernel.dump());
  // Those with our mark are the machine's own agent's, where it is a node itself.
  actual.routes.clear();
  return kernel.apply_all(
      diff(desired, actual, [&](const Link& link) { return link.name == plan.bridge; }));
}

// What a move that was interrupted has left.
Result<void> remove_other_addresses(Kernel& kernel, const LabPlan& plan, const LabNode& node,
                                    int netns_fd) {
  const auto far = TRY(kernel.inside(netns_fd));
  const KernelState state = TRY(far->dump());
  for (const Address& a : state.addresses) {
    if (a.link == lab::kNodeLink && plan.subnet.contains(a.address.ip) && a.address.ip != node.ip)
      TRY(far->apply_all({RemoveAddress{a}}));
  }
  return {};
}

Result<void> ensure_node(Kernel& kernel, const LabPlan& plan, const LabNode& node,
                         const LabProgress& progress) {
  auto netns = NetNs::open(std::string(lab::kNetNsDir) + "/" + node.name);
  if (!netns && is_not_found(netns.error())) {
    progress("making the network namespace " + node.name);
    netns = NetNs::create(lab::kNetNsDir, node.name);
  }
  if (!netns) return netns.error();
  Cable cable;
  cable.host = {
      .name = node.veth, .kind = "veth", .master = plan.bridge, .mac = {}, .mtu = 1500, .up = true};
  cable.peer = {lab::kNodeLink, netns->fd(), node.mac, 1500};
  cable.addresses = {{lab::kNodeLink, {node.ip, plan.subnet.prefix}}};
  cable.routes = {lab::default_route(plan)};
  TRY(remove_other_addresses(kernel, plan, node, netns->fd()));
  TRY(ensure_cable(kernel, cable));
  return {};
}

// Another lab needs what we set: it puts the earlier values back when it goes.
Result<void> hand_over(Kernel& kernel, const std::string& from, const std::string& to) {
  const Sysctls ours(kernel, lab::sysctl_file(from));
  const Sysctls theirs(kernel, lab::sysctl_file(to));
  auto saved = TRY(theirs.saved());
  const auto own = TRY(ours.saved());
  for (const auto& [key, value] : own) saved.try_emplace(key, value);
  if (!own.empty()) TRY(theirs.save(saved));
  const std::string path = lab::sysctl_file(from);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno(errno, path);
  return {};
}

// Not while somebody else has namespaces there.
void remove_netns_dir(const lab::State& state) {
  std::error_code error;
  if (!std::filesystem::is_empty(lab::kNetNsDir, error) || error) return;
  if (state.mounted_netns_dir && is_mount_point(lab::kNetNsDir))
    (void)umount2(lab::kNetNsDir, MNT_DETACH);
  if (state.made_netns_dir) (void)::rmdir(lab::kNetNsDir);
}

// `state` may be one that never was written.
Result<void> restore_machine(Kernel& kernel, const std::string& name, const lab::State& state) {
  const auto others = lab::other_labs(name);
  const BaseChains chains(lab::base_chains_file(name));
  if (!others.empty()) {
    lab::State theirs = TRY(lab::load(others.front()));
    theirs.mounted_netns_dir |= state.mounted_netns_dir;
    theirs.made_netns_dir |= state.made_netns_dir;
    TRY(lab::save(others.front(), theirs));
    TRY(chains.hand_over(BaseChains(lab::base_chains_file(others.front()))));
    return hand_over(kernel, name, others.front());
  }
  remove_netns_dir(state);
  TRY(chains.remove());
  return Sysctls(kernel, lab::sysctl_file(name)).restore();
}

Result<void> remove_rules(const std::string& name) {
  std::string problems;
  for (const auto& firewall : open_firewalls()) {
    if (auto done = remove_chains(*firewall, lab::chains_of(name, {})); !done)
      problems += done.error().message;
  }
  if (!problems.empty()) return Error{Code::Internal, problems};
  return {};
}

Result<void> remove_links(Kernel& kernel, const std::string& name) {
  const KernelState state = TRY(kernel.dump());
  for (const Link& link : state.links) {
    if (lab::is_link_of(name, link.name)) TRY(kernel.apply_all({RemoveLink{link.name}}));
  }
  return {};
}

}  // namespace

Result<void> lab_network_up(const LabPlan& plan, const LabProgress& progress) {
  TRY(lab::check_name(plan.name));
  const auto lock = TRY(lab::Lock::take());
  const auto known = lab::load(plan.name);
  if (!known && !is_not_found(known.error())) return known.error();
  lab::State state =
      known ? *known : lab::State{.subnet = plan.subnet, .backend = plan.backend, .moved = {}};
  // Before anything is made, so that down() finds it. Made with our lock held, the plan may have
  // been overtaken by another lab.
  for (const std::string& other : lab::other_labs(plan.name)) {
    if (TRY(lab::load(other)).subnet.overlaps(plan.subnet))
      return Error{Code::Conflict,
                   "lab " + other + " took " + plan.subnet.to_string() + " meanwhile: try again"};
  }
  TRY(prepare_netns_dir(plan.name, state));
  auto kernel = TRY(LinuxKernel::open());
  if (!TRY(kernel->dump()).find_link(plan.bridge)) progress("making the bridge " + plan.bridge);
  TRY(ensure_bridge(*kernel, plan));
  for (const LabNode& node : plan.nodes) TRY(ensure_node(*kernel, plan, node, progress));
  // A second lab changes nothing; what the first one found is handed over to it, see down().
  TRY(Sysctls(*kernel, lab::sysctl_file(plan.name)).set(kIpForward, "1"));
  TRY(BaseChains(lab::base_chains_file(plan.name)).remember());
  const auto firewall = TRY(open_firewall());
  return install_chains(*firewall, lab::chains_of(plan.name, plan.subnet));
}

Result<void> lab_network_down(const std::string& name, const LabProgress& progress) {
  TRY(lab::check_name(name));
  const auto lock = TRY(lab::Lock::take());
  std::string problems;
  const auto note = [&](const Result<void>& result) {
    if (!result) problems += result.error().message + "; ";
  };
  auto kernel = TRY(LinuxKernel::open());
  const auto state = lab::load(name);
  progress("removing namespaces, links and rules of " + name);
  note(remove_rules(name));
  for (const std::string& node : lab_existing_nodes(name))
    note(NetNs::remove(lab::kNetNsDir, node));
  note(remove_links(*kernel, name));
  note(restore_machine(*kernel, name, state ? *state : lab::State{}));
  if (!problems.empty()) return Error{Code::Internal, problems};  // what is left needs the state
  return lab::forget(name);
}

std::vector<std::string> lab_existing_nodes(const std::string& lab_name) {
  std::vector<std::pair<std::size_t, std::string>> found;
  std::error_code error;
  for (std::filesystem::directory_iterator it(lab::kNetNsDir, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (const std::size_t number = lab::node_number(lab_name, name); number != 0)
      found.emplace_back(number, name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  names.reserve(found.size());
  for (auto& [number, name] : found) names.push_back(std::move(name));
  return names;
}

}  // namespace coracle
