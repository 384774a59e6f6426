#include <algorithm>

#include "garbage_collector.h"

namespace coracle {
namespace {

std::vector<Resource> owning_resources() {
  return {resources::kNamespaces, resources::kNodes,     resources::kPods,
          resources::kServices,   resources::kEndpoints, resources::kEndpointSlices,
          resources::kConfigMaps, resources::kSecrets,   resources::kServiceAccounts,
          resources::kLeases};
}

std::string group_of(const std::string& api_version) {
  const auto slash = api_version.find('/');
  return slash == std::string::npos ? "" : api_version.substr(0, slash);
}

bool awaits_collector(const Metadata& object) {
  const auto& finalizers = object.meta.finalizers;
  return object.meta.deleting() &&
         std::any_of(finalizers.begin(), finalizers.end(), [](const std::string& f) {
           return f == "foregroundDeletion" || f == "orphan";
         });
}

}  // namespace

OwnerGraph::OwnerGraph(Client& client) {
  for (const Resource& resource : owning_resources()) {
    Kind kind{resource, std::make_unique<Informer<Metadata>>(client, resource)};
    kind.cache->add_index("owner", [](const Metadata& m) {
      std::vector<std::string> out;
      for (const OwnerReference& owner : m.meta.owners) out.push_back(owner.uid);
      return out;
    });
    kind.cache->add_index("uid",
                          [](const Metadata& m) { return std::vector<std::string>{m.meta.uid}; });
    kinds_.push_back(std::move(kind));
  }
}

void OwnerGraph::on_change(const std::function<void(const ObjectKey& key)>& enqueue) {
  for (const Kind& kind : kinds_) {
    kind.cache->on_change_values(
        [this, enqueue, &kind](const ObjectKey& key, const auto& old, const auto& now) {
          if (now != nullptr && (!now->meta.owners.empty() || awaits_collector(*now)))
            enqueue(queue_key(kind.resource, key));
          const auto& any = now != nullptr ? now : old;
          // An owner that goes concerns its dependents; a dependent that goes, owners that wait for
          // it.
          if (now == nullptr || now->meta.deleting())
            for (const Item& d : dependents(any->meta.uid))
              enqueue(queue_key(*d.resource, d.object->meta.key()));
          if (now == nullptr)
            for (const OwnerReference& owner : any->meta.owners)
              if (const auto found = find_uid(owner.uid))
                enqueue(queue_key(*found->resource, found->object->meta.key()));
        });
  }
}

void OwnerGraph::start() {
  for (const Kind& kind : kinds_) kind.cache->start();
}

void OwnerGraph::stop() {
  for (const Kind& kind : kinds_) kind.cache->stop();
}

bool OwnerGraph::wait_synced(std::chrono::steady_clock::time_point deadline) const {
  return std::all_of(kinds_.begin(), kinds_.end(),
                     [&](const Kind& kind) { return kind.cache->wait_synced(deadline); });
}

ObjectKey OwnerGraph::queue_key(const Resource& resource, const ObjectKey& key) {
  return {resource.group + "/" + resource.plural, key.ns + "/" + key.name};
}

std::optional<OwnerGraph::Item> OwnerGraph::find(const ObjectKey& key) const {
  for (const Kind& kind : kinds_) {
    if (kind.resource.group + "/" + kind.resource.plural != key.ns) continue;
    const auto slash = key.name.find('/');
    if (slash == std::string::npos) return std::nullopt;
    auto object = kind.cache->get({key.name.substr(0, slash), key.name.substr(slash + 1)});
    if (object == nullptr) return std::nullopt;
    return Item{&kind.resource, std::move(object)};
  }
  return std::nullopt;
}

std::optional<OwnerGraph::Item> OwnerGraph::find_uid(const std::string& uid) const {
  for (const Kind& kind : kinds_) {
    auto found = kind.cache->by_index("uid", uid);
    if (!found.empty()) return Item{&kind.resource, std::move(found.front())};
  }
  return std::nullopt;
}

std::vector<OwnerGraph::Item> OwnerGraph::dependents(const std::string& uid) const {
  std::vector<Item> out;
  for (const Kind& kind : kinds_)
    for (auto& object : kind.cache->by_index("owner", uid))
      out.push_back({&kind.resource, std::move(object)});
  return out;
}

const Resource* OwnerGraph::resource_of(const OwnerReference& owner) const {
  for (const Kind& kind : kinds_)
    if (kind.resource.kind == owner.kind && kind.resource.group == group_of(owner.api_version))
      return &kind.resource;
  return nullptr;
}

Informer<Metadata>& OwnerGraph::cache(const Resource& resource) const {
  const auto kind = std::find_if(kinds_.begin(), kinds_.end(),
                                 [&](const Kind& k) { return k.resource == resource; });
  return *kind->cache;
}

}  // namespace coracle
