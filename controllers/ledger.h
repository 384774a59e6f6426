// Ledger: what a controller wrote and its cache does not show yet. Objects in it are read live, so
// that no decision is taken twice because the cache lags behind. Used by one thread.
#pragma once

#include <coracle/client.h>
#include <coracle/informer.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace coracle {

template <typename T>
class Ledger {
 public:
  using Ptr = std::shared_ptr<const T>;
  Ledger(Client& client, Resource resource, const Informer<T>& cache)
      : client_(client), resource_(std::move(resource)), cache_(cache) {}

  // On behalf of `owner` the object was created or changed; as the API answered.
  void wrote(const ObjectKey& owner, const Object& object) {
    entries_[owner][object.key()] = {object.uid(), object.revision()};
  }
  // The object's deletion was asked for.
  void removed(const ObjectKey& owner, const T& object) {
    const auto left = client_.get(resource_, object.meta.key());
    const bool there = left && left->uid() == object.meta.uid;
    entries_[owner][object.meta.key()] = {
        object.meta.uid, there ? left->revision() : std::numeric_limits<Revision>::max()};
  }
  void forget(const ObjectKey& owner) { entries_.erase(owner); }

  // `cached` as it is with what was written for the owner.
  Result<std::vector<Ptr>> refresh(const ObjectKey& owner, std::vector<Ptr> cached) {
    const auto mine = entries_.find(owner);
    if (mine == entries_.end()) return cached;
    for (auto it = mine->second.begin(); it != mine->second.end();) {
      const ObjectKey& key = it->first;
      const Entry& entry = it->second;
      const Ptr shown = cache_.get(key);
      if (shown != nullptr && shown->meta.uid == entry.uid &&
          shown->meta.revision >= entry.revision) {
        replace(cached, entry.uid, shown);  // `cached` is a moment older
        it = mine->second.erase(it);
        continue;
      }
      const Ptr live = TRY(look_up(key, entry.uid));
      replace(cached, entry.uid, live);
      const bool over = live == nullptr && (shown == nullptr || shown->meta.uid != entry.uid);
      it = over ? mine->second.erase(it) : std::next(it);
    }
    if (mine->second.empty()) entries_.erase(mine);
    return cached;
  }

 private:
  struct Entry {
    std::string uid;
    Revision revision = 0;  // what the cache must have reached
  };

  static void replace(std::vector<Ptr>& objects, const std::string& uid, const Ptr& now) {
    std::erase_if(objects, [&](const Ptr& p) { return p->meta.uid == uid; });
    if (now != nullptr) objects.push_back(now);
  }

  // Null when it is gone.
  Result<Ptr> look_up(const ObjectKey& key, const std::string& uid) {
    const auto live = client_.get(resource_, key);
    if (!live && !is_not_found(live.error())) return live.error();
    if (!live || live->uid() != uid) return Ptr();
    return Ptr(std::make_shared<const T>(TRY(T::decode(*live))));
  }

  Client& client_;
  const Resource resource_;
  const Informer<T>& cache_;
  std::map<ObjectKey, std::map<ObjectKey, Entry>> entries_;  // by owner
};

}  // namespace coracle
