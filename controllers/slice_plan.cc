#include "slice_plan.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace coracle {
namespace {

using SlicePtr = std::shared_ptr<const EndpointSlice>;
using Identity = std::pair<std::string, std::string>;  // address, target's uid

Identity identity(const Endpoint& e) {
  return {e.addresses.empty() ? "" : e.addresses.front(), e.target_uid};
}

std::vector<EndpointPort> sorted(std::vector<EndpointPort> ports) {
  std::sort(ports.begin(), ports.end(), [](const EndpointPort& a, const EndpointPort& b) {
    return std::tie(a.name, a.port, a.protocol) < std::tie(b.name, b.port, b.protocol);
  });
  return ports;
}

// The slices with one set of ports: what of them stays, and what is still to be placed.
class GroupPlan {
 public:
  GroupPlan(const EndpointGroup& group, const std::vector<SlicePtr>& slices) : group_(group) {
    for (const Endpoint& e : group.endpoints) wanted_.emplace(identity(e), e);
    for (const SlicePtr& slice : slices) keep(slice);
  }

  void finish(SlicePlan& plan) {
    place();
    for (Kept& kept : kept_) {
      if (!kept.changed) continue;
      if (kept.endpoints.empty()) {
        plan.remove.push_back(kept.slice);
      } else {
        plan.update.push_back({kept.slice, std::move(kept.endpoints)});
      }
    }
    for (std::vector<Endpoint>& endpoints : created_)
      plan.create.push_back({group_.ports, std::move(endpoints)});
  }

 private:
  struct Kept {
    SlicePtr slice;
    std::vector<Endpoint> endpoints;
    bool changed = false;
    std::size_t room() const { return kMaxEndpointsPerSlice - endpoints.size(); }
  };

  void keep(const SlicePtr& slice) {
    Kept kept{slice, {}, false};
    for (const Endpoint& e : slice->endpoints) {
      const auto wanted = wanted_.find(identity(e));
      if (wanted == wanted_.end() || kept.room() == 0) {
        kept.changed = true;
        continue;
      }
      if (wanted->second != e) kept.changed = true;
      kept.endpoints.push_back(std::move(wanted->second));
      wanted_.erase(wanted);
    }
    if (slice->endpoints.empty()) kept.changed = true;
    kept_.push_back(std::move(kept));
  }

  // New endpoints go to slices that are written anyway, fullest first; then, if they all fit, to
  // the one with the least room for them; else into slices of their own.
  void place() {
    std::vector<Kept*> order;
    for (Kept& kept : kept_)
      if (kept.changed) order.push_back(&kept);
    std::stable_sort(order.begin(), order.end(),
                     [](const Kept* a, const Kept* b) { return a->room() < b->room(); });
    for (Kept* kept : order) fill(*kept);
    if (wanted_.empty()) return;
    Kept* best = nullptr;
    for (Kept& kept : kept_) {
      if (kept.changed || kept.room() < wanted_.size() % kMaxEndpointsPerSlice) continue;
      if (best == nullptr || kept.room() < best->room()) best = &kept;
    }
    while (wanted_.size() >= kMaxEndpointsPerSlice) create();
    if (wanted_.empty()) return;
    if (best != nullptr) {
      best->changed = true;
      fill(*best);
    } else {
      create();
    }
  }

  void fill(Kept& kept) {
    while (kept.room() > 0 && !wanted_.empty()) kept.endpoints.push_back(take());
  }
  void create() {
    std::vector<Endpoint> endpoints;
    while (endpoints.size() < kMaxEndpointsPerSlice && !wanted_.empty())
      endpoints.push_back(take());
    created_.push_back(std::move(endpoints));
  }
  Endpoint take() {
    Endpoint e = std::move(wanted_.begin()->second);
    wanted_.erase(wanted_.begin());
    return e;
  }

  const EndpointGroup& group_;
  std::map<Identity, Endpoint> wanted_;  // not placed yet
  std::vector<Kept> kept_;
  std::vector<std::vector<Endpoint>> created_;
};

bool is(const EndpointGroup& group, const EndpointSlice& slice) {
  return sorted(slice.ports) == sorted(group.ports);
}

// Nothing would be left: the placeholder stays, or comes.
void keep_placeholder(SlicePlan& plan) {
  const auto kept = std::find_if(plan.remove.begin(), plan.remove.end(), [](const SlicePtr& slice) {
    return slice->ports.empty() && slice->endpoints.empty();
  });
  if (kept == plan.remove.end()) {
    plan.create.push_back({});
  } else {
    plan.remove.erase(kept);
  }
}

}  // namespace

SlicePlan plan_slices(const std::vector<SlicePtr>& existing,
                      const std::vector<EndpointGroup>& desired) {
  SlicePlan plan;
  for (const SlicePtr& slice : existing) {
    const bool used = std::any_of(desired.begin(), desired.end(),
                                  [&](const EndpointGroup& g) { return is(g, *slice); });
    if (!used) plan.remove.push_back(slice);
  }
  for (const EndpointGroup& group : desired) {
    std::vector<SlicePtr> slices;
    for (const SlicePtr& slice : existing)
      if (is(group, *slice)) slices.push_back(slice);
    GroupPlan(group, slices).finish(plan);
  }
  if (plan.create.empty() && plan.remove.size() == existing.size()) keep_placeholder(plan);
  // One slice is written where another would go and one come.
  while (!plan.remove.empty() && !plan.create.empty() &&
         sorted(plan.remove.back()->ports) == sorted(plan.create.back().ports)) {
    plan.update.push_back({plan.remove.back(), std::move(plan.create.back().endpoints)});
    plan.remove.pop_back();
    plan.create.pop_back();
  }
  return plan;
}

}  // namespace coracle
