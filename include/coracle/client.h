// Client: the API as controllers and the node agent see it. LocalClient (apiserver/) goes straight
// onto the Registry, HttpClient (apiserver/client/) over HTTPS; both give the same results and
// errors. Thread-safe.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace coracle {

struct ListOptions {
  std::string ns = {};              // "" = all namespaces
  std::string label_selector = {};  // as in URLs
  std::string field_selector = {};
};
struct ObjectList {
  std::vector<Object> items;
  Revision revision = 0;
};

struct WatchEvent {
  enum class Type { Added, Modified, Deleted, Bookmark };
  Type type = Type::Added;
  Object object;
};

class ClientWatch {
 public:
  virtual ~ClientWatch() = default;
  // Events that wait, at least one unless `stop` was requested or the stream ended cleanly (empty:
  // watch again from the last revision). Expired: list again. Unavailable: the connection broke.
  virtual Result<std::vector<WatchEvent>> next(const std::stop_token& stop) = 0;
};

enum class PatchType { JsonMerge, StrategicMerge, JsonPatch };

struct DeleteOptions {
  std::optional<std::int64_t> grace_period_seconds = {};
  std::string uid = {};                 // precondition, "" = none
  Revision revision = 0;                // precondition, 0 = none
  std::string propagation_policy = {};  // "" = the kind's default
};

class Client {
 public:
  virtual ~Client() = default;
  virtual Result<Object> get(const Resource& resource, const ObjectKey& key) = 0;
  virtual Result<ObjectList> list(const Resource& resource, const ListOptions& options) = 0;
  // Events after `from`, with bookmarks. Expired when `from` is too old.
  virtual Result<std::unique_ptr<ClientWatch>> watch(const Resource& resource,
                                                     const ListOptions& options, Revision from) = 0;
  virtual Result<Object> create(const Resource& resource, const Object& object) = 0;
  // A non-zero resourceVersion in the object is an optimistic lock (Conflict). Subresource: "" or
  // "status".
  virtual Result<Object> update(const Resource& resource, const Object& object,
                                const std::string& subresource) = 0;
  virtual Result<Object> patch(const Resource& resource, const ObjectKey& key, PatchType type,
                               const Json& patch, const std::string& subresource) = 0;
  // NotFound when it is gone already.
  virtual Result<void> remove(const Resource& resource, const ObjectKey& key,
                              const DeleteOptions& options) = 0;
  // Ends the open connections, when this machine's address has changed: what waits on them fails as
  // Unavailable, and the next try makes new ones. Nothing where there are no connections.
  virtual void reconnect() {}
};

}  // namespace coracle
