// Lists: at the newest revision, at an exact one, and in pages that all show the same one.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "registry_errors.h"
#include "registry_impl.h"
#include "watch_filter.h"

namespace coracle {
namespace {

constexpr int kMostWaiters = 8;  // each holds a thread

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

Result<void> RegistryImpl::await_revision(Revision wanted) const {
  Revision current = store_.revision();
  if (current >= wanted) return {};
  const bool waits = waiters_.fetch_add(1) < kMostWaiters;
  const auto deadline = std::chrono::steady_clock::now() + catch_up_;
  const auto watch = store_.watch("", current);
  // An event is published with its revision, so none is missed by asking for both in turn.
  while (waits && watch && current < wanted && std::chrono::steady_clock::now() < deadline) {
    const auto events = (*watch)->next(deadline, std::stop_token());
    current = store_.revision();
    if (!events) break;
  }
  waiters_.fetch_sub(1);
  if (current >= wanted) return {};
  return too_large_revision(wanted, current);
}

Result<ListPage> RegistryImpl::list(const ResourceKind& kind, const ListRequest& request) const {
  TRY(check_fields(kind, request.fields));
  TRY(await_revision(std::max(request.at_least, request.exact)));
  std::string prefix = storage_prefix(kind.resource, request.ns);
  const std::string query =
      prefix + "\n" + request.labels.to_string() + "\n" + request.fields.to_string();
  if (!request.continue_token.empty()) return next_page(query, prefix, request);
  // `kubectl delete` and `wait` list by name: that need not look at every object of the kind.
  if (!kind.resource.namespaced || !request.ns.empty()) prefix += pinned_name(request.fields);
  auto found = matching({.prefix = prefix, .at = request.exact}, request);
  if (!found && is_expired(found.error()))
    return Error{Code::Expired, "The resourceVersion for the provided list is too old."};
  if (!found) return found.error();
  auto all = std::make_shared<const std::vector<EntryPtr>>(std::move(found->entries));
  return cut_page(query, std::move(all), 0, found->revision, request);
}

Result<ListResult> RegistryImpl::matching(const ListQuery& query,
                                          const ListRequest& request) const {
  ListResult found = TRY(store_.list(query));
  if (!request.labels.empty() || !request.fields.empty())
    std::erase_if(found.entries,
                  [&](const EntryPtr& e) { return !matches(*e, request.labels, request.fields); });
  return found;
}

Result<ListPage> RegistryImpl::next_page(const std::string& query, const std::string& prefix,
                                         const ListRequest& request) const {
  ContinueToken token = TRY(decode_continue(request.continue_token));
  if (!token.last_key.starts_with(prefix))
    return Error{Code::BadRequest, "continue key is not valid"};
  auto all = pages_.get(query, token.revision, clock_.steady_now());
  if (!all) {
    const Revision at = token.revision == kNewest ? 0 : token.revision;
    auto found = matching({.prefix = prefix, .at = at}, request);
    if (!found)
      return Error{Code::Expired,
                   "The provided continue parameter is too old to display a consistent list "
                   "result. Start a new list without it, or go on with the token in this answer: "
                   "what is listed then may not fit what was listed before."};
    token.revision = found->revision;
    all = std::make_shared<const std::vector<EntryPtr>>(std::move(found->entries));
  }
  const auto after = std::upper_bound(
      all->begin(), all->end(), token.last_key,
      [](const std::string& key, const EntryPtr& entry) { return key < entry->key; });
  const auto from = static_cast<std::size_t>(after - all->begin());
  return cut_page(query, std::move(all), from, token.revision, request);
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

}  // namespace coracle
