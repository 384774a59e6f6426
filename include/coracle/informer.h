// Informer<T>: a cache of one kind, kept by list-then-watch, that hands out typed immutable values
// and tells its listeners which *key* changed, never what happened. Relists on Expired, resumes
// after a broken connection with back-off. Lookups are thread-safe and never block on the network.
#pragma once

#include <coracle/client.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace coracle {

// The untyped engine; see apiserver/client/informer.cc. Values are shared_ptr<const void>.
class InformerCore {
 public:
  using Value = std::shared_ptr<const void>;
  using Decode = std::function<Result<Value>(const Object&)>;
  // `old` or `now` is null when the object appeared or went away.
  using Listener = std::function<void(const ObjectKey& key, const Value& old, const Value& now)>;
  using IndexFn = std::function<std::vector<std::string>(const ObjectKey& key, const Value& value)>;

  InformerCore(Client& client, Resource resource, ListOptions options, Decode decode);
  ~InformerCore();  // stops and joins
  InformerCore(const InformerCore&) = delete;
  InformerCore& operator=(const InformerCore&) = delete;

  void add_index(const std::string& name, IndexFn index);  // REQUIRES: before start()
  void add_listener(Listener listener);  // REQUIRES: before start(); called from the watch thread
  // Called once, from the watch thread, when the first list is in. REQUIRES: before start()
  void on_synced(std::function<void()> f);
  // Keeps the objects as they are received in the file `path`, whose directory is made if need be,
  // and begins with those that an earlier run kept there, until the first list takes their place:
  // listeners hear of them, then of the differences. A file is of one kind and one selection. It is
  // written when something changes; what cannot be kept is logged and does no harm. Nothing for
  // Secrets. REQUIRES: before start()
  void keep(const std::string& path);
  void start();
  void stop();
  bool synced() const;  // the server has told
  bool filled() const;  // the server has told, or all that was kept is in
  // True once the first list is in; false at the deadline.
  bool wait_synced(std::chrono::steady_clock::time_point deadline) const;
  bool wait_filled(std::chrono::steady_clock::time_point deadline) const;
  Value get(const ObjectKey& key) const;  // null when absent
  std::vector<Value> list() const;        // in key order
  std::vector<Value> by_index(const std::string& name, const std::string& value) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// T needs `static Result<T> decode(const Object&)`.
template <typename T>
class Informer {
 public:
  using Ptr = std::shared_ptr<const T>;
  Informer(Client& client, const Resource& resource, ListOptions options = {})
      : core_(client, resource, std::move(options),
              [](const Object& o) -> Result<InformerCore::Value> {
                auto decoded = T::decode(o);
                if (!decoded) return decoded.error();
                return InformerCore::Value(std::make_shared<const T>(std::move(*decoded)));
              }) {}

  // Called after the cache has changed, from the informer's thread: must return quickly.
  void on_change(const std::function<void(const ObjectKey&)>& f) {
    core_.add_listener([f](const ObjectKey& k, const auto&, const auto&) { f(k); });
  }
  // As on_change, with the values before and after (null when absent), to map a change to the keys
  // it concerns.
  void on_change_values(std::function<void(const ObjectKey&, const Ptr& old, const Ptr& now)> f) {
    core_.add_listener(
        [f](const ObjectKey& k, const InformerCore::Value& o, const InformerCore::Value& n) {
          f(k, std::static_pointer_cast<const T>(o), std::static_pointer_cast<const T>(n));
        });
  }
  void add_index(const std::string& name, std::function<std::vector<std::string>(const T&)> f) {
    core_.add_index(name, [f](const ObjectKey&, const InformerCore::Value& v) {
      return f(*static_cast<const T*>(v.get()));
    });
  }
  void on_synced(std::function<void()> f) { core_.on_synced(std::move(f)); }
  void keep(const std::string& path) { core_.keep(path); }
  void start() { core_.start(); }
  void stop() { core_.stop(); }
  bool synced() const { return core_.synced(); }
  bool filled() const { return core_.filled(); }
  bool wait_synced(std::chrono::steady_clock::time_point deadline) const {
    return core_.wait_synced(deadline);
  }
  bool wait_filled(std::chrono::steady_clock::time_point deadline) const {
    return core_.wait_filled(deadline);
  }
  Ptr get(const ObjectKey& key) const { return std::static_pointer_cast<const T>(core_.get(key)); }
  std::vector<Ptr> list() const { return cast(core_.list()); }
  std::vector<Ptr> by_index(const std::string& name, const std::string& value) const {
    return cast(core_.by_index(name, value));
  }

 private:
  static std::vector<Ptr> cast(const std::vector<InformerCore::Value>& values) {
    std::vector<Ptr> out;
    out.reserve(values.size());
    for (const auto& v : values) out.push_back(std::static_pointer_cast<const T>(v));
    return out;
  }
  InformerCore core_;
};

}  // namespace coracle
