// A lab: nodes as network namespaces of one machine, joined by a bridge. The machine is the lab's
// router: nodes reach outside through it, masqueraded. Everything is named after the lab, so what a
// crash left behind is found again and removed. Needs root.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace coracle {

struct LabNode {
  std::string name;  // "lab-node-1": its namespace and its Node object
  Ip ip;
  std::string veth;  // its cable's end on the machine
  Mac mac = {};      // stays when its address changes
  bool operator==(const LabNode&) const = default;
};
struct LabPlan {
  std::string name;
  std::string bridge;  // "lab-net"
  Cidr subnet;         // 10.250.x.0/24
  Ip gateway;          // the machine: .254
  std::vector<LabNode> nodes;
  std::string backend = "vxlan";  // how its nodes reach each other's Pods, see agent.h
  bool operator==(const LabPlan&) const = default;
};

using LabProgress = std::function<void(const std::string&)>;

// Pure: the first 10.250.x.0/24 that overlaps nothing in `taken`. BadRequest for a name that is not
// 1 to 8 of [a-z0-9-], starting with a letter and not ending with '-', or for other than 1 to 250
// nodes; Unavailable when no subnet is free.
Result<LabPlan> lab_plan(const std::string& name, int nodes, const std::vector<Cidr>& taken);
// The plan of the lab that exists, with at least as many nodes as it has and those addresses that
// its nodes have moved to, or one that fits beside this machine's networks and other labs.
// Conflict when the lab has another backend than that, unless it is "".
Result<LabPlan> lab_plan(const std::string& name, int nodes, const std::string& backend = "");
// "lab-node-2" from that or from "node-2". NotFound when the lab has no such node, naming those it
// has.
Result<LabNode> lab_find_node(const std::string& lab, const std::string& node);

// Makes what is missing: namespaces (visible to `ip netns`), bridge, cables, addresses, routes,
// forwarding and masquerading. Repeatable.
Result<void> lab_network_up(const LabPlan& plan, const LabProgress& progress);
// Removes all of it, after a crash too; goes on after errors and reports them joined. Nodes must
// be stopped.
Result<void> lab_network_down(const std::string& name, const LabProgress& progress);

// Starts argv (argv[0] a path) as the node's process: in the node's network namespace, with a mount
// namespace whose /sys shows it, in a session of its own, output appended to `log`. Returns its pid
// at once; it is remembered together with its start time, so that a reused pid is not mistaken for
// it.
Result<pid_t> lab_start_node(const LabPlan& plan, const LabNode& node,
                             const std::vector<std::string>& argv, const std::string& log);
bool lab_node_running(const LabPlan& plan, const LabNode& node);
// SIGTERM, ten seconds, SIGKILL; then SIGKILL to all else in the node's namespace. Success when
// nothing runs.
Result<void> lab_stop_node(const std::string& lab, const std::string& node);
// The nodes whose namespace exists, in order.
std::vector<std::string> lab_existing_nodes(const std::string& lab);

// Faults, for teaching and tests; each returns when it is done. NotFound when there is no such
// node.
//
// Pulls the node's cable out: its link has no carrier. Puts it in again.
Result<void> lab_cut(const std::string& lab, const std::string& node);
Result<void> lab_heal(const std::string& lab, const std::string& node);
// Gives the node another address of the lab's subnet in the place of the one it has: its link and
// its MAC stay. The old and the new one.
struct LabMove {
  Ip from, to;
};
Result<LabMove> lab_move(const std::string& lab, const std::string& node);
// Kills all processes of the node at once (SIGKILL), Pods' too; what they have set up in the kernel
// stays. `data_dir` is the node's. `lab_start_node` starts it again.
Result<void> lab_power_cut(const std::string& lab, const std::string& node,
                           const std::string& data_dir);
// Flushes the iptables rules of the node and deletes its chains, as another program might.
Result<void> lab_flush(const std::string& lab, const std::string& node);

// Runs argv in the network namespace of that name with our standard input and outputs; its exit
// code, 128 + signal, 127 when there is no such program. NotFound when there is no such namespace.
Result<int> lab_exec(const std::string& netns, const std::vector<std::string>& argv);

}  // namespace coracle
