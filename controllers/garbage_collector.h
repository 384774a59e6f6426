// Deletes objects whose owners are gone, and carries out foreground and orphan deletion.
#pragma once

#include <coracle/events.h>
#include <coracle/informer.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controller.h"
#include "metadata.h"

namespace coracle {

// What is known of an object's owners.
struct OwnerFindings {
  std::vector<OwnerReference> solid;     // exist
  std::vector<OwnerReference> dangling;  // do not
  std::vector<OwnerReference> waiting;   // are being deleted and wait for their dependents
};
enum class GarbageAction { Keep, DropReferences, Delete, DeleteInForeground };
// Pure: one living owner keeps an object.
GarbageAction garbage_action(const OwnerFindings& owners, bool has_dependents);

// The metadata of every object that can own or be owned, by kind.
class OwnerGraph {
 public:
  struct Item {
    const Resource* resource = nullptr;
    std::shared_ptr<const Metadata> object;
  };
  explicit OwnerGraph(Client& client);
  // Called with the queue key of an object that needs a look.
  void on_change(const std::function<void(const ObjectKey& key)>& enqueue);
  void start();
  void stop();
  bool wait_synced(std::chrono::steady_clock::time_point deadline) const;

  static ObjectKey queue_key(const Resource& resource, const ObjectKey& key);
  std::optional<Item> find(const ObjectKey& queue_key) const;
  std::optional<Item> find_uid(const std::string& uid) const;
  std::vector<Item> dependents(const std::string& uid) const;
  // The kind an owner reference names; nullptr when it is not served.
  const Resource* resource_of(const OwnerReference& owner) const;
  Informer<Metadata>& cache(const Resource& resource) const;

 private:
  struct Kind {
    Resource resource;
    std::unique_ptr<Informer<Metadata>> cache;
  };
  std::vector<Kind> kinds_;
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
  Result<void> delete_dependents(const Item& owner);
  Result<void> orphan_dependents(const Item& owner);
  Result<void> drop_references(const Item& item, const std::set<std::string>& uids);
  Result<void> drop_finalizer(const Item& item, const std::string& finalizer);
  Result<void> remove(const Item& item, const std::string& policy);
  Result<void> patch(const Item& item, Json metadata);

  Client& client_;
  const OwnerGraph& graph_;
  EventRecorder& events_;
};

}  // namespace coracle
