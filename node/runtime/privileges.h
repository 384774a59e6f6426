// Who a container's processes are and what they may do; a value.
#pragma once

#include <cstdint>
#include <vector>

namespace coracle {

// containerd's default set.
inline constexpr std::uint64_t kContainerCapabilities = 0x00000000a80425fb;

struct Privileges {
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups;  // supplementary ones
  // One bit each, numbered as in capability.h. Of a user other than root: what a program with file
  // capabilities can get at most.
  std::uint64_t capabilities = kContainerCapabilities;
  bool no_new_privileges = true;
  bool read_only_root = false;
  bool operator==(const Privileges&) const = default;
};

}  // namespace coracle
