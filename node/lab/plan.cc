// The plan of a lab: pure from what is taken, and from what this machine has.
#include <coracle/lab.h>

#include <algorithm>

#include "desired_state.h"
#include "lab/lab_state.h"
#include "netlink/linux_kernel.h"

namespace coracle {
namespace {

constexpr int kMaxNodes = 250;
constexpr std::uint32_t kBase = (10U << 24U) | (250U << 16U);  // 10.250.0.0/16, a /24 per lab

LabPlan plan_in(const std::string& name, int nodes, const Cidr& subnet) {
  LabPlan plan;
  plan.name = name;
  plan.bridge = name + "-net";
  plan.subnet = subnet;
  plan.gateway = subnet.network().plus(254);
  const std::string node = name + "-node-";
  const std::string veth = name + "-v";
  for (int i = 1; i <= nodes; ++i) {
    const std::string number = std::to_string(i);
    const Ip ip = subnet.network().plus(static_cast<std::uint64_t>(i));
    plan.nodes.push_back({node + number, ip, veth + number, mac_of(ip)});
  }
  return plan;
}

LabPlan existing_plan(const std::string& name, int nodes, const lab::State& state) {
  for (const std::string& node : lab_existing_nodes(name))
    nodes = std::max(nodes, static_cast<int>(lab::node_number(name, node)));
  LabPlan plan = plan_in(name, nodes, state.subnet);
  plan.backend = state.backend;
  for (LabNode& node : plan.nodes) {
    const auto moved = state.moved.find(node.name);
    if (moved != state.moved.end()) node.ip = moved->second;
  }
  return plan;
}

Result<void> check(const std::string& name, int nodes) {
  TRY(lab::check_name(name));
  if (nodes >= 1 && nodes <= kMaxNodes) return {};
  return Error{Code::BadRequest, "a lab has 1 to " + std::to_string(kMaxNodes) + " nodes, not " +
                                     std::to_string(nodes)};
}

}  // namespace

Result<LabPlan> lab_plan(const std::string& name, int nodes, const std::vector<Cidr>& taken) {
  TRY(check(name, nodes));
  for (std::uint32_t i = 0; i < 256; ++i) {
    const Cidr subnet{Ip::v4(kBase + (i << 8U)), 24};
    const bool free = std::none_of(taken.begin(), taken.end(),
                                   [&](const Cidr& other) { return other.overlaps(subnet); });
    if (free) return plan_in(name, nodes, subnet);
  }
  return Error{Code::Unavailable, "no subnet of 10.250.0.0/16 is free"};
}

Result<LabPlan> lab_plan(const std::string& name, int nodes, const std::string& backend) {
  TRY(check(name, nodes));
  const auto own = lab::load(name);
  if (own && !backend.empty() && backend != own->backend)
    return Error{Code::Conflict, "lab " + name + " has the backend " + own->backend + ", not " +
                                     backend + ": `coracle lab down` first"};
  if (own) return existing_plan(name, nodes, *own);
  if (!is_not_found(own.error())) return own.error();
  std::vector<Cidr> taken;
  for (const std::string& other : lab::other_labs(name))
    taken.push_back(TRY(lab::load(other)).subnet);
  auto kernel = TRY(LinuxKernel::open());
  const KernelState state = TRY(kernel->dump());
  for (const Address& a : state.addresses) {
    if (!lab::is_link_of(name, a.link) && a.address.ip.is_v4()) taken.push_back(a.address);
  }
  for (const Route& r : state.routes) {
    // A default route, also one cut in halves, is no network.
    if (!lab::is_link_of(name, r.link) && r.destination.ip.is_v4() && r.destination.prefix > 8)
      taken.push_back(r.destination);
  }
  LabPlan plan = TRY(lab_plan(name, nodes, taken));
  if (!backend.empty()) plan.backend = backend;
  return plan;
}

Result<LabNode> lab_find_node(const std::string& lab, const std::string& node) {
  const LabPlan plan = TRY(lab_plan(lab, 1));
  const auto existing = lab_existing_nodes(lab);
  const std::string full = lab + "-" + node;
  std::string names;
  for (const LabNode& candidate : plan.nodes) {
    if (std::find(existing.begin(), existing.end(), candidate.name) == existing.end()) continue;
    if (candidate.name == node || candidate.name == full) return candidate;
    names += (names.empty() ? "" : ", ") + candidate.name;
  }
  return Error{Code::NotFound, names.empty()
                                   ? "there is no lab " + lab + "; `coracle lab up` makes one"
                                   : "lab " + lab + " has no node " + node + "; it has " + names};
}

}  // namespace coracle
