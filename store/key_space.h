// The present state both stores keep in memory: entries by key, the revision, and the hub that
// tells watchers. Planning a write is pure; publishing makes a batch of planned writes visible at
// once. Thread-safe.
#pragma once

#include <coracle/store.h>

#include <map>
#include <optional>
#include <shared_mutex>

#include "watch_hub.h"

namespace coracle {

struct WriteOperation {
  enum class Type { Create, Update, Remove };
  Type type = Type::Create;
  std::string key;
  std::string value;
  std::optional<Revision> expected;
  Durability durability = Durability::Durable;
};

class KeySpace {
 public:
  using Entries = std::map<std::string, EntryPtr, std::less<>>;
  // Changes planned in a batch and not yet published; nullptr = removed.
  using Overlay = std::map<std::string, EntryPtr, std::less<>>;

  KeySpace(Entries entries, Revision revision, Decorator decorate);

  Result<EntryPtr> get(std::string_view key) const;
  Result<ListResult> list(const ListQuery& query) const;
  Revision revision() const;
  Result<std::unique_ptr<StoreWatch>> watch(std::string prefix, Revision from);

  // What the operation would do at `revision`, given the state with the overlay on top; adds to the
  // overlay.
  Result<StoreEvent> plan(const WriteOperation& operation, Revision revision,
                          Overlay& overlay) const;
  // Events in revision order, as planned.
  void publish(const std::vector<StoreEvent>& events);

 private:
  EntryPtr find(const std::string& key, const Overlay& overlay) const;
  std::string decorated(std::string_view value, Revision revision) const;

  const Decorator decorate_;
  mutable std::shared_mutex mutex_;
  // Guarded by mutex_.
  Entries entries_;
  Revision revision_;
  mutable WatchHub hub_;
};

}  // namespace coracle
