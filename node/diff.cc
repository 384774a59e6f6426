#include "diff.h"

#include <algorithm>
#include <set>
#include <string>

namespace coracle {
namespace {

template <typename T>
bool contains(const std::vector<T>& values, const T& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

// Set what is stated, leave the rest.
bool satisfied(const Link& desired, const Link& actual) {
  return actual.up == desired.up && (desired.mtu == 0 || desired.mtu == actual.mtu) &&
         (!desired.mac || desired.mac == actual.mac) &&
         (desired.master.empty() ||
          (desired.master == actual.master && desired.hairpin == actual.hairpin));
}

class Differ {
 public:
  Differ(const KernelState& desired, const KernelState& actual,
         const std::function<bool(const Link&)>& owned)
      : desired_(desired), actual_(actual) {
    for (const Link& link : actual.links) {
      if (owned(link)) owned_.insert(link.name);
    }
    for (const Link& link : desired.links) owned_.insert(link.name);
  }

  std::vector<Operation> run() {
    remove_routes();
    remove_neighbors();
    remove_addresses();
    links();
    for (const Address& a : desired_.addresses) {
      if (present(a.link) && (fresh(a.link) || !contains(actual_.addresses, a)))
        operations_.emplace_back(AddAddress{a});
    }
    for (const Neighbor& n : desired_.neighbors) {
      if (present(n.link) && (fresh(n.link) || !contains(actual_.neighbors, n)))
        operations_.emplace_back(AddNeighbor{n});
    }
    add_routes();
    return std::move(operations_);
  }

 private:
  bool fresh(const std::string& link) const { return added_.contains(link); }
  // Exists once the operations so far are done.
  bool present(const std::string& link) const {
    return fresh(link) || actual_.find_link(link) != nullptr;
  }
  bool replaced(const Link& actual) const {
    const Link* wanted = desired_.find_link(actual.name);
    return wanted == nullptr || (!wanted->kind.empty() && wanted->kind != actual.kind);
  }
  // Links that go take their addresses, neighbours and routes along.
  bool goes(const std::string& name) const {
    const Link* link = actual_.find_link(name);
    return link != nullptr && owned_.contains(name) && replaced(*link);
  }

  void remove_routes() {
    for (const Route& r : actual_.routes) {
      if (r.protocol != kRouteProtocol || goes(r.link)) continue;
      const bool wanted =
          std::any_of(desired_.routes.begin(), desired_.routes.end(),
                      [&](const Route& d) { return d.destination == r.destination; });
      if (!wanted) operations_.emplace_back(RemoveRoute{r});
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
      const Link* actual = actual_.find_link(link.name);
      if (actual != nullptr && !replaced(*actual)) {
        // A new bridge of the same name has lost its ports.
        if (!satisfied(link, *actual) || fresh(link.master))
          operations_.emplace_back(ChangeLink{link});
      } else if (link.kind != "veth" && !link.kind.empty()) {
        operations_.emplace_back(AddLink{link});
        added_.insert(link.name);
      }
    }
  }

  void add_routes() {
    for (const Route& r : desired_.routes) {
      if (present(r.link) && (fresh(r.link) || !contains(actual_.routes, r)))
        operations_.emplace_back(AddRoute{r});
    }
  }

  const KernelState& desired_;
  const KernelState& actual_;
  std::set<std::string> owned_, added_;
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

 private:
  static std::string text(const Address& a) {
    return " address " + a.address.to_string() + " on " + a.link;
  }
  static std::string text(const Route& r) {
    return " route " + r.destination.to_string() +
           (r.gateway ? " via " + r.gateway->to_string() : "") + " on " + r.link;
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
