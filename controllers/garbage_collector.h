// Deletes objects whose owners are gone, and carries out foreground and orphan deletion.
#pragma once

#include <coracle/events.h>
#include <coracle/informer.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controller.h"

namespace coracle {

// What is known of an object's owners.
struct OwnerFindings {
  std::vector<OwnerReference> solid;     // exist
  std::vector<OwnerReference> dangling;  // do not
  std::vector<OwnerReference> waiting;   // are being deleted and wait for their dependents
  std::vector<OwnerReference> left;      // are gone, and left their dependents behind as orphans
};
enum class GarbageAction { Keep, DropReferences, Delete, DeleteInForeground };
// Pure: one living owner keeps an object, and so does having been left by all the others.
GarbageAction garbage_action(const OwnerFindings& owners, bool has_dependents);

// The metadata of every object that can own or be owned, by kind.
class OwnerGraph {
 public:
  using MetaPtr = std::shared_ptr<const Meta>;
  struct Item {
    const Resource* resource = nullptr;
    MetaPtr object;
  };
  // What it has of a kind, whatever else the kind's cache keeps for others.
  class Kind {
   public:
    explicit Kind(Resource its) : resource(std::move(its)) {}
    virtual ~Kind() = default;
    using Listener = std::function<void(const ObjectKey&, const MetaPtr& old, const MetaPtr& now)>;
    virtual void on_change(Listener listener) = 0;
    virtual MetaPtr get(const ObjectKey& key) const = 0;
    virtual std::vector<MetaPtr> by_index(const std::string& name,
                                          const std::string& value) const = 0;
    const Resource resource;
  };

  // Takes the kind in. The cache is the caller's: it starts and stops it, and keeps it for as long
  // as the graph is used. REQUIRES: before the cache starts.
  template <typename T>
  void add(const Resource& resource, Informer<T>& cache) {
    cache.add_index("owner", [](const T& object) {
      std::vector<std::string> out;
      for (const OwnerReference& owner : object.meta.owners) out.push_back(owner.uid);
      return out;
    });
    cache.add_index("uid", [](const T& object) { return std::vector{object.meta.uid}; });
    kinds_.push_back(std::make_unique<KindOf<T>>(resource, cache));
  }
  // Called with the queue key of an object that needs a look.
  void on_change(const std::function<void(const ObjectKey& key)>& enqueue);

  static ObjectKey queue_key(const Resource& resource, const ObjectKey& key);
  std::optional<Item> find(const ObjectKey& queue_key) const;
  std::optional<Item> find_uid(const std::string& uid) const;
  std::vector<Item> dependents(const std::string& uid) const;
  // Every kind, as it was taken in.
  std::vector<const Resource*> resources() const;
  // The kind an owner reference names; nullptr when it is not served.
  const Resource* resource_of(const OwnerReference& owner) const;

 private:
  template <typename T>
  class KindOf : public Kind {
   public:
    KindOf(const Resource& its, Informer<T>& cache) : Kind(its), cache_(cache) {}
    void on_change(Listener listener) override {
      cache_.on_change_values(
          [listener = std::move(listener)](const ObjectKey& key, const auto& old, const auto& now) {
            listener(key, meta_of(old), meta_of(now));
          });
    }
    MetaPtr get(const ObjectKey& key) const override { return meta_of(cache_.get(key)); }
    std::vector<MetaPtr> by_index(const std::string& name,
                                  const std::string& value) const override {
      std::vector<MetaPtr> out;
      for (const auto& object : cache_.by_index(name, value)) out.push_back(meta_of(object));
      return out;
    }

   private:
    static MetaPtr meta_of(const std::shared_ptr<const T>& object) {
      return object == nullptr ? nullptr : MetaPtr(object, &object->meta);
    }
    Informer<T>& cache_;
  };
  std::vector<std::unique_ptr<Kind>> kinds_;
};

// Keys: those of OwnerGraph.
class GarbageCollector : public Reconciler {
 public:
  GarbageCollector(Client& client, const OwnerGraph& graph, EventRecorder& events)
      : client_(client), graph_(graph), events_(events) {}
  Result<Again> reconcile(const ObjectKey& key) override;

 private:
  using Item = OwnerGraph::Item;
  Result<OwnerFindings> examine(const Item& item);
  Result<bool> exists(const Item& dependent, const OwnerReference& owner, bool& waiting);
  Result<void> collect(const Item& item, const OwnerFindings& owners);
  Result<std::vector<Item>> live_dependents(const Item& owner);
  Result<bool> has_dependents(const Item& item);
  Result<void> delete_dependents(const Item& owner);
  Result<bool> delete_each(const std::vector<Item>& dependents, const std::string& owner_uid);
  Result<void> orphan_dependents(const Item& owner);
  Result<void> drop_references(const Item& item, const std::set<std::string>& uids);
  Result<void> drop_finalizer(const Item& item, const std::string& finalizer);
  Result<void> remove(const Item& item, const std::string& policy);
  Result<void> patch(const Item& item, Json metadata);

  Client& client_;
  const OwnerGraph& graph_;
  EventRecorder& events_;
  // Uids of the last owners that left orphans: who was adopted by one of them just then, by a
  // controller that did not know yet, is an orphan as well.
  std::deque<std::string> left_;
};

}  // namespace coracle
