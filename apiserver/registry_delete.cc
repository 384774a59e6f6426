// Deletions: preconditions, grace periods, finalizers, propagation.
#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

#include "registry_errors.h"
#include "registry_impl.h"
#include "resources/fields.h"

namespace coracle {
namespace {

constexpr int kMostAttempts = 64;
constexpr std::int64_t kDefaultGrace = 30;
constexpr std::int64_t kLongestGrace =
    std::int64_t{100} * 365 * 86'400;  // what a timestamp can say

Result<void> check_preconditions(const Resource& resource, const ObjectKey& key,
                                 const DeleteOptions& options, const Json& object) {
  const std::string uid = json_string(object, {"metadata", "uid"});
  if (!options.uid.empty() && options.uid != uid)
    return conflict(resource, key.name,
                    "Precondition failed: UID in precondition: " + options.uid +
                        ", UID in object meta: " + uid);
  const std::string revision = json_string(object, {"metadata", "resourceVersion"});
  if (options.revision != 0 && std::to_string(options.revision) != revision)
    return conflict(resource, key.name,
                    "Precondition failed: ResourceVersion in precondition: " +
                        std::to_string(options.revision) +
                        ", ResourceVersion in object meta: " + revision);
  return {};
}

Result<void> check_options(const DeleteOptions& options) {
  FieldErrors errors;
  const std::string& policy = options.propagation_policy;
  if (!policy.empty() && policy != "Foreground" && policy != "Background" && policy != "Orphan")
    errors.not_supported("propagationPolicy", policy, {"Foreground", "Background", "Orphan"});
  if (errors.empty()) return {};
  return invalid({.group = "meta.k8s.io", .version = "v1", .plural = "", .kind = "DeleteOptions"},
                 "", errors);
}

// How long the object may go on. Only a Pod on a node has somebody who ends it; the rest goes at
// once.
std::int64_t grace_period(const ResourceKind& kind, const Json& object,
                          const DeleteOptions& options) {
  if (!kind.graceful_delete || json_string(object, {"spec", "nodeName"}).empty()) return 0;
  const std::string phase = json_string(object, {"status", "phase"});
  if (phase == "Succeeded" || phase == "Failed") return 0;
  const std::int64_t grace = options.grace_period_seconds.value_or(
      json_int(object, {"spec", "terminationGracePeriodSeconds"}, kDefaultGrace));
  return grace < 0 ? 1 : std::min(grace, kLongestGrace);
}

void set_propagation_finalizer(Json& metadata, const std::string& policy) {
  if (policy.empty()) return;  // the object's own finalizers decide
  Json finalizers = Json::array();
  for (const Json& f : array_in(metadata, "finalizers"))
    if (f != "orphan" && f != "foregroundDeletion") finalizers.push_back(f);
  if (policy == "Orphan") finalizers.push_back("orphan");
  if (policy == "Foreground") finalizers.push_back("foregroundDeletion");
  if (finalizers.empty()) {
    metadata.erase("finalizers");
  } else {
    metadata["finalizers"] = std::move(finalizers);
  }
}

// Marks the object as being deleted. A later deletion may shorten the grace period, never lengthen
// it.
void mark_deleting(const ResourceKind& kind, Json& object, const DeleteOptions& options,
                   const Clock& clock) {
  Json& metadata = object_in(object, "metadata");
  const std::int64_t grace = grace_period(kind, object, options);
  if (!has(metadata, "deletionTimestamp")) {
    set_propagation_finalizer(metadata, options.propagation_policy);
    metadata["deletionTimestamp"] = format_time(clock.now() + std::chrono::seconds(grace));
    metadata["deletionGracePeriodSeconds"] = grace;
    if (has(metadata, "generation")) metadata["generation"] = number_in(metadata, "generation") + 1;
    if (kind.resource.plural == "namespaces") object_in(object, "status")["phase"] = "Terminating";
    return;
  }
  const std::int64_t pending = number_in(metadata, "deletionGracePeriodSeconds");
  if (grace >= pending) return;
  const auto asked =
      parse_time(text_in(metadata, "deletionTimestamp")) - std::chrono::seconds(pending);
  metadata["deletionTimestamp"] = format_time(asked + std::chrono::seconds(grace));
  metadata["deletionGracePeriodSeconds"] = grace;
}

bool is_immortal(const ResourceKind& kind, const ObjectKey& key) {
  return kind.resource.plural == "namespaces" &&
         (key.name == "default" || key.name == "kube-system" || key.name == "kube-public");
}

}  // namespace

void RegistryImpl::release(const ResourceKind& kind, const Json& old) {
  if (!kind.allocate) return;
  const auto allocation = kind.allocate(nullptr, &old, false);
  if (allocation && allocation->commit) allocation->commit();
}

Result<Registry::Removed> RegistryImpl::remove(const ResourceKind& kind, const ObjectKey& key,
                                               const DeleteOptions& options,
                                               const WriteOptions& write) {
  TRY(check_options(options));
  if (is_immortal(kind, key))
    return forbidden(kind.resource, key.name, "this namespace may not be deleted");
  std::unique_lock<std::shared_mutex> gate(namespace_gate_, std::defer_lock);
  if (&kind == namespaces_) gate.lock();
  for (int i = 0; i < kMostAttempts; ++i) {
    auto removed = TRY(remove_once(kind, key, options, write));
    if (removed) return std::move(*removed);
  }
  return modified(kind.resource, key.name);
}

Result<std::optional<Registry::Removed>> RegistryImpl::remove_once(const ResourceKind& kind,
                                                                   const ObjectKey& key,
                                                                   const DeleteOptions& options,
                                                                   const WriteOptions& write) {
  using Outcome = std::optional<Removed>;
  const EntryPtr entry = TRY(get(kind, key));
  const Json old = with_revision(decode_entry(*entry), entry->mod_revision);
  if (write.admit) TRY(write.admit(nullptr, &old));
  TRY(check_preconditions(kind.resource, key, options, old));
  Json next = old;
  mark_deleting(kind, next, options, clock_);
  const bool gone = deletion_complete(next);
  if (!gone && next == old) return Outcome(Removed{old, false});
  if (write.dry_run) return Outcome(Removed{gone ? old : next, gone});
  if (gone) {
    auto removed = store_.remove(entry->key, entry->mod_revision);
    if (!removed && is_conflict(removed.error())) return Outcome();
    if (!removed && is_not_found(removed.error())) return not_found(kind.resource, key.name);
    if (!removed) return removed.error();
    release(kind, old);
    return Outcome(Removed{with_revision(old, (*removed)->mod_revision), true});
  }
  auto written =
      store_.update(entry->key, encode_object(next), entry->mod_revision, {entry->durability});
  if (!written && (is_conflict(written.error()) || is_not_found(written.error()))) return Outcome();
  if (!written) return written.error();
  return Outcome(Removed{with_revision(std::move(next), (*written)->mod_revision), false});
}

}  // namespace coracle
