#include "diff.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace coracle {
namespace {

// REQUIRES: they are in order.
template <typename T>
bool contains(const std::vector<T>& values, const T& value) {
  return std::binary_search(values.begin(), values.end(), value);
}

// Set what is stated, leave the rest.
bool satisfied(const Link& desired, const Link& actual) {
  return actual.up == desired.up && (desired.mtu == 0 || desired.mtu == actual.mtu) &&
         (!desired.mac || desired.mac == actual.mac) &&
         (!desired.vxlan || (actual.vxlan && desired.vxlan->learning == actual.vxlan->learning)) &&
         (desired.master.empty() ||
          (desired.master == actual.master && desired.hairpin == actual.hairpin));
}

// Nothing of it can be changed while the link lives, but for learning.
bool same_vxlan(const Link& desired, const Link& actual) {
  if (!desired.vxlan) return true;
  if (!actual.vxlan) return false;
  Vxlan wanted = *desired.vxlan;
  wanted.learning = actual.vxlan->learning;
  return wanted == *actual.vxlan;
}

// What is looked up many times, in order.
template <typename T>
std::vector<T> sorted(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return values;
}

class Differ {
 public:
  Differ(const KernelState& desired, const KernelState& actual,
         const std::function<bool(const Link&)>& owned)
      : desired_(in_order(desired)), actual_(in_order(actual)) {
    for (const Route& r : desired_.routes) destinations_.insert(r.destination);
    for (const FdbEntry& e : desired_.fdb) macs_.insert({e.link, e.mac});
    for (const Link& link : actual_.links) actual_links_.emplace(link.name, &link);
    for (const Link& link : actual.links) {
      if (owned(link)) owned_.insert(link.name);
    }
    for (const Link& link : desired.links) owned_.insert(link.name);
  }

  std::vector<Operation> run() {
    remove_routes();
    remove_fdb();
    remove_neighbors();
    remove_addresses();
    links();
    for (const Address& a : desired_.addresses) {
      if (present(a.link) && (fresh(a.link) || !contains(actual_.addresses, a)))
        operations_.emplace_back(AddAddress{a});
    }
    for (const Neighbor& n : desired_.neighbors) {
      const bool lost = fresh(n.link) || forgotten_.contains(n.link);
      if (present(n.link) && (lost || !contains(actual_.neighbors, n)))
        operations_.emplace_back(AddNeighbor{n});
    }
    for (const FdbEntry& e : desired_.fdb) {
      if (present(e.link) && (fresh(e.link) || !contains(actual_.fdb, e)))
        operations_.emplace_back(AddFdb{e});
    }
    add_routes();
    return std::move(operations_);
  }

 private:
  static KernelState in_order(const KernelState& state) {
    return {state.links, sorted(state.addresses), sorted(state.routes), sorted(state.neighbors),
            sorted(state.fdb)};
  }
  const Link* find_actual(const std::string& name) const {
    const auto it = actual_links_.find(name);
    return it == actual_links_.end() ? nullptr : it->second;
  }
  bool fresh(const std::string& link) const { return added_.contains(link); }
  // Exists once the operations so far are done.
  bool present(const std::string& link) const {
    return fresh(link) || find_actual(link) != nullptr;
  }
  bool replaced(const Link& actual) const {
    const Link* wanted = desired_.find_link(actual.name);
    return wanted == nullptr || (!wanted->kind.empty() && wanted->kind != actual.kind) ||
           !same_vxlan(*wanted, actual);
  }
  // Links that go take their addresses, neighbours and routes along.
  bool goes(const std::string& name) const {
    const Link* link = find_actual(name);
    return link != nullptr && owned_.contains(name) && replaced(*link);
  }

  void remove_routes() {
    for (const Route& r : actual_.routes) {
      if (r.protocol != kRouteProtocol || goes(r.link)) continue;
      if (!destinations_.contains(r.destination)) operations_.emplace_back(RemoveRoute{r});
    }
  }
  // One to be had elsewhere is replaced, so that no packet finds none.
  void remove_fdb() {
    for (const FdbEntry& e : actual_.fdb) {
      if (!owned_.contains(e.link) || goes(e.link) || contains(desired_.fdb, e)) continue;
      if (!macs_.contains({e.link, e.mac})) operations_.emplace_back(RemoveFdb{e});
    }
  }
  void remove_neighbors() {
    for (const Neighbor& n : actual_.neighbors) {
      if (owned_.contains(n.link) && !goes(n.link) && !contains(desired_.neighbors, n))
        operations_.emplace_back(RemoveNeighbor{n});
    }
  }
  void remove_addresses() {
    for (const Address& a : actual_.addresses) {
      if (!owned_.contains(a.link) || goes(a.link) || a.address.ip.is_link_local()) continue;
      if (!contains(desired_.addresses, a)) operations_.emplace_back(RemoveAddress{a});
    }
  }

  void links() {
    for (const Link& link : actual_.links) {
      if (owned_.contains(link.name) && replaced(link))
        operations_.emplace_back(RemoveLink{link.name});
    }
    std::vector<Link> ordered = desired_.links;
    std::stable_partition(ordered.begin(), ordered.end(),
                          [](const Link& link) { return link.master.empty(); });
    for (const Link& link : ordered) {
      const Link* actual = find_actual(link.name);
      if (actual != nullptr && !replaced(*actual)) {
        // A new bridge of the same name has lost its ports.
        if (!satisfied(link, *actual) || fresh(link.master)) change(link, *actual);
      } else if (link.kind != "veth" && !link.kind.empty()) {
        operations_.emplace_back(AddLink{link});
        added_.insert(link.name);
      }
    }
  }

  // Setting a MAC, even to what it is, makes the kernel forget the link's neighbours.
  void change(const Link& link, const Link& actual) {
    Link changed = link;
    if (link.mac && link.mac != actual.mac) forgotten_.insert(link.name);
    if (link.mac == actual.mac) changed.mac.reset();
    operations_.emplace_back(ChangeLink{std::move(changed)});
  }

  void add_routes() {
    for (const Route& r : desired_.routes) {
      if (present(r.link) && (fresh(r.link) || !contains(actual_.routes, r)))
        operations_.emplace_back(AddRoute{r});
    }
  }

  const KernelState desired_, actual_;  // in order
  std::map<std::string, const Link*> actual_links_;
  std::set<Cidr> destinations_;                 // of the desired routes
  std::set<std::pair<std::string, Mac>> macs_;  // of the desired FDB entries
  std::set<std::string> owned_, added_, forgotten_;
  std::vector<Operation> operations_;
};

struct Printer {
  std::string operator()(const AddLink& o) const { return "adding link " + o.link.name; }
  std::string operator()(const ChangeLink& o) const { return "changing link " + o.link.name; }
  std::string operator()(const RemoveLink& o) const { return "removing link " + o.name; }
  std::string operator()(const AddAddress& o) const { return "adding" + text(o.address); }
  std::string operator()(const RemoveAddress& o) const { return "removing" + text(o.address); }
  std::string operator()(const AddRoute& o) const { return "adding" + text(o.route); }
  std::string operator()(const RemoveRoute& o) const { return "removing" + text(o.route); }
  std::string operator()(const AddNeighbor& o) const { return "adding" + text(o.neighbor); }
  std::string operator()(const RemoveNeighbor& o) const { return "removing" + text(o.neighbor); }
  std::string operator()(const AddFdb& o) const { return "adding" + text(o.entry); }
  std::string operator()(const RemoveFdb& o) const { return "removing" + text(o.entry); }

 private:
  static std::string text(const Address& a) {
    return " address " + a.address.to_string() + " on " + a.link;
  }
  static std::string text(const Route& r) {
    return " route " + r.destination.to_string() +
           (r.gateway ? " via " + r.gateway->to_string() : "") + " on " + r.link;
  }
  static std::string text(const FdbEntry& e) {
    return " FDB entry " + e.mac.to_string() + " at " + e.remote.to_string() + " on " + e.link;
  }
  static std::string text(const Neighbor& n) {
    return " neighbour " + n.ip.to_string() + " at " + n.mac.to_string() + " on " + n.link;
  }
};

}  // namespace

std::string to_string(const Operation& operation) {
  return std::visit(Printer{}, operation);
}

std::vector<Operation> diff(const KernelState& desired, const KernelState& actual,
                            const std::function<bool(const Link&)>& owned) {
  return Differ(desired, actual, owned).run();
}

std::vector<Operation> diff(const KernelState& desired, const KernelState& actual) {
  return diff(desired, actual, [](const Link& link) { return link.name.starts_with(kLinkPrefix); });
}

}  // namespace coracle
