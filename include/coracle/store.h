// The Store contract: bytes under keys with revisions, compare-and-swap and watches. It knows
// nothing of Kubernetes and assumes only what etcd also gives: the store assigns revisions, and
// other writers may exist. Every method is thread-safe. Implementations: store/sqlite_store.h
// (durable), store/memory_store.h (reference).
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace coracle {

// Ephemeral entries live in memory only: they vanish when the store closes and never touch the
// disk.
enum class Durability { Durable, Ephemeral };

// One key's present state. Immutable once published and shared by all readers and watchers.
struct Entry {
  std::string key;
  std::string value;  // as the decorator made it
  Revision create_revision = 0;
  Revision mod_revision = 0;
  Durability durability = Durability::Durable;
};
using EntryPtr = std::shared_ptr<const Entry>;

struct StoreEvent {
  enum class Type { Put, Delete };
  Type type = Type::Put;
  Revision revision = 0;
  EntryPtr entry;  // the state after; for Delete the last value, re-decorated with the deletion's
                   // revision
  EntryPtr previous;  // the state before, nullptr when the key was created
};

// Stamps a revision into a value before it is published (the API server puts resourceVersion
// there). Called once per committed write and per entry loaded at start, from one thread at a time.
// Must be idempotent: stamping a stamped value replaces the earlier stamp. The durable bytes are
// those the writer gave.
using Decorator = std::function<std::string(std::string_view value, Revision revision)>;

struct ListQuery {
  std::string prefix = {};       // keys that start with it, in key order
  std::string start_after = {};  // only keys greater than this one; "" = from the start
  std::size_t limit = 0;         // 0 = all
  Revision at = 0;               // the state as of this revision; 0 = the newest
};
struct ListResult {
  std::vector<EntryPtr> entries;
  Revision revision = 0;      // the list is exactly the state at this revision
  bool more = false;          // the limit cut it
  std::size_t remaining = 0;  // how many more match
};

struct PutOptions {
  Durability durability = Durability::Durable;
};

// A stream of events in revision order, each exactly once. Closing (destroying) it frees its queue.
class StoreWatch {
 public:
  virtual ~StoreWatch() = default;
  // Waits for events and takes all that wait, at most until the deadline (then an empty vector) or
  // until stop is requested (empty too). Expired: this watcher fell behind its bounded queue, or
  // the store closed; the watch is over. One caller at a time.
  virtual Result<std::vector<StoreEvent>> next(std::chrono::steady_clock::time_point deadline,
                                               const std::stop_token& stop) = 0;
  // `wake` is called whenever next() has something to give that it had not before, and at once if
  // it has. By the thread that publishes, under its locks: it must only take note. It replaces an
  // earlier one; none is called once the watch is destroyed. Thread-safe.
  virtual void on_event(std::function<void()> wake) = 0;
  // Every event up to this revision has been handed out or did not match: a bookmark. Thread-safe.
  virtual Revision progress() const = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  // NotFound.
  virtual Result<EntryPtr> get(std::string_view key) const = 0;
  // With a revision: Expired when it is older than the history that is kept, BadRequest when it is
  // yet to come.
  virtual Result<ListResult> list(const ListQuery& query) const = 0;

  // Writes return when the write is durable (or, Ephemeral, in memory) and visible to every reader,
  // with the published entry. Internal: the write failed and did not happen (a full disk names
  // itself). create: AlreadyExists.
  virtual Result<EntryPtr> create(std::string key, std::string value, PutOptions options) = 0;
  // update: NotFound; Conflict when the key's mod_revision is not `expected`. Durability stays as
  // created, or changes to options.durability.
  virtual Result<EntryPtr> update(std::string key, std::string value, Revision expected,
                                  PutOptions options) = 0;
  // remove: NotFound; Conflict when `expected` is given and differs. Returns the last state,
  // re-decorated with the deletion's revision (its mod_revision).
  virtual Result<EntryPtr> remove(std::string key, std::optional<Revision> expected) = 0;

  // Events with revision > from and key starting with prefix. Expired when `from` is older than the
  // ring; BadRequest when it lies in the future. Subscribe-then-read-ring: nothing lost, nothing
  // twice.
  virtual Result<std::unique_ptr<StoreWatch>> watch(std::string prefix, Revision from) = 0;

  // The newest published revision. Never goes back, not across restarts either.
  virtual Revision revision() const = 0;
};

}  // namespace coracle
