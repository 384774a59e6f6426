// A Kernel and a Firewall in memory. Namespaces are known by descriptor; a veth pair lives in two
// of them and goes from both. An operation can be made to fail once.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "node/kernel.h"
#include "node/masquerade.h"

namespace coracle::test {

struct FakeNamespace {
  KernelState state;
  std::map<std::string, std::string> sysctls;
};
struct FakeWorld {
  std::map<int, FakeNamespace> namespaces;
  std::map<std::string, std::pair<int, std::string>> peers;  // of the links of namespace 0
  std::vector<std::string> log;
  int dumps = 0;
  std::string fail_on;  // an operation whose text contains this fails, once
};

class FakeKernel final : public Kernel {
 public:
  FakeKernel(std::shared_ptr<FakeWorld> world, int ns) : world_(std::move(world)), ns_(ns) {}

  Result<KernelState> dump() override {
    ++world_->dumps;
    KernelState s = here().state;
    std::sort(s.links.begin(), s.links.end());
    return s;
  }
  Result<void> apply(const Operation& operation) override {
    const std::string text = to_string(operation);
    if (!world_->fail_on.empty() && text.find(world_->fail_on) != std::string::npos) {
      world_->fail_on.clear();
      return Error{Code::Internal, "made to fail"};
    }
    world_->log.push_back(text);
    return std::visit([this](const auto& o) { return run(o); }, operation);
  }
  Result<std::unique_ptr<Kernel>> inside(int netns_fd) override {
    if (!world_->namespaces.contains(netns_fd)) return Error{Code::NotFound, "no such namespace"};
    return std::unique_ptr<Kernel>(std::make_unique<FakeKernel>(world_, netns_fd));
  }
  Result<std::string> read_sysctl(const std::string& key) override {
    const auto it = here().sysctls.find(key);
    if (it == here().sysctls.end()) return Error{Code::NotFound, key};
    return it->second;
  }
  Result<void> write_sysctl(const std::string& key, const std::string& value) override {
    here().sysctls[key] = value;
    return {};
  }

 private:
  FakeNamespace& here() { return world_->namespaces[ns_]; }
  Link* find(const std::string& name) {
    for (Link& link : here().state.links) {
      if (link.name == name) return &link;
    }
    return nullptr;
  }
  template <typename T, typename F>
  static void erase_if_link(std::vector<T>& values, const F& matches) {
    values.erase(std::remove_if(values.begin(), values.end(), matches), values.end());
  }
  void remove_link(int ns, const std::string& name) {
    KernelState& s = world_->namespaces[ns].state;
    erase_if_link(s.links, [&](const Link& l) { return l.name == name; });
    erase_if_link(s.addresses, [&](const Address& a) { return a.link == name; });
    erase_if_link(s.routes, [&](const Route& r) { return r.link == name; });
    erase_if_link(s.fdb, [&](const FdbEntry& e) { return e.link == name; });
    erase_if_link(s.neighbors, [&](const Neighbor& n) { return n.link == name; });
    for (Link& l : s.links) {
      if (l.master == name) l.master = "";
    }
  }
  Result<void> need(const std::string& link) {
    if (find(link) == nullptr) return Error{Code::NotFound, "there is no link " + link};
    return {};
  }

  Result<void> run(const AddLink& o) {
    const bool far_exists =
        o.peer && world_->namespaces[o.peer->netns_fd].state.find_link(o.peer->name) != nullptr;
    if (o.exclusive && (far_exists || find(o.link.name) != nullptr))
      return Error{Code::AlreadyExists, "there is a link " + o.link.name};
    if (find(o.link.name) != nullptr) return run(ChangeLink{o.link});
    if (!o.link.master.empty()) TRY(need(o.link.master));
    here().state.links.push_back(o.link);
    if (!o.peer) return {};
    Link peer;
    peer.name = o.peer->name;
    peer.kind = "veth";
    peer.mac = o.peer->mac;
    peer.mtu = o.peer->mtu;
    world_->namespaces[o.peer->netns_fd].state.links.push_back(peer);
    world_->peers[o.link.name] = {o.peer->netns_fd, o.peer->name};
    return {};
  }
  Result<void> run(const ChangeLink& o) {
    Link* link = find(o.link.name);
    if (link == nullptr) return Error{Code::NotFound, "there is no link " + o.link.name};
    link->up = o.link.up;
    if (o.link.mtu != 0) link->mtu = o.link.mtu;
    if (o.link.mac) link->mac = o.link.mac;
    if (o.link.vxlan && link->vxlan) link->vxlan->learning = o.link.vxlan->learning;
    if (!o.link.master.empty()) {
      link->master = o.link.master;
      link->hairpin = o.link.hairpin;
    }
    return {};
  }
  Result<void> run(const RemoveLink& o) {
    remove_link(ns_, o.name);
    const auto peer = world_->peers.find(o.name);
    if (ns_ != 0 || peer == world_->peers.end()) return {};
    remove_link(peer->second.first, peer->second.second);
    world_->peers.erase(peer);
    return {};
  }
  template <typename T>
  Result<void> add(std::vector<T>& values, const T& value) {
    TRY(need(value.link));
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
    return {};
  }
  template <typename T>
  Result<void> drop(std::vector<T>& values, const T& value) {
    values.erase(std::remove(values.begin(), values.end(), value), values.end());
    return {};
  }
  // As the kernel does, along with an address.
  static Route prefix_route(const Address& a) {
    return {{a.address.network(), a.address.prefix}, a.link, {}, 2};
  }
  Result<void> run(const AddAddress& o) {
    TRY(add(here().state.addresses, o.address));
    if (o.address.no_prefix_route) return {};
    return add(here().state.routes, prefix_route(o.address));
  }
  Result<void> run(const RemoveAddress& o) {
    TRY(drop(here().state.addresses, o.address));
    return drop(here().state.routes, prefix_route(o.address));
  }
  Result<void> run(const AddRoute& o) {
    erase_if_link(here().state.routes,
                  [&](const Route& r) { return r.destination == o.route.destination; });
    return add(here().state.routes, o.route);
  }
  Result<void> run(const RemoveRoute& o) { return drop(here().state.routes, o.route); }
  Result<void> run(const AddFdb& o) {
    erase_if_link(here().state.fdb, [&](const FdbEntry& e) {
      return e.link == o.entry.link && e.mac == o.entry.mac;
    });
    return add(here().state.fdb, o.entry);
  }
  Result<void> run(const RemoveFdb& o) { return drop(here().state.fdb, o.entry); }
  Result<void> run(const AddNeighbor& o) { return add(here().state.neighbors, o.neighbor); }
  Result<void> run(const RemoveNeighbor& o) { return drop(here().state.neighbors, o.neighbor); }

  std::shared_ptr<FakeWorld> world_;
  int ns_;
};

// Remembers the texts it was given; says that it holds nothing.
class FakeFirewall final : public Firewall {
 public:
  explicit FakeFirewall(std::vector<std::string>& restored) : restored_(restored) {}
  Result<std::string> save(const std::string&) override { return std::string(); }
  Result<void> restore(const std::string& text) override {
    restored_.push_back(text);
    return {};
  }

 private:
  std::vector<std::string>& restored_;
};

}  // namespace coracle::test
