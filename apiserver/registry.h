// The resource table's shape and the generic pipeline every write goes through:
// decode -> default -> prepare -> validate -> allocate -> store. HTTP and LocalClient both end
// here.
#pragma once

#include <coracle/client.h>
#include <coracle/clock.h>
#include <coracle/labels.h>
#include <coracle/object.h>
#include <coracle/result.h>
#include <coracle/store.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>  // results hold documents by value
#include <optional>
#include <string>
#include <vector>

#include "retention.h"

namespace coracle {

// Collects every bad field of one request (the first 1000), for one 422. Paths as Kubernetes writes
// them: "spec.ports[0].port".
class FieldErrors {
 public:
  void required(const std::string& field, const std::string& detail = "");
  void invalid(const std::string& field, const Json& value, const std::string& detail);
  void not_supported(const std::string& field, const Json& value,
                     const std::vector<std::string>& supported);
  void duplicate(const std::string& field, const Json& value);
  void forbidden(const std::string& field, const std::string& detail);
  void too_long(const std::string& field, const std::string& detail);
  void not_found(const std::string& field, const Json& value);
  bool empty() const { return causes_.empty(); }
  const std::vector<Cause>& causes() const { return causes_; }

 private:
  bool full();  // so many that one more would only be said to exist
  std::vector<Cause> causes_;
};

// One column of `kubectl get`. `cell` yields a JSON string or integer. priority 1 = only with -o
// wide.
struct Column {
  std::string name;
  std::string type;    // "string" | "integer"
  std::string format;  // "name" for the first column, else ""
  std::string description;
  int priority = 0;
  std::function<Json(const Json& object, const Clock& clock)> cell;
};

// What a hook may undo if the write that follows fails, or do once it succeeded.
struct Allocation {
  std::function<void()> commit;
  std::function<void()> rollback;
};

struct Asker;  // authorizer.h

// A kind is one descriptor; apiserver/resources/<kind>.cc makes it, resources/resources.cc lists
// them in order.
struct ResourceKind {
  Resource resource;
  std::string singular;
  std::vector<std::string> short_names;
  std::vector<std::string> categories;  // {"all"}
  std::string schema_type;              // "core.v1.Pod": the type in apiserver/schema
  bool has_status =
      false;  // the status subresource; main writes keep status, status writes keep spec
  bool ephemeral = false;  // memory only
  Retention retention;     // of an ephemeral kind: how long, and how many
  bool delete_collection = true;
  bool counts_generations = false;  // metadata.generation grows with every change of the spec
  bool graceful_delete = false;     // Pods: DELETE of a bound Pod sets deletionTimestamp first
  std::vector<std::string> selectable_fields;  // besides metadata.name and metadata.namespace

  std::function<void(Json& object)> apply_defaults;
  std::function<void(Json& object)> prepare_create;  // fill or drop server-owned fields
  std::function<void(Json& object, const Json& old)> prepare_update;
  std::function<void(const Json& object, FieldErrors&)> validate;  // create and update
  std::function<void(const Json& object, const Json& old, FieldErrors&)> validate_update;
  // Takes what the object needs from shared ranges and writes it in (Service addresses). `old` is
  // null on create, `object` is null on delete. dry_run: check and fill in, hold nothing.
  std::function<Result<Allocation>(Json* object, const Json* old, bool dry_run)> allocate;
  // Set: the kind is a question. Its only verb is create, which fills in the answer for whoever
  // asks; nothing is stored.
  std::function<void(Json& object, const Asker& asker)> answer;
  std::vector<Column> columns;  // after "Name"... see print_table.h; empty = Name and Age
  enum class NameRule { Subdomain, Label, Label1035 };
  NameRule name_rule = NameRule::Subdomain;  // which names objects of the kind may have
  std::vector<std::string> subresources;     // besides "status": "binding", "finalize"
};

struct WriteOptions {
  bool dry_run = false;
  std::string field_manager;
  // Sees what a write makes of what, before it is stored; null: there is none. An error, which it
  // returns, refuses the write. Called anew after a lost race.
  std::function<Result<void>(const Json* next, const Json* old)> admit = {};
};

struct ListRequest {
  std::string ns;  // "" = all
  LabelSelector labels;
  FieldSelector fields;
  std::size_t limit = 0;
  std::string continue_token;
  Revision at_least = 0;  // Timeout when it is not reached soon
  Revision exact = 0;     // the state as of this revision; Expired when it is no longer known
};
struct ListPage {
  std::vector<EntryPtr> entries;  // values are whole JSON objects with resourceVersion in place
  Revision revision = 0;
  std::string continue_token;
  std::optional<std::size_t> remaining;
};

struct PatchRequest {
  PatchType type = PatchType::JsonMerge;
  Json document;
};

// The API without HTTP. Thread-safe. Errors carry the texts and causes Kubernetes clients expect.
class Registry {
 public:
  struct Options {
    Store& store;
    const Clock& clock;
    std::vector<ResourceKind> kinds;  // resources::all_kinds(...)
    // How long to wait for a revision that is yet to come: only another writer's can be.
    std::chrono::milliseconds catch_up{1000};
  };
  // Rebuilds allocations from the store (allocate() is called for every stored object of such a
  // kind).
  static Result<std::unique_ptr<Registry>> create(Options options);
  virtual ~Registry() = default;

  virtual const std::vector<ResourceKind>& kinds() const = 0;
  // nullptr when unknown.
  virtual const ResourceKind* find(std::string_view group, std::string_view version,
                                   std::string_view plural) const = 0;

  virtual Result<EntryPtr> get(const ResourceKind& kind, const ObjectKey& key) const = 0;
  virtual Result<ListPage> list(const ResourceKind& kind, const ListRequest& request) const = 0;
  // Raw store events of the kind (ns "" = all) after `from`; watch_stream.h filters and encodes.
  virtual Result<std::unique_ptr<StoreWatch>> watch(const ResourceKind& kind, const std::string& ns,
                                                    Revision from) = 0;
  virtual Revision revision() const = 0;
  // Waits for the store to get there, no longer than `catch_up`. Timeout with the cause
  // ResourceVersionTooLarge.
  virtual Result<void> await_revision(Revision wanted) const = 0;

  // `object` has passed decode (schema checks). The result is the stored (or, dry run, would-be)
  // object. subresource: "" or "status" (or "binding" for create on pods).
  virtual Result<Json> create(const ResourceKind& kind, const std::string& ns, Json object,
                              const WriteOptions& options) = 0;
  virtual Result<Json> update(const ResourceKind& kind, const ObjectKey& key,
                              const std::string& subresource, Json object,
                              const WriteOptions& options) = 0;
  // Reads, patches (patch.h), decodes, writes; retries on a lost race unless the patch itself
  // carries a resourceVersion.
  virtual Result<Json> patch(const ResourceKind& kind, const ObjectKey& key,
                             const std::string& subresource, const PatchRequest& request,
                             const WriteOptions& options,
                             const std::function<Result<void>(Json& patched)>& decode) = 0;
  struct Removed {
    Json object;        // last state, or the object now being deleted
    bool gone = false;  // false: deletionTimestamp set, finalizers or a grace period pending
  };
  virtual Result<Removed> remove(const ResourceKind& kind, const ObjectKey& key,
                                 const DeleteOptions& options, const WriteOptions& write) = 0;
};

// The keys under which objects lie in the store: "/<group or core>/<plural>/<ns>/<name>", and the
// prefix of a kind (or of one namespace of it).
std::string storage_key(const Resource& resource, const ObjectKey& key);
std::string storage_prefix(const Resource& resource, const std::string& ns);
// The store's Decorator: puts metadata.resourceVersion into an object's text without parsing it.
// Idempotent.
std::string stamp_resource_version(std::string_view object, Revision revision);

}  // namespace coracle
