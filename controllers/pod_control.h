// Makes, deletes, adopts and releases Pods for a controller, records Events of the owner, and
// remembers what was written until the cache shows it.
#pragma once

#include <coracle/events.h>
#include <coracle/informer.h>

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "ledger.h"
#include "workload.h"

namespace coracle {

// Writes the owner references that the claims ask for.
template <typename T>
Result<void> settle_claims(Client& client, const Resource& owned, const Claims<T>& claims,
                           const Resource& kind, const Meta& owner, Ledger<T>& ledger) {
  for (const auto& object : claims.adopt)
    if (const auto now = TRY(adopt(client, owned, object->meta, kind, owner)))
      ledger.wrote(owner.key(), *now);
  for (const auto& object : claims.release)
    if (const auto now = TRY(release(client, owned, object->meta, owner.uid)))
      ledger.wrote(owner.key(), *now);
  return {};
}

// Used by one thread.
class PodControl {
 public:
  // `kind`: the owners'.
  PodControl(Client& client, Resource kind, const Informer<Pod>& pods, EventRecorder& events)
      : client_(client),
        kind_(std::move(kind)),
        pods_(pods),
        events_(events),
        ledger_(client, resources::kPods, pods) {}

  // All Pods of the owner's namespace, by the informer's index "namespace". `is_new`: the owner has
  // just come, see Ledger::look.
  Result<std::vector<PodPtr>> pods(const Workload& owner, bool is_new);
  Result<void> settle(const Meta& owner, const Claims<Pod>& claims);
  // Makes `count` Pods, in batches (slow_start.h). Conflict: the namespace takes nothing new.
  Result<void> create(const Meta& owner, std::size_t count,
                      const std::function<Object(std::size_t)>& pod);
  // One that is gone already counts as deleted.
  Result<void> remove(const Meta& owner, const Pod& pod);
  // When to look again after an owner that is gone.
  Result<Again> gone(const ObjectKey& owner);

 private:
  Result<void> create_one(const Meta& owner, const Object& pod);

  Client& client_;
  const Resource kind_;
  const Informer<Pod>& pods_;
  EventRecorder& events_;
  std::mutex mutex_;  // of the ledger, while Pods are made
  Ledger<Pod> ledger_;
};

}  // namespace coracle
