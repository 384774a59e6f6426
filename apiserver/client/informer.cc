#include <coracle/informer.h>
#include <coracle/log.h>
#include <coracle/mutex.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>

#include "kept_table.h"

namespace coracle {
namespace {

constexpr std::chrono::milliseconds kRetryMin{50};
constexpr std::chrono::milliseconds kRetryMax{5'000};
constexpr std::chrono::seconds kShortWatch{1};  // one that lasted longer was a healthy one

// Doubles from kRetryMin to kRetryMax, each within ±25 % so that many clients do not march in step.
class Backoff {
 public:
  void reset() { next_ = kRetryMin; }
  std::chrono::milliseconds take() {
    const auto base = next_;
    next_ = std::min(next_ * 2, kRetryMax);
    std::uniform_real_distribution<double> jitter(0.75, 1.25);
    return std::chrono::milliseconds(
        static_cast<std::int64_t>(static_cast<double>(base.count()) * jitter(random_)));
  }

 private:
  std::chrono::milliseconds next_ = kRetryMin;
  std::minstd_rand random_{std::random_device{}()};
};

// Errors after which the last revision still holds: the watch goes on from there.
bool is_passing(const Error& error) {
  return error.code == Code::Unavailable || error.code == Code::Timeout ||
         error.code == Code::TooManyRequests;
}

}  // namespace

class InformerCore::Impl {
 public:
  Impl(Client& client, Resource resource, ListOptions options, Decode decode)
      : client_(client),
        resource_(std::move(resource)),
        options_(std::move(options)),
        decode_(std::move(decode)) {}

  void add_index(const std::string& name, IndexFn index) {
    indexers_[name] = std::move(index);
    indexes_[name];
  }
  void add_listener(Listener listener) { listeners_.push_back(std::move(listener)); }
  void on_synced(std::function<void()> f) { on_synced_.push_back(std::move(f)); }

  void keep(const std::string& path) {
    if (resource_ == resources::kSecrets) return;  // they are not for a disk
    const std::string scope = resource_.api_version() + "/" + resource_.plural + " " + options_.ns +
                              " " + options_.label_selector + " " + options_.field_selector;
    kept_.emplace(path, scope, [this](const Object& object) { return is_current(object); });
  }

  void start() {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    thread_.join();
  }

  bool synced() const {
    const std::lock_guard lock(mutex_);
    return synced_;
  }
  bool filled() const {
    const std::lock_guard lock(mutex_);
    return filled_;
  }
  bool wait_synced(std::chrono::steady_clock::time_point deadline) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [this] { return synced_; });
  }
  bool wait_filled(std::chrono::steady_clock::time_point deadline) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [this] { return filled_; });
  }

  Value get(const ObjectKey& key) const {
    const std::lock_guard lock(mutex_);
    const auto it = cache_.find(key);
    return it == cache_.end() ? nullptr : it->second.value;
  }
  std::vector<Value> list() const {
    const std::lock_guard lock(mutex_);
    std::vector<Value> out;
    out.reserve(cache_.size());
    for (const auto& [key, cached] : cache_) out.push_back(cached.value);
    return out;
  }
  std::vector<Value> by_index(const std::string& name, const std::string& value) const {
    const std::lock_guard lock(mutex_);
    std::vector<Value> out;
    const auto index = indexes_.find(name);
    if (index == indexes_.end()) return out;
    const auto keys = index->second.find(value);
    if (keys == index->second.end()) return out;
    for (const ObjectKey& key : keys->second) out.push_back(cache_.at(key).value);
    return out;
  }

 private:
  struct Cached {
    Value value;
    Revision revision = 0;
    std::string uid;
  };
  using Index = std::unordered_map<std::string, std::set<ObjectKey>>;

  void run(const std::stop_token& stop) {
    load();
    Backoff backoff;
    bool listed = false;
    while (!stop.stop_requested()) {
      const Result<void> done = listed ? follow(stop, backoff) : relist();
      if (kept_) note(kept_->sync());
      if (done) {
        listed = true;
        continue;
      }
      if (stop.stop_requested()) return;
      log::debug("informer", "watching was interrupted, going on",
                 {{"kind", resource_.plural}, {"error", done.error().message}});
      // Anything else (Expired, a revision that the server does not know since it lost its data):
      // start over.
      if (!is_passing(done.error())) listed = false;
      pause(stop, backoff.take());
    }
  }

  void pause(const std::stop_token& stop, std::chrono::milliseconds delay) const {
    std::unique_lock lock(mutex_);
    interrupted_.wait_for(lock, stop, delay, [] { return false; });
  }

  void note(const Result<void>& kept) const {
    if (kept) return;
    log::warn("informer", "what the server says cannot be kept, trying again with the next list",
              {{"kind", resource_.plural}, {"error", kept.error().message}});
  }

  // Nothing of it is written again: the table takes changes from now on only.
  void load() {
    if (!kept_) return;
    const auto lost = kept_->load([this](const Object& object) { put(object); },
                                  [this](const ObjectKey& key) { erase(key); });
    if (!lost && is_not_found(lost.error())) return;
    if (!lost || *lost > 0)
      log::warn("informer",
                lost ? "what was kept is damaged at its end, using what is before it"
                     : "what was kept is not usable, ignoring it",
                {{"kind", resource_.plural},
                 {"error", lost ? std::to_string(*lost) + " bytes" : lost.error().message}});
    if (!lost) return;
    const std::lock_guard lock(mutex_);
    filled_ = true;
    changed_.notify_all();
  }

  bool is_current(const Object& object) const {
    const std::lock_guard lock(mutex_);
    const auto it = cache_.find(object.key());
    return it != cache_.end() && it->second.revision == object.revision() &&
           it->second.uid == object.uid();
  }

  // Makes the cache what the API has now; listeners hear of the differences.
  Result<void> relist() {
    const ObjectList now = TRY(client_.list(resource_, options_));
    if (kept_) (void)kept_->begin_list();
    std::set<ObjectKey> present;
    for (const Object& object : now.items) {
      present.insert(object.key());
      put(object);
    }
    std::vector<ObjectKey> gone;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [key, cached] : cache_)
        if (!present.contains(key)) gone.push_back(key);
    }
    for (const ObjectKey& key : gone) erase(key);
    revision_ = now.revision;
    if (kept_) note(kept_->end_list());
    {
      const std::lock_guard lock(mutex_);
      filled_ = true;
      if (std::exchange(synced_, true)) return {};
      changed_.notify_all();
    }
    for (const auto& f : on_synced_) f();
    return {};
  }

  // One watch, until it ends. The back-off starts afresh only when the watch was of use, so that a
  // server which ends or refuses every watch at once is not asked in a busy loop.
  Result<void> follow(const std::stop_token& stop, Backoff& backoff) {
    const auto opened = std::chrono::steady_clock::now();
    const auto watch = TRY(client_.watch(resource_, options_, revision_));
    bool useful = false;
    while (!stop.stop_requested()) {
      const auto events = watch->next(stop);
      if (events && apply(*events)) useful = true;
      if (kept_) note(kept_->flush());  // after the listeners: disks are slow
      if (std::chrono::steady_clock::now() - opened >= kShortWatch) useful = true;
      if (useful) backoff.reset();
      if (!events) return events.error();
      if (!events->empty()) continue;
      if (!useful) return Error{Code::Unavailable, "the watch ended at once"};
      return {};
    }
    return {};
  }

  // Whether there was more than bookmarks.
  bool apply(const std::vector<WatchEvent>& events) {
    bool any = false;
    for (const WatchEvent& event : events) {
      revision_ = std::max(revision_, event.object.revision());
      if (event.type == WatchEvent::Type::Bookmark) continue;
      any = true;
      if (event.type == WatchEvent::Type::Deleted) {
        erase(event.object.key());
      } else {
        put(event.object);
      }
    }
    return any;
  }

  void put(const Object& object) {
    const ObjectKey key = object.key();
    auto decoded = decode_(object);
    if (!decoded) {
      log::warn("informer", "an object is not usable, ignoring it",
                {{"kind", resource_.plural},
                 {"key", key.to_string()},
                 {"error", decoded.error().message}});
      erase(key);
      return;
    }
    Cached now{*decoded, object.revision(), object.uid()};
    Value old;
    {
      const std::lock_guard lock(mutex_);
      const auto [it, inserted] = cache_.try_emplace(key);
      if (!inserted) {
        if (it->second.revision == now.revision && it->second.uid == now.uid) {
          if (kept_ && kept_->listing()) kept_->put(object);
          return;
        }
        old = it->second.value;
        unindex(key, old);
      }
      it->second = now;
      index(key, now.value);
    }
    if (kept_) kept_->put(object);
    for (const Listener& listener : listeners_) listener(key, old, now.value);
  }

  void erase(const ObjectKey& key) {
    Value old;
    {
      const std::lock_guard lock(mutex_);
      const auto it = cache_.find(key);
      if (it == cache_.end()) return;
      old = it->second.value;
      unindex(key, old);
      cache_.erase(it);
    }
    if (kept_) kept_->erase(key);
    for (const Listener& listener : listeners_) listener(key, old, nullptr);
  }

  // REQUIRES: mutex_ held.
  void index(const ObjectKey& key, const Value& value) {
    for (const auto& [name, f] : indexers_)
      for (const std::string& v : f(key, value)) indexes_[name][v].insert(key);
  }
  void unindex(const ObjectKey& key, const Value& value) {
    for (const auto& [name, f] : indexers_) {
      Index& entries = indexes_[name];
      for (const std::string& v : f(key, value)) {
        const auto it = entries.find(v);
        if (it == entries.end()) continue;
        it->second.erase(key);
        if (it->second.empty()) entries.erase(it);
      }
    }
  }

  Client& client_;
  const Resource resource_;
  const ListOptions options_;
  const Decode decode_;
  std::vector<Listener> listeners_;          // fixed after start()
  std::map<std::string, IndexFn> indexers_;  // fixed after start()
  std::vector<std::function<void()>> on_synced_;
  Revision revision_ = 0;          // the watch thread's, as the next
  std::optional<KeptTable> kept_;  // absent: nothing is kept

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::condition_variable_any interrupted_;
  std::map<ObjectKey, Cached> cache_;
  std::map<std::string, Index> indexes_;
  bool synced_ = false, filled_ = false;
  std::jthread thread_;
};

InformerCore::InformerCore(Client& client, Resource resource, ListOptions options, Decode decode)
    : impl_(std::make_unique<Impl>(client, std::move(resource), std::move(options),
                                   std::move(decode))) {}
InformerCore::~InformerCore() {
  stop();
}
void InformerCore::add_index(const std::string& name, IndexFn index) {
  impl_->add_index(name, std::move(index));
}
void InformerCore::add_listener(Listener listener) {
  impl_->add_listener(std::move(listener));
}
void InformerCore::on_synced(std::function<void()> f) {
  impl_->on_synced(std::move(f));
}
void InformerCore::keep(const std::string& path) {
  impl_->keep(path);
}
void InformerCore::start() {
  impl_->start();
}
void InformerCore::stop() {
  impl_->stop();
}
bool InformerCore::synced() const {
  return impl_->synced();
}
bool InformerCore::filled() const {
  return impl_->filled();
}
bool InformerCore::wait_synced(std::chrono::steady_clock::time_point deadline) const {
  return impl_->wait_synced(deadline);
}
bool InformerCore::wait_filled(std::chrono::steady_clock::time_point deadline) const {
  return impl_->wait_filled(deadline);
}
InformerCore::Value InformerCore::get(const ObjectKey& key) const {
  return impl_->get(key);
}
std::vector<InformerCore::Value> InformerCore::list() const {
  return impl_->list();
}
std::vector<InformerCore::Value> InformerCore::by_index(const std::string& name,
                                                        const std::string& value) const {
  return impl_->by_index(name, value);
}

}  // namespace coracle
