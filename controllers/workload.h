// What the controllers of Deployments, ReplicaSets and DaemonSets share. Pure, but for the writes
// at the end.
#pragma once

#include <coracle/api/apps.h>
#include <coracle/api/pod.h>
#include <coracle/client.h>
#include <coracle/events.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controller.h"
#include "pod_endpoints.h"

namespace coracle {

using Time = std::chrono::system_clock::time_point;

// nullptr when nobody controls the object.
const OwnerReference* controller_of(const Meta& object);
bool controlled_by(const Meta& object, const Meta& owner);

// Neither finished nor being deleted.
bool is_active(const Pod& pod);
// Ready for so long; `later`: it is ready, and will count after that time if it stays so.
struct Availability {
  bool available = false;
  Again later;
};
Availability availability(const Pod& pod, std::int64_t min_ready_seconds, Time now);
// The earlier of two times to look again.
Again sooner(const Again& a, const Again& b);

// Who is whose, after upstream's ControllerRefManager.
template <typename T>
struct Claims {
  std::vector<std::shared_ptr<const T>> owned;    // those to adopt among them
  std::vector<std::shared_ptr<const T>> adopt;    // match, and nobody controls them
  std::vector<std::shared_ptr<const T>> release;  // are controlled, and do not match any more
};
enum class Claim { None, Own, Adopt, Release };
Claim claim(const Workload& owner, const Meta& object);
template <typename T>
Claims<T> claim_all(const Workload& owner, const std::vector<std::shared_ptr<const T>>& objects) {
  Claims<T> out;
  for (const auto& object : objects) {
    const Claim its = claim(owner, object->meta);
    if (its == Claim::Adopt) out.adopt.push_back(object);
    if (its == Claim::Release) out.release.push_back(object);
    if (its == Claim::Own || its == Claim::Adopt) out.owned.push_back(object);
  }
  return out;
}

// What tells one Pod template from another: digits of upstream's alphabet, fit for a name.
std::string template_hash(const Json& pod_template, std::int64_t collisions);
// The same but for the label `hash_label`, which a controller added.
bool same_template(const Json& a, const Json& b, const char* hash_label);

Json owner_reference(const Resource& kind, const Meta& owner);
ObjectReference reference_to(const Resource& kind, const Meta& object);
// A Pod of the template, named after its owner and owned by it.
Object pod_from_template(const Resource& kind, const Meta& owner, const Json& pod_template);

// Conditions as they are written; a condition's new status keeps the transition's time if it was
// the same before, and one of the same status and reason stays as it is.
void set_condition(std::vector<WorkloadCondition>& conditions, WorkloadCondition next, Time now);
void remove_condition(std::vector<WorkloadCondition>& conditions, const std::string& type);
Json conditions_json(const std::vector<WorkloadCondition>& conditions);
// A counter as upstream writes it: left out when it is 0, which a merge patch says with null.
Json counter(std::int64_t value);

// The object as it is now; null when it is gone.
template <typename T>
Result<std::shared_ptr<const T>> get_live(Client& client, const Resource& resource,
                                          const ObjectKey& key) {
  const auto found = client.get(resource, key);
  if (!found && is_not_found(found.error())) return std::shared_ptr<const T>();
  if (!found) return found.error();
  return std::shared_ptr<const T>(std::make_shared<const T>(TRY(T::decode(*found))));
}
// One that is gone meanwhile counts as done: then nothing is returned.
Result<std::optional<Object>> adopt(Client& client, const Resource& resource, const Meta& object,
                                    const Resource& owner_kind, const Meta& owner);
Result<std::optional<Object>> release(Client& client, const Resource& resource, const Meta& object,
                                      const std::string& owner_uid);

}  // namespace coracle
