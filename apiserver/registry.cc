#include "registry.h"

#include <coracle/log.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "registry_errors.h"
#include "registry_impl.h"
#include "resources/fields.h"
#include "watch_filter.h"

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
    : store_(options.store), clock_(options.clock), kinds_(std::move(options.kinds)) {
  namespaces_ = find("", "v1", "namespaces");
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

namespace {

// The name a field selector pins, "" when it does not.
std::string pinned_name(const FieldSelector& fields) {
  for (const auto& term : fields.terms())
    if (term.field == "metadata.name" && term.equal) return term.value;
  return "";
}

Error too_large_revision(Revision wanted, Revision current) {
  return {Code::Timeout,
          "Timeout: Too large resource version: " + std::to_string(wanted) +
              ", current: " + std::to_string(current),
          {{"ResourceVersionTooLarge", "Too large resource version", ""}},
          1};
}

}  // namespace

Result<ListPage> RegistryImpl::list(const ResourceKind& kind, const ListRequest& request) const {
  TRY(check_fields(kind, request.fields));
  const Revision current = store_.revision();
  if (request.at_least > current) return too_large_revision(request.at_least, current);
  std::string prefix = storage_prefix(kind.resource, request.ns);
  const std::string query =
      prefix + "\n" + request.labels.to_string() + "\n" + request.fields.to_string();
  if (!request.continue_token.empty()) return next_page(query, prefix, request);
  // `kubectl delete` and `wait` list by name: that need not look at every object of the kind.
  if (!kind.resource.namespaced || !request.ns.empty()) prefix += pinned_name(request.fields);
  ListResult found = TRY(store_.list({prefix, "", 0}));
  if (!request.labels.empty() || !request.fields.empty())
    std::erase_if(found.entries,
                  [&](const EntryPtr& e) { return !matches(*e, request.labels, request.fields); });
  auto all = std::make_shared<const std::vector<EntryPtr>>(std::move(found.entries));
  return cut_page(query, std::move(all), 0, found.revision, request);
}

Result<ListPage> RegistryImpl::next_page(const std::string& query, const std::string& prefix,
                                         const ListRequest& request) const {
  const ContinueToken token = TRY(decode_continue(request.continue_token));
  if (!token.last_key.starts_with(prefix))
    return Error{Code::BadRequest, "continue key is not valid"};
  const auto all = pages_.get(query, token.revision, clock_.steady_now());
  if (!all)
    return Error{
        Code::Expired,
        "The provided continue parameter is too old to display a consistent list result. You must "
        "start a new list without the continue parameter."};
  const auto after = std::upper_bound(
      all->begin(), all->end(), token.last_key,
      [](const std::string& key, const EntryPtr& entry) { return key < entry->key; });
  return cut_page(query, all, static_cast<std::size_t>(after - all->begin()), token.revision,
                  request);
}

ListPage RegistryImpl::cut_page(const std::string& query, PageCache::Entries all, std::size_t from,
                                Revision revision, const ListRequest& request) const {
  ListPage page;
  page.revision = revision;
  const std::size_t rest = all->size() - from;
  const std::size_t count = request.limit == 0 ? rest : std::min(rest, request.limit);
  const auto first = all->begin() + static_cast<std::ptrdiff_t>(from);
  page.entries.assign(first, first + static_cast<std::ptrdiff_t>(count));
  if (count == rest) return page;
  page.continue_token = encode_continue({revision, page.entries.back()->key});
  if (request.labels.empty() && request.fields.empty()) page.remaining = rest - count;
  pages_.put(query, revision, std::move(all), clock_.steady_now());
  return page;
}

Result<std::unique_ptr<StoreWatch>> RegistryImpl::watch(const ResourceKind& kind,
                                                        const std::string& ns, Revision from) {
  return store_.watch(storage_prefix(kind.resource, ns), from);
}

}  // namespace coracle
