// A veth pair into another network namespace, with what is configured at its far end: a Pod's or
// a lab node's connection.
#pragma once

#include <memory>
#include <vector>

#include "kernel.h"

namespace coracle {

struct Cable {
  Link host;  // kind "veth", with its master
  VethPeer peer;
  std::vector<Address> addresses;  // of the far end
  std::vector<Route> routes;       // in the far namespace, in order
};

// Makes it where nothing of it is yet, without a look at what is there: AlreadyExists when
// something is, NotFound when the host end's master is missing. Returns the far namespace.
Result<std::unique_ptr<Kernel>> make_cable(Kernel& kernel, const Cable& cable);
// Makes what is missing. A pair that is half there, or whose far end has another MAC, is made anew;
// one that is whole is left in place. The far namespace's loopback is brought up too.
Result<std::unique_ptr<Kernel>> ensure_cable(Kernel& kernel, const Cable& cable);
// What is wrong with it, as an error.
Result<void> check_cable(Kernel& kernel, const Cable& cable);

}  // namespace coracle
