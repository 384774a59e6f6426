#include "key_space.h"

#include <mutex>

namespace coracle {
namespace {

Error conflict(const std::string& key, Revision expected, Revision actual) {
  return {Code::Conflict,
          key + " is at revision " + std::to_string(actual) + ", not " + std::to_string(expected)};
}

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

}  // namespace

KeySpace::KeySpace(Entries entries, Revision revision, Decorator decorate)
    : decorate_(std::move(decorate)),
      entries_(std::move(entries)),
      revision_(revision),
      hub_(revision) {}

std::string KeySpace::decorated(std::string_view value, Revision revision) const {
  return decorate_ ? decorate_(value, revision) : std::string(value);
}

Result<EntryPtr> KeySpace::get(std::string_view key) const {
  const std::shared_lock lock(mutex_);
  const auto it = entries_.find(key);
  if (it == entries_.end()) return Error{Code::NotFound, std::string(key) + " not found"};
  return it->second;
}

Result<ListResult> KeySpace::list(const ListQuery& query) const {
  // Held throughout: what is undone belongs to the entries it is undone from.
  const std::shared_lock lock(mutex_);
  ListResult result;
  result.revision = query.at == 0 ? revision_ : query.at;
  WatchHub::Former former;
  if (query.at != 0) former = TRY(hub_.former(query.prefix, query.at));
  const bool after = !query.start_after.empty() && query.start_after >= query.prefix;
  const auto begin = [&](const auto& map) {
    return after ? map.upper_bound(query.start_after) : map.lower_bound(query.prefix);
  };
  const auto add = [&](const EntryPtr& entry) {
    if (entry == nullptr) return;
    if (query.limit != 0 && result.entries.size() == query.limit) {
      ++result.remaining;
    } else {
      result.entries.push_back(entry);
    }
  };
  auto was = begin(former);
  for (auto it = begin(entries_); it != entries_.end() && starts_with(it->first, query.prefix);
       ++it) {
    for (; was != former.end() && was->first < it->first; ++was) add(was->second);
    const bool changed = was != former.end() && was->first == it->first;
    add(changed ? (was++)->second : it->second);
  }
  for (; was != former.end(); ++was) add(was->second);
  result.more = result.remaining > 0;
  return result;
}

Revision KeySpace::revision() const {
  const std::shared_lock lock(mutex_);
  return revision_;
}

Result<std::unique_ptr<StoreWatch>> KeySpace::watch(std::string prefix, Revision from) {
  return hub_.watch(std::move(prefix), from);
}

EntryPtr KeySpace::find(const std::string& key, const Overlay& overlay) const {
  if (const auto planned = overlay.find(key); planned != overlay.end()) return planned->second;
  const std::shared_lock lock(mutex_);
  const auto it = entries_.find(key);
  return it == entries_.end() ? nullptr : it->second;
}

Result<StoreEvent> KeySpace::plan(const WriteOperation& operation, Revision revision,
                                  Overlay& overlay) const {
  using Type = WriteOperation::Type;
  const EntryPtr before = find(operation.key, overlay);
  if (operation.type == Type::Create) {
    if (before) return Error{Code::AlreadyExists, operation.key + " already exists"};
  } else if (!before) {
    return Error{Code::NotFound, operation.key + " not found"};
  } else if (operation.expected && *operation.expected != before->mod_revision) {
    return conflict(operation.key, *operation.expected, before->mod_revision);
  }
  auto entry = std::make_shared<Entry>();
  entry->key = operation.key;
  entry->mod_revision = revision;
  entry->create_revision = before ? before->create_revision : revision;
  const bool removes = operation.type == Type::Remove;
  entry->durability = removes ? before->durability : operation.durability;
  entry->value = decorated(removes ? before->value : operation.value, revision);
  overlay[operation.key] = removes ? nullptr : entry;
  return StoreEvent{removes ? StoreEvent::Type::Delete : StoreEvent::Type::Put, revision, entry,
                    before};
}

void KeySpace::publish(const std::vector<StoreEvent>& events) {
  if (events.empty()) return;
  // The hub is told under the same lock: whoever hears of an event and then reads finds it.
  const std::unique_lock lock(mutex_);
  for (const StoreEvent& event : events) {
    if (event.type == StoreEvent::Type::Delete) {
      entries_.erase(event.entry->key);
    } else {
      entries_[event.entry->key] = event.entry;
    }
  }
  revision_ = events.back().revision;
  hub_.publish(events);
}

}  // namespace coracle
