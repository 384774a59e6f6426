#include "registry.h"

#include <coracle/log.h>

#include <nlohmann/json.hpp>

#include "registry_errors.h"
#include "registry_impl.h"
#include "resources/fields.h"

namespace coracle {

Json decode_entry(const Entry& entry) {
  Json document = Json::parse(entry.value, nullptr, false);
  return document.is_object() ? document : Json::object();
}

std::string encode_object(const Json& object) {
  Json bare = object;
  object_in(bare, "metadata").erase("resourceVersion");
  return bare.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::string> encode_bounded(const Json& object) {
  constexpr std::size_t kMostStored = std::size_t{3} << 20;
  std::string text = encode_object(object);
  if (text.size() <= kMostStored) return text;
  return Error{Code::TooLarge, "Request entity too large: the object has " +
                                   std::to_string(text.size()) + " bytes, limit is " +
                                   std::to_string(kMostStored)};
}

Json with_revision(Json object, Revision revision) {
  object_in(object, "metadata")["resourceVersion"] = std::to_string(revision);
  return object;
}

bool deletion_complete(const Json& object) {
  const Json& metadata = object_at(object, "metadata");
  return has(metadata, "deletionTimestamp") && array_in(metadata, "finalizers").empty() &&
         number_in(metadata, "deletionGracePeriodSeconds") == 0 &&
         array_in(object_at(object, "spec"), "finalizers").empty();
}

Result<std::unique_ptr<Registry>> Registry::create(Options options) {
  auto registry = std::make_unique<RegistryImpl>(std::move(options));
  TRY(registry->rebuild_allocations());
  return std::unique_ptr<Registry>(std::move(registry));
}

RegistryImpl::RegistryImpl(Options options)
    : store_(options.store),
      clock_(options.clock),
      kinds_(std::move(options.kinds)),
      catch_up_(options.catch_up) {
  namespaces_ = RegistryImpl::find("", "v1", "namespaces");
  for (const ResourceKind& kind : kinds_)
    if (kind.retention.age.count() > 0) kept_.try_emplace(&kind, kind.retention);
}

Result<void> RegistryImpl::rebuild_allocations() {
  for (const ResourceKind& kind : kinds_) {
    if (!kind.allocate) continue;
    const ListResult stored = TRY(store_.list({storage_prefix(kind.resource, ""), "", 0}));
    for (const EntryPtr& entry : stored.entries) {
      Json object = decode_entry(*entry);
      auto allocation = kind.allocate(&object, nullptr, false);
      // The object stays served: refusing to start would take the whole cluster down for one
      // Service.
      if (!allocation)
        log::warn("registry", "its addresses could not be taken back",
                  {{"key", entry->key}, {"error", allocation.error().message}});
      else if (allocation->commit)
        allocation->commit();
    }
  }
  return {};
}

const ResourceKind* RegistryImpl::find(std::string_view group, std::string_view version,
                                       std::string_view plural) const {
  for (const ResourceKind& kind : kinds_)
    if (kind.resource.group == group && kind.resource.version == version &&
        kind.resource.plural == plural)
      return &kind;
  return nullptr;
}

Result<EntryPtr> RegistryImpl::get(const ResourceKind& kind, const ObjectKey& key) const {
  auto entry = store_.get(storage_key(kind.resource, key));
  if (!entry && is_not_found(entry.error())) return not_found(kind.resource, key.name);
  return entry;
}

Result<std::unique_ptr<StoreWatch>> RegistryImpl::watch(const ResourceKind& kind,
                                                        const std::string& ns, Revision from) {
  return store_.watch(storage_prefix(kind.resource, ns), from);
}

}  // namespace coracle
