#include "cable.h"

#include <algorithm>

namespace coracle {
namespace {

bool whole(const Cable& cable, const KernelState& near, const KernelState& far) {
  const Link* far_end = far.find_link(cable.peer.name);
  return near.find_link(cable.host.name) != nullptr && far_end != nullptr &&
         (!cable.peer.mac || far_end->mac == cable.peer.mac);
}

template <typename T>
bool contains(const std::vector<T>& values, const T& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

Result<void> configure(Kernel& far, const Cable& cable, const Link& end) {
  Link loopback;
  loopback.name = "lo";
  loopback.up = true;
  TRY(far.apply_all({ChangeLink{loopback}, ChangeLink{end}}));
  for (const Address& address : cable.addresses) TRY(far.apply_all({AddAddress{address}}));
  for (const Route& route : cable.routes) TRY(far.apply_all({AddRoute{route}}));
  return {};
}

}  // namespace

Result<std::unique_ptr<Kernel>> make_cable(Kernel& kernel, const Cable& cable) {
  const AddLink pair{.link = cable.host, .peer = cable.peer, .exclusive = true};
  TRY(kernel.apply_all({pair}));
  Link end;
  end.name = cable.peer.name;
  end.up = true;
  auto far = TRY(kernel.inside(cable.peer.netns_fd));
  TRY(configure(*far, cable, end));
  return far;
}

Result<std::unique_ptr<Kernel>> ensure_cable(Kernel& kernel, const Cable& cable) {
  auto made = make_cable(kernel, cable);
  if (made || !(is_already_exists(made.error()) || is_not_found(made.error()))) return made;
  const KernelState near = TRY(kernel.dump());
  auto far = TRY(kernel.inside(cable.peer.netns_fd));
  const KernelState far_state = TRY(far->dump());
  if (whole(cable, near, far_state)) {
    TRY(kernel.apply_all({ChangeLink{cable.host}}));
  } else {
    if (far_state.find_link(cable.peer.name) != nullptr)
      TRY(far->apply_all({RemoveLink{cable.peer.name}}));
    if (near.find_link(cable.host.name) != nullptr)
      TRY(kernel.apply_all({RemoveLink{cable.host.name}}));
    TRY(kernel.apply_all({AddLink{cable.host, cable.peer}}));
  }
  Link end;
  end.name = cable.peer.name;
  end.mac = cable.peer.mac;
  end.mtu = cable.peer.mtu;
  end.up = true;
  TRY(configure(*far, cable, end));
  return far;
}

Result<void> check_cable(Kernel& kernel, const Cable& cable) {
  const auto far = TRY(kernel.inside(cable.peer.netns_fd));
  const KernelState state = TRY(far->dump());
  const KernelState near = TRY(kernel.dump());
  std::string problems;
  const Link* host = near.find_link(cable.host.name);
  if (host == nullptr) {
    problems += "there is no link " + cable.host.name + "; ";
  } else if (!host->up || host->master != cable.host.master ||
             host->hairpin != cable.host.hairpin) {
    problems += cable.host.name + " is down, off its bridge or without hairpin; ";
  }
  const Link* end = state.find_link(cable.peer.name);
  if (end == nullptr || !end->up) problems += cable.peer.name + " is missing or down; ";
  for (const Address& address : cable.addresses) {
    if (!contains(state.addresses, address))
      problems += "it lacks the address " + address.address.to_string() + "; ";
  }
  for (const Route& route : cable.routes) {
    if (!contains(state.routes, route))
      problems += "it lacks the route to " + route.destination.to_string() + "; ";
  }
  if (!problems.empty()) return Error{Code::Internal, problems.substr(0, problems.size() - 2)};
  return {};
}

}  // namespace coracle
