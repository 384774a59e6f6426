#include "pod_control.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "slow_start.h"

namespace coracle {
namespace {

bool ends_namespace(const Error& error) {
  return std::any_of(error.causes.begin(), error.causes.end(),
                     [](const Cause& c) { return c.reason == "NamespaceTerminating"; });
}

}  // namespace

Result<std::vector<PodPtr>> PodControl::pods(const Workload& owner, bool is_new) {
  const std::string& ns = owner.meta.ns;
  auto pods = TRY(ledger_.refresh(owner.meta.key(), pods_.by_index("namespace", ns)));
  return is_new ? ledger_.look(ns, owner.selector, std::move(pods)) : std::move(pods);
}

Result<Again> PodControl::gone(const ObjectKey& owner) {
  return TRY(ledger_.outlives(owner)) ? Again{kLedgerPause} : Again{};
}

Result<void> PodControl::settle(const Meta& owner, const Claims<Pod>& claims) {
  return settle_claims(client_, resources::kPods, claims, kind_, owner, ledger_);
}

Result<void> PodControl::create(const Meta& owner, std::size_t count,
                                const std::function<Object(std::size_t)>& pod) {
  return slow_start(count, [&](std::size_t i) { return create_one(owner, pod(i)); });
}

Result<void> PodControl::create_one(const Meta& owner, const Object& pod) {
  const auto made = client_.create(resources::kPods, pod);
  if (!made && ends_namespace(made.error())) return Error{Code::Conflict, made.error().message};
  if (!made) {
    events_.warning(reference_to(kind_, owner), "FailedCreate",
                    "Error creating: " + made.error().message);
    return made.error();
  }
  {
    const std::lock_guard lock(mutex_);
    ledger_.wrote(owner.key(), *made);
  }
  events_.normal(reference_to(kind_, owner), "SuccessfulCreate", "Created pod: " + made->name());
  return {};
}

Result<void> PodControl::remove(const Meta& owner, const Pod& pod) {
  const auto gone = client_.remove(resources::kPods, pod.meta.key(), {.uid = pod.meta.uid});
  if (!gone && !is_not_found(gone.error()) && !is_conflict(gone.error())) {
    events_.warning(reference_to(kind_, owner), "FailedDelete",
                    "Error deleting: " + gone.error().message);
    return gone.error();
  }
  ledger_.removed(owner.key(), pod);
  if (gone)
    events_.normal(reference_to(kind_, owner), "SuccessfulDelete", "Deleted pod: " + pod.meta.name);
  return {};
}

}  // namespace coracle
