// Where a lab's things are and what they are called; what has to be remembered beside the names.
#pragma once

#include <coracle/lab.h>

#include <map>
#include <string>
#include <vector>

#include "kernel.h"
#include "masquerade.h"
#include "netns.h"

namespace coracle::lab {

inline constexpr const char* kNetNsDir = "/run/netns";  // iproute2's
inline constexpr const char* kLabsDir = "/var/lib/coracle/lab";

struct State {
  Cidr subnet;
  bool mounted_netns_dir = false;  // by us, as `ip netns add` does
  bool made_netns_dir = false;
  std::string backend = "vxlan";
  std::map<std::string, Ip> moved;  // the nodes that have another address than at first
};

std::string directory_of(const std::string& lab);
std::string sysctl_file(const std::string& lab);
std::string base_chains_file(const std::string& lab);
std::string pid_file(const std::string& lab, const std::string& node);
// NotFound when the lab has none.
Result<State> load(const std::string& lab);
Result<void> save(const std::string& lab, const State& state);
Result<void> forget(const std::string& lab);
// The labs of this machine that have a state, but for that one.
std::vector<std::string> other_labs(const std::string& lab);

Result<void> check_name(const std::string& lab);
// "NAME-net" or "NAME-v<number>": another lab's name may start with ours.
bool is_link_of(const std::string& lab, const std::string& link);
// The machine's chains for the lab.
std::vector<OwnChain> chains_of(const std::string& lab, const Cidr& subnet);

// The node's number in its lab; 0 when it is none's.
std::size_t node_number(const std::string& lab, const std::string& node);
// Of the machine's namespace directory. BadRequest, NotFound.
Result<NetNs> open_netns(const std::string& name);
inline constexpr const char* kNodeLink = "eth0";
// The default route of a node. As an administrator would set it: the node's agent removes routes
// with its own mark.
Route default_route(const LabPlan& plan);

// Signals the node's process and waits for its end; success when it does not run, Timeout.
Result<void> end_node(const std::string& lab, const std::string& node, int signal,
                      int milliseconds);

// One `lab up` or `down` at a time on this machine; held until it is destroyed.
class Lock {
 public:
  static Result<Lock> take();
  Lock(Lock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Lock& operator=(Lock&&) = delete;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock();

 private:
  explicit Lock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace coracle::lab
