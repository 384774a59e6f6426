#include <algorithm>

#include "garbage_collector.h"

namespace coracle {
namespace {

std::string group_of(const std::string& api_version) {
  const auto slash = api_version.find('/');
  return slash == std::string::npos ? "" : api_version.substr(0, slash);
}

bool awaits_collector(const Meta& object) {
  const auto& finalizers = object.finalizers;
  return object.deleting() &&
         std::any_of(finalizers.begin(), finalizers.end(), [](const std::string& f) {
           return f == "foregroundDeletion" || f == "orphan";
         });
}

}  // namespace

void OwnerGraph::on_change(const std::function<void(const ObjectKey& key)>& enqueue) {
  for (const auto& kind : kinds_) {
    const Resource& resource = kind->resource;
    kind->on_change(
        [this, enqueue, &resource](const ObjectKey& key, const auto& old, const auto& now) {
          if (now != nullptr && (!now->owners.empty() || awaits_collector(*now)))
            enqueue(queue_key(resource, key));
          const auto& any = now != nullptr ? now : old;
          // An owner that goes concerns its dependents; a dependent that goes, owners that wait for
          // it.
          if (now == nullptr || now->deleting())
            for (const Item& d : dependents(any->uid))
              enqueue(queue_key(*d.resource, d.object->key()));
          if (now == nullptr)
            for (const OwnerReference& owner : any->owners)
              if (const auto found = find_uid(owner.uid))
                enqueue(queue_key(*found->resource, found->object->key()));
        });
  }
}

ObjectKey OwnerGraph::queue_key(const Resource& resource, const ObjectKey& key) {
  return {resource.group + "/" + resource.plural, key.ns + "/" + key.name};
}

std::optional<OwnerGraph::Item> OwnerGraph::find(const ObjectKey& key) const {
  for (const auto& kind : kinds_) {
    if (kind->resource.group + "/" + kind->resource.plural != key.ns) continue;
    const auto slash = key.name.find('/');
    if (slash == std::string::npos) return std::nullopt;
    auto object = kind->get({key.name.substr(0, slash), key.name.substr(slash + 1)});
    if (object == nullptr) return std::nullopt;
    return Item{&kind->resource, std::move(object)};
  }
  return std::nullopt;
}

std::optional<OwnerGraph::Item> OwnerGraph::find_uid(const std::string& uid) const {
  for (const auto& kind : kinds_) {
    auto found = kind->by_index("uid", uid);
    if (!found.empty()) return Item{&kind->resource, std::move(found.front())};
  }
  return std::nullopt;
}

std::vector<OwnerGraph::Item> OwnerGraph::dependents(const std::string& uid) const {
  std::vector<Item> out;
  for (const auto& kind : kinds_)
    for (auto& object : kind->by_index("owner", uid))
      out.push_back({&kind->resource, std::move(object)});
  return out;
}

std::vector<const Resource*> OwnerGraph::resources() const {
  std::vector<const Resource*> out;
  for (const auto& kind : kinds_) out.push_back(&kind->resource);
  return out;
}

const Resource* OwnerGraph::resource_of(const OwnerReference& owner) const {
  for (const auto& kind : kinds_)
    if (kind->resource.kind == owner.kind && kind->resource.group == group_of(owner.api_version))
      return &kind->resource;
  return nullptr;
}

}  // namespace coracle
