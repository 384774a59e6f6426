// The kernel's network configuration of one namespace, as an interface: the real one is
// netlink/linux_kernel.h, tests give a fake.
#pragma once

#include <coracle/result.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "kernel_state.h"

namespace coracle {

// The other end of a new veth pair, made directly inside its namespace: never moved, so it is never
// seen by others.
struct VethPeer {
  std::string name;
  int netns_fd = -1;
  std::optional<Mac> mac = {};
  std::uint32_t mtu = 0;
  bool operator==(const VethPeer&) const = default;
};

struct AddLink {
  Link link;
  std::optional<VethPeer> peer = {};  // REQUIRED for kind "veth"
  bool exclusive = false;             // AlreadyExists when there is such a link or such a peer
  bool operator==(const AddLink&) const = default;
};
// Sets what `link` states; an empty master leaves it.
struct ChangeLink {
  Link link;
  bool operator==(const ChangeLink&) const = default;
};
struct RemoveLink {
  std::string name;
  bool operator==(const RemoveLink&) const = default;
};
struct AddAddress {
  Address address;
  bool operator==(const AddAddress&) const = default;
};
struct RemoveAddress {
  Address address;
  bool operator==(const RemoveAddress&) const = default;
};
// Replaces a route to the same destination.
struct AddRoute {
  Route route;
  bool operator==(const AddRoute&) const = default;
};
struct RemoveRoute {
  Route route;
  bool operator==(const RemoveRoute&) const = default;
};
struct AddNeighbor {
  Neighbor neighbor;
  bool operator==(const AddNeighbor&) const = default;
};
struct RemoveNeighbor {
  Neighbor neighbor;
  bool operator==(const RemoveNeighbor&) const = default;
};
// Replaces the entry of the same MAC.
struct AddFdb {
  FdbEntry entry;
  bool operator==(const AddFdb&) const = default;
};
struct RemoveFdb {
  FdbEntry entry;
  bool operator==(const RemoveFdb&) const = default;
};
using Operation = std::variant<AddLink, ChangeLink, RemoveLink, AddAddress, RemoveAddress, AddRoute,
                               RemoveRoute, AddNeighbor, RemoveNeighbor, AddFdb, RemoveFdb>;
std::string to_string(const Operation& operation);

class Kernel {
 public:
  virtual ~Kernel() = default;
  // A consistent picture: no change happened while it was taken. Everything, not only what is ours.
  virtual Result<KernelState> dump() = 0;
  // Adding what is there (but for an exclusive AddLink) and removing what is gone succeed.
  virtual Result<void> apply(const Operation& operation) = 0;
  // The kernel as another network namespace shows it.
  virtual Result<std::unique_ptr<Kernel>> inside(int netns_fd) = 0;
  // A sysctl of this namespace, "net/ipv4/ip_forward". NotFound when this kernel lacks it.
  virtual Result<std::string> read_sysctl(const std::string& key) = 0;
  virtual Result<void> write_sysctl(const std::string& key, const std::string& value) = 0;
  // Several at once; those that this kernel lacks are left out.
  virtual Result<void> write_sysctls(const std::map<std::string, std::string>& values) {
    for (const auto& [key, value] : values) {
      auto done = write_sysctl(key, value);
      if (!done && !is_not_found(done.error())) return done;
    }
    return {};
  }

  Result<void> apply_all(const std::vector<Operation>& operations) {
    for (const Operation& operation : operations) {
      if (auto done = apply(operation); !done) return done.error().context(to_string(operation));
    }
    return {};
  }
};

}  // namespace coracle
