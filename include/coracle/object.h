// Object: one Kubernetes object as a JSON document with accessors for its metadata. A value: copies
// are deep. Not thread-safe to write; safe to read from many threads.
#pragma once

#include <coracle/result.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace coracle {

using Json = nlohmann::json;

// A store revision, shown to clients as metadata.resourceVersion. 0 means "none".
using Revision = std::int64_t;

// What names an object within its kind. `ns` is empty for cluster-scoped kinds.
struct ObjectKey {
  std::string ns;
  std::string name;
  std::string to_string() const { return ns.empty() ? name : ns + "/" + name; }
  auto operator<=>(const ObjectKey&) const = default;
};

// A kind as URLs name it: group ("" for core), version, plural ("pods").
struct Resource {
  std::string group;
  std::string version;
  std::string plural;
  std::string kind;
  bool namespaced = true;
  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
  auto operator<=>(const Resource&) const = default;
};

namespace resources {
extern const Resource kNamespaces, kNodes, kPods, kServices, kEndpoints, kConfigMaps, kSecrets,
    kServiceAccounts, kEvents, kEndpointSlices, kLeases;
}  // namespace resources

struct OwnerReference {
  std::string api_version, kind, name, uid;
  bool controller = false;
  bool block_owner_deletion = false;
  bool operator==(const OwnerReference&) const = default;
};

// Typed metadata: what our own code reads of an ObjectMeta.
struct Meta {
  std::string name, ns, uid;
  Revision revision = 0;
  std::int64_t generation = 0;
  std::string creation_timestamp;
  std::string deletion_timestamp;  // empty: not being deleted
  std::int64_t deletion_grace_period_seconds = 0;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::vector<OwnerReference> owners;
  std::vector<std::string> finalizers;

  ObjectKey key() const { return {ns, name}; }
  bool deleting() const { return !deletion_timestamp.empty(); }
};

class Object {
 public:
  Object();  // an empty JSON object
  explicit Object(Json document);
  Object(const Object&);
  Object(Object&&) noexcept;
  Object& operator=(const Object&);
  Object& operator=(Object&&) noexcept;
  ~Object();

  // BadRequest when the text is no JSON object, nests deeper than 1,000 levels or repeats a key.
  // Never throws.
  static Result<Object> parse(std::string_view text);

  const Json& json() const { return *document_; }
  Json& json() { return *document_; }
  std::string dump() const;  // compact

  std::string kind() const;
  std::string api_version() const;
  std::string name() const;
  std::string ns() const;
  std::string uid() const;
  ObjectKey key() const { return {ns(), name()}; }
  Revision revision() const;  // 0 when absent or unparsable
  // Wrong types read as absent.
  Meta meta() const;

 private:
  std::unique_ptr<Json> document_;
};

// A string member of a JSON object along a path, "" when absent or of another type: str(j,
// {"spec","nodeName"}).
std::string json_string(const Json& json, std::initializer_list<const char*> path);
// The member along the path, or nullptr.
const Json* json_find(const Json& json, std::initializer_list<const char*> path);
std::int64_t json_int(const Json& json, std::initializer_list<const char*> path,
                      std::int64_t otherwise = 0);
bool json_bool(const Json& json, std::initializer_list<const char*> path, bool otherwise = false);
std::map<std::string, std::string> json_string_map(const Json& json,
                                                   std::initializer_list<const char*> path);
std::vector<std::string> json_string_list(const Json& json,
                                          std::initializer_list<const char*> path);

}  // namespace coracle

template <>
struct std::hash<coracle::ObjectKey> {
  std::size_t operator()(const coracle::ObjectKey& k) const noexcept {
    return std::hash<std::string>{}(k.ns) * 31 + std::hash<std::string>{}(k.name);
  }
};
