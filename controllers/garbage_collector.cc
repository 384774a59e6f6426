#include "garbage_collector.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

constexpr std::size_t kMostLeft = 1024;

bool has_finalizer(const Meta& object, const std::string& finalizer) {
  const auto& all = object.finalizers;
  return std::find(all.begin(), all.end(), finalizer) != all.end();
}

Json owner_json(const OwnerReference& owner) {
  Json out = {{"apiVersion", owner.api_version},
              {"kind", owner.kind},
              {"name", owner.name},
              {"uid", owner.uid}};
  if (owner.controller) out["controller"] = true;
  if (owner.block_owner_deletion) out["blockOwnerDeletion"] = true;
  return out;
}

bool blocks(const Meta& dependent, const std::string& owner_uid) {
  const auto& owners = dependent.owners;
  return std::any_of(owners.begin(), owners.end(), [&](const OwnerReference& o) {
    return o.uid == owner_uid && o.block_owner_deletion;
  });
}

}  // namespace

GarbageAction garbage_action(const OwnerFindings& owners, bool has_dependents) {
  const bool ends = !owners.dangling.empty() || !owners.waiting.empty();
  if (!owners.solid.empty() || !ends)
    return ends || !owners.left.empty() ? GarbageAction::DropReferences : GarbageAction::Keep;
  return !owners.waiting.empty() && has_dependents ? GarbageAction::DeleteInForeground
                                                   : GarbageAction::Delete;
}

Result<Again> GarbageCollector::reconcile(const ObjectKey& key) {
  const auto item = graph_.find(key);
  if (!item) return Again{};
  if (item->object->deleting()) {
    if (has_finalizer(*item->object, "orphan")) TRY(orphan_dependents(*item));
    if (has_finalizer(*item->object, "foregroundDeletion")) TRY(delete_dependents(*item));
    return Again{};
  }
  if (item->object->owners.empty()) return Again{};
  const OwnerFindings owners = TRY(examine(*item));
  TRY(collect(*item, owners));
  return Again{};
}

Result<OwnerFindings> GarbageCollector::examine(const Item& item) {
  OwnerFindings out;
  for (const OwnerReference& owner : item.object->owners) {
    bool waiting = false;
    if (!TRY(exists(item, owner, waiting))) {
      const bool left = std::find(left_.begin(), left_.end(), owner.uid) != left_.end();
      (left ? out.left : out.dangling).push_back(owner);
    } else if (waiting && owner.block_owner_deletion) {
      out.waiting.push_back(owner);
    } else {
      out.solid.push_back(owner);
    }
  }
  return out;
}

// The cache may lag behind, so only a live look says that an owner is gone. An owner of a kind that
// is not served, and a namespaced one of a cluster-scoped object, cannot be looked up: it counts as
// there.
Result<bool> GarbageCollector::exists(const Item& dependent, const OwnerReference& owner,
                                      bool& waiting) {
  const Resource* resource = graph_.resource_of(owner);
  if (resource == nullptr) return true;
  if (resource->namespaced && !dependent.resource->namespaced) return true;
  const ObjectKey key{resource->namespaced ? dependent.object->ns : "", owner.name};
  const auto found = client_.get(*resource, key);
  if (!found && !is_not_found(found.error())) return found.error();
  if (found && found->uid() == owner.uid) {
    const Meta meta = found->meta();
    waiting = meta.deleting() && has_finalizer(meta, "foregroundDeletion");
    return true;
  }
  if (const auto elsewhere = graph_.find_uid(owner.uid);
      elsewhere && elsewhere->object->ns != key.ns) {
    const Meta& meta = *dependent.object;
    events_.warning({dependent.resource->api_version(), dependent.resource->kind, meta.ns,
                     meta.name, meta.uid, ""},
                    "OwnerRefInvalidNamespace",
                    "ownerRef [" + owner.api_version + "/" + owner.kind + ", namespace: " + key.ns +
                        ", name: " + owner.name + ", uid: " + owner.uid +
                        "] does not exist in namespace \"" + key.ns + "\"");
  }
  return false;
}

Result<void> GarbageCollector::collect(const Item& item, const OwnerFindings& owners) {
  const bool waits = !owners.waiting.empty() && TRY(has_dependents(item));
  switch (garbage_action(owners, waits)) {
    case GarbageAction::Keep:
      return {};
    case GarbageAction::DropReferences: {
      std::set<std::string> gone;
      for (const auto* list : {&owners.dangling, &owners.waiting, &owners.left})
        for (const OwnerReference& owner : *list) gone.insert(owner.uid);
      return drop_references(item, gone);
    }
    case GarbageAction::Delete:
      return remove(item, "Background");
    case GarbageAction::DeleteInForeground:
      return remove(item, "Foreground");
  }
  return {};
}

// The caches of two kinds need not be of the same moment: what was made just before its owner's
// deletion may be missing in the graph, and must not be missed when the owner is let go.
Result<std::vector<OwnerGraph::Item>> GarbageCollector::live_dependents(const Item& owner) {
  std::vector<Item> out;
  const std::string& ns = owner.object->ns;
  for (const Resource* resource : graph_.resources()) {
    if (!ns.empty() && !resource->namespaced) continue;
    const auto list = TRY(client_.list(*resource, {.ns = resource->namespaced ? ns : ""}));
    for (const Object& object : list.items) {
      auto meta = std::make_shared<const Meta>(object.meta());
      const auto& owners = meta->owners;
      if (std::any_of(owners.begin(), owners.end(),
                      [&](const OwnerReference& o) { return o.uid == owner.object->uid; }))
        out.push_back({resource, std::move(meta)});
    }
  }
  return out;
}

// Pods are many and seldom own anything: for them the graph will do.
Result<bool> GarbageCollector::has_dependents(const Item& item) {
  if (!graph_.dependents(item.object->uid).empty()) return true;
  if (item.resource->plural == "pods") return false;
  return !TRY(live_dependents(item)).empty();
}

// Foreground deletion: first the dependents, then the finalizer that holds the owner.
Result<void> GarbageCollector::delete_dependents(const Item& owner) {
  const std::string& uid = owner.object->uid;
  // Their end brings this key again.
  if (TRY(delete_each(graph_.dependents(uid), uid))) return {};
  if (TRY(delete_each(TRY(live_dependents(owner)), uid))) return {};
  return drop_finalizer(owner, "foregroundDeletion");
}

// Whether one of them holds up the owner.
Result<bool> GarbageCollector::delete_each(const std::vector<Item>& dependents,
                                           const std::string& owner_uid) {
  bool blocked = false;
  for (const Item& dependent : dependents) {
    if (blocks(*dependent.object, owner_uid)) blocked = true;
    if (dependent.object->deleting()) continue;
    const OwnerFindings others = TRY(examine(dependent));
    TRY(collect(dependent, others));
  }
  return blocked;
}

Result<void> GarbageCollector::orphan_dependents(const Item& owner) {
  if (std::find(left_.begin(), left_.end(), owner.object->uid) == left_.end())
    left_.push_back(owner.object->uid);
  if (left_.size() > kMostLeft) left_.pop_front();
  for (const Item& dependent : TRY(live_dependents(owner)))
    TRY(drop_references(dependent, {owner.object->uid}));
  return drop_finalizer(owner, "orphan");
}

Result<void> GarbageCollector::drop_references(const Item& item,
                                               const std::set<std::string>& uids) {
  Json owners = Json::array();
  for (const OwnerReference& owner : item.object->owners)
    if (!uids.contains(owner.uid)) owners.push_back(owner_json(owner));
  return patch(item, {{"ownerReferences", owners.empty() ? Json() : std::move(owners)}});
}

Result<void> GarbageCollector::drop_finalizer(const Item& item, const std::string& finalizer) {
  Json finalizers = Json::array();
  for (const std::string& f : item.object->finalizers)
    if (f != finalizer) finalizers.push_back(f);
  return patch(item, {{"finalizers", finalizers.empty() ? Json() : std::move(finalizers)}});
}

// Computed from the cached object: a newer one refuses it with Conflict, and its event comes.
Result<void> GarbageCollector::patch(const Item& item, Json metadata) {
  const Meta& meta = *item.object;
  metadata["uid"] = meta.uid;
  metadata["resourceVersion"] = std::to_string(meta.revision);
  const auto patched = client_.patch(*item.resource, meta.key(), PatchType::JsonMerge,
                                     {{"metadata", std::move(metadata)}}, "");
  if (!patched && !is_not_found(patched.error())) return patched.error();
  return {};
}

// Only as it was seen: meanwhile it may have been given another owner, or none.
Result<void> GarbageCollector::remove(const Item& item, const std::string& policy) {
  const Meta& meta = *item.object;
  const bool orphans = has_finalizer(*item.object, "orphan");
  const auto removed = client_.remove(*item.resource, meta.key(),
                                      {.uid = meta.uid,
                                       .revision = meta.revision,
                                       .propagation_policy = orphans ? "Orphan" : policy});
  if (!removed && !is_not_found(removed.error())) return removed.error();
  return {};
}

}  // namespace coracle
