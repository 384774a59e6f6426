// The one Registry. Private to registry*.cc: reads in registry.cc, writes in registry_write.cc,
// deletions in registry_delete.cc.
#pragma once

#include <coracle/mutex.h>

#include <atomic>
#include <map>
#include <shared_mutex>

#include "registry.h"
#include "registry_pages.h"

namespace coracle {

class RegistryImpl : public Registry {
 public:
  explicit RegistryImpl(Options options);
  // Gives stored objects' allocations back to the kinds' allocators.
  Result<void> rebuild_allocations();

  const std::vector<ResourceKind>& kinds() const override { return kinds_; }
  const ResourceKind* find(std::string_view group, std::string_view version,
                           std::string_view plural) const override;
  Result<EntryPtr> get(const ResourceKind& kind, const ObjectKey& key) const override;
  Result<ListPage> list(const ResourceKind& kind, const ListRequest& request) const override;
  Result<std::unique_ptr<StoreWatch>> watch(const ResourceKind& kind, const std::string& ns,
                                            Revision from) override;
  Revision revision() const override { return store_.revision(); }
  Result<void> await_revision(Revision wanted) const override;
  Result<Json> create(const ResourceKind& kind, const std::string& ns, Json object,
                      const WriteOptions& options) override;
  Result<Json> update(const ResourceKind& kind, const ObjectKey& key,
                      const std::string& subresource, Json object,
                      const WriteOptions& options) override;
  Result<Json> patch(const ResourceKind& kind, const ObjectKey& key, const std::string& subresource,
                     const PatchRequest& request, const WriteOptions& options,
                     const std::function<Result<void>(Json& patched)>& decode) override;
  Result<Removed> remove(const ResourceKind& kind, const ObjectKey& key,
                         const DeleteOptions& options, const WriteOptions& write) override;

 private:
  // What to store instead of the object as it is, which carries its resourceVersion.
  using Mutate = std::function<Result<Json>(const Json& current)>;
  struct Target {
    const ResourceKind& kind;
    const ObjectKey& key;
    const std::string& subresource;
    const WriteOptions& options;
  };

  // registry_list.cc
  Result<ListPage> next_page(const std::string& query, const std::string& prefix,
                             const ListRequest& request) const;
  Result<ListResult> matching(const ListQuery& query, const ListRequest& request) const;
  ListPage cut_page(const std::string& query, PageCache::Entries all, std::size_t from,
                    Revision revision, const ListRequest& request) const;

  // registry_write.cc
  Result<void> check_namespace(const ResourceKind& kind, const std::string& ns,
                               const std::string& name) const;
  Result<void> begin_create(const ResourceKind& kind, const std::string& ns, Json& object) const;
  Result<Json> store_new(const ResourceKind& kind, Json object, const WriteOptions& options);
  Result<Json> write(const Target& target, const Mutate& mutate);
  // nullopt: somebody else wrote first.
  Result<std::optional<Json>> write_once(const Target& target, const EntryPtr& entry,
                                         const Mutate& mutate);
  Result<std::optional<Json>> store_changed(const Target& target, const Entry& entry,
                                            const Json& old, Json next);
  Result<Json> merge_update(const Target& target, Json next, const Json& old) const;
  Result<Json> bind(const ResourceKind& kind, const ObjectKey& key, const Json& binding,
                    const WriteOptions& options);

  // After a write that succeeded: what is kept for a while only, and what of it is to go.
  void keep(const ResourceKind& kind, const Entry& written);
  void remove_outlived();

  // registry_delete.cc
  Result<std::optional<Removed>> remove_once(const ResourceKind& kind, const ObjectKey& key,
                                             const DeleteOptions& options,
                                             const WriteOptions& write);
  // Releases what the object held. `old` is what was removed.
  static void release(const ResourceKind& kind, const Json& old);

  Store& store_;
  const Clock& clock_;
  std::vector<ResourceKind> kinds_;
  std::map<const ResourceKind*, RetentionQueue> kept_;  // of the kinds with a retention
  const std::chrono::milliseconds catch_up_;
  const ResourceKind* namespaces_ = nullptr;
  mutable PageCache pages_;
  mutable std::atomic<int> waiters_{0};  // in await_revision
  // Creations share it, setting a namespace Terminating takes it alone: no creation that saw the
  // namespace alive can land after the namespace was found empty.
  mutable std::shared_mutex namespace_gate_;
};

// Documents as they are stored: without resourceVersion, which the store's decorator stamps in.
Json decode_entry(const Entry& entry);
std::string encode_object(const Json& object);
// TooLarge above 3 MiB: by many patches an object could grow past what one request can bring.
Result<std::string> encode_bounded(const Json& object);
Json with_revision(Json object, Revision revision);
// True when nothing holds the object any more: it is being deleted, its grace period is over, no
// finalizers.
bool deletion_complete(const Json& object);

}  // namespace coracle
