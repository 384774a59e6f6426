// The Store contract in memory: the reference model for SqliteStore and the store of tests.
#include <coracle/stores.h>

#include <mutex>

#include "key_space.h"

namespace coracle {
namespace {

class MemoryStore final : public Store {
 public:
  explicit MemoryStore(Decorator decorate) : keys_({}, 1, std::move(decorate)) {}

  Result<EntryPtr> get(std::string_view key) const override { return keys_.get(key); }
  Result<ListResult> list(const ListQuery& query) const override { return keys_.list(query); }
  Result<EntryPtr> create(std::string key, std::string value, PutOptions options) override {
    return write(
        {WriteOperation::Type::Create, std::move(key), std::move(value), {}, options.durability});
  }
  Result<EntryPtr> update(std::string key, std::string value, Revision expected,
                          PutOptions options) override {
    return write({WriteOperation::Type::Update, std::move(key), std::move(value), expected,
                  options.durability});
  }
  Result<EntryPtr> remove(std::string key, std::optional<Revision> expected) override {
    return write({WriteOperation::Type::Remove, std::move(key), {}, expected});
  }
  Result<std::unique_ptr<StoreWatch>> watch(std::string prefix, Revision from) override {
    return keys_.watch(std::move(prefix), from);
  }
  Revision revision() const override { return keys_.revision(); }

 private:
  Result<EntryPtr> write(const WriteOperation& operation) {
    const std::lock_guard lock(writer_);
    KeySpace::Overlay overlay;
    const StoreEvent event = TRY(keys_.plan(operation, keys_.revision() + 1, overlay));
    keys_.publish({event});
    return event.entry;
  }

  std::mutex writer_;  // one write at a time
  KeySpace keys_;
};

}  // namespace

std::unique_ptr<Store> open_memory_store(Decorator decorate) {
  return std::make_unique<MemoryStore>(std::move(decorate));
}

}  // namespace coracle
