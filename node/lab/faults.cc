// What can happen to a node, done on purpose.
#include <coracle/lab.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "lab/lab_state.h"
#include "netlink/linux_kernel.h"
#include "proxy/iptables_tool.h"
#include "runtime/sandbox_files.h"
#include "socket_keeper.h"

namespace coracle {
namespace {

constexpr int kKillMilliseconds = 5'000;
constexpr std::uint64_t kLastAddress = 253;  // .254 is the machine

Result<void> set_cable(const std::string& lab, const std::string& node, bool up) {
  const LabNode found = TRY(lab_find_node(lab, node));
  Link link;
  link.name = found.veth;
  link.up = up;
  auto kernel = TRY(LinuxKernel::open());
  return kernel->apply_all({ChangeLink{link}});
}

// From the end of the subnet, where nodes come last.
Result<Ip> free_address(const LabPlan& plan) {
  for (std::uint64_t i = kLastAddress; i > plan.nodes.size(); --i) {
    const Ip ip = plan.subnet.network().plus(i);
    const bool taken = std::any_of(plan.nodes.begin(), plan.nodes.end(),
                                   [&](const LabNode& node) { return node.ip == ip; });
    if (!taken) return ip;
  }
  return Error{Code::Unavailable, "no address of " + plan.subnet.to_string() + " is free"};
}

// With its last address a link loses all routes.
Result<void> change_address(const LabPlan& plan, const std::string& node, const Ip& from,
                            const Ip& to) {
  const NetNs netns = TRY(lab::open_netns(node));
  auto machine = TRY(LinuxKernel::open());
  const auto kernel = TRY(machine->inside(netns.fd()));
  return kernel->apply_all({RemoveAddress{{lab::kNodeLink, {from, plan.subnet.prefix}}},
                            AddAddress{{lab::kNodeLink, {to, plan.subnet.prefix}}},
                            AddRoute{lab::default_route(plan)}});
}

// The supervisor is the first process of a pid namespace, and all of the Pod ends with it.
Result<void> kill_pod(const std::string& directory) {
  const runtime::Fd dir = TRY(runtime::open_dir(directory));
  const auto pid = runtime::supervisor_pid(dir.get());
  if (!pid) return {};
  const runtime::Fd process(static_cast<int>(syscall(SYS_pidfd_open, *pid, 0)));
  if (process.get() < 0 || runtime::supervisor_pid(dir.get()) != pid) return {};  // it has ended
  if (syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0) != 0 && errno != ESRCH)
    return Error::from_errno(errno, directory);
  pollfd ended{process.get(), POLLIN, 0};
  if (poll(&ended, 1, kKillMilliseconds) != 1)
    return Error{Code::Timeout, "a Pod's supervisor does not end, process " + std::to_string(*pid)};
  return {};
}

}  // namespace

Result<void> lab_cut(const std::string& lab, const std::string& node) {
  return set_cable(lab, node, false);
}

Result<void> lab_heal(const std::string& lab, const std::string& node) {
  return set_cable(lab, node, true);
}

Result<LabMove> lab_move(const std::string& lab, const std::string& node) {
  const auto lock = TRY(lab::Lock::take());
  const LabNode found = TRY(lab_find_node(lab, node));
  const LabPlan plan = TRY(lab_plan(lab, 1));
  const LabMove move{found.ip, TRY(free_address(plan))};
  lab::State state = TRY(lab::load(lab));
  state.moved[found.name] = move.to;
  TRY(lab::save(lab, state));  // first: `lab up` completes what a crash leaves half done
  TRY(change_address(plan, found.name, move.from, move.to));
  return move;
}

Result<void> lab_power_cut(const std::string& lab, const std::string& node,
                           const std::string& data_dir) {
  const LabNode found = TRY(lab_find_node(lab, node));
  // The agent first: it would start again what ends.
  TRY(lab::end_node(lab, found.name, SIGKILL, kKillMilliseconds));
  TRY(KeptSockets::end(data_dir));
  std::string problems;
  std::error_code error;
  for (std::filesystem::directory_iterator it(data_dir + "/pods", error), end; !error && it != end;
       it.increment(error)) {
    const auto killed = kill_pod(it->path());
    if (!killed && !is_not_found(killed.error())) problems += killed.error().message + "; ";
  }
  if (!problems.empty()) return Error{Code::Internal, problems};
  return {};
}

Result<void> lab_flush(const std::string& lab, const std::string& node) {
  const LabNode found = TRY(lab_find_node(lab, node));
  const NetNs netns = TRY(lab::open_netns(found.name));
  return run_in_netns(netns.fd(), []() -> Result<void> {
    const IptablesTool tool = TRY(IptablesTool::detect());
    for (const std::string table : {"raw", "filter", "nat", "mangle"}) {
      TRY(tool.restore("*" + table + "\n-F\nCOMMIT\n"));
      // Not where the node's agent has been faster: its chains are in use again.
      (void)tool.restore("*" + table + "\n-X\nCOMMIT\n").has_value();
    }
    return {};
  });
}

}  // namespace coracle
