// Ledger: what a controller wrote and its cache does not show yet. Objects in it are read live, so
// that no decision is taken twice because the cache lags behind. Owners are known by their keys, so
// that what the last one of a name wrote counts for the next. Used by one thread.
#pragma once

#include <coracle/client.h>
#include <coracle/informer.h>
#include <coracle/labels.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace coracle {

// Until a cache is expected to show what was written.
inline constexpr std::chrono::milliseconds kLedgerPause{50};

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

  // For an owner that is gone: whether something is left that the cache does not show, so that this
  // has to be asked again.
  Result<bool> outlives(const ObjectKey& owner) {
    TRY(refresh(owner, {}));
    return entries_.contains(owner);
  }
  // `cached` as it is with what matches the selector as it is now: for an owner that has just come,
  // when the cache may still show that as somebody else's, or not at all.
  Result<std::vector<Ptr>> look(const std::string& ns, const LabelSelector& selector,
                                std::vector<Ptr> cached) {
    std::erase_if(
        cached, [&](const Ptr& p) { return p->meta.ns == ns && selector.matches(p->meta.labels); });
    const auto live = TRY(client_.list(resource_, {.ns = ns}));
    for (const Object& object : live.items)
      if (selector.matches(object.meta().labels))
        replace(cached, object.uid(), std::make_shared<const T>(TRY(T::decode(object))));
    return cached;
  }

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
