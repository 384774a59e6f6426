// Creations and changes: default -> prepare -> validate -> allocate -> store.
#include <nlohmann/json.hpp>

#include "generated_names.h"
#include "registry_errors.h"
#include "registry_impl.h"
#include "resources/fields.h"
#include "resources/validation.h"
#include "schema.h"

namespace coracle {
namespace {

// A lost race means somebody else got through, so this many in a row is a storm; the client may try
// again.
constexpr int kMostAttempts = 64;
constexpr int kNameAttempts = 8;

Result<void> require_object(const Json& object) {
  if (!object.is_object())
    return Error{Code::BadRequest, "the object provided is not a JSON object"};
  if (has(object, "metadata") && !object.at("metadata").is_object())
    return Error{Code::BadRequest, "metadata is not a JSON object"};
  return {};
}

void drop_server_side(Json& metadata) {
  metadata.erase("managedFields");
  metadata.erase("selfLink");
}

FieldErrors validate_new(const ResourceKind& kind, const Json& object) {
  FieldErrors errors;
  check_metadata(kind, object_at(object, "metadata"), errors);
  if (kind.validate) kind.validate(object, errors);
  return errors;
}

// Takes back what a write would have used, unless the write happened.
class PendingAllocation {
 public:
  explicit PendingAllocation(Allocation allocation) : allocation_(std::move(allocation)) {}
  PendingAllocation(const PendingAllocation&) = delete;
  PendingAllocation& operator=(const PendingAllocation&) = delete;
  ~PendingAllocation() {
    if (!committed_ && allocation_.rollback) allocation_.rollback();
  }
  void commit() {
    committed_ = true;
    if (allocation_.commit) allocation_.commit();
  }

 private:
  Allocation allocation_;
  bool committed_ = false;
};

Result<Allocation> allocate(const ResourceKind& kind, Json* object, const Json* old, bool dry_run) {
  if (!kind.allocate) return Allocation{};
  return kind.allocate(object, old, dry_run);
}

// What no longer holds anything is left out, as clients expect of a label taken away.
void drop_empty(Json& metadata) {
  for (const char* key : {"labels", "annotations", "finalizers", "ownerReferences"}) {
    const auto it = metadata.find(key);
    if (it != metadata.end() && it->empty()) metadata.erase(it);
  }
}

}  // namespace

Result<void> RegistryImpl::check_namespace(const ResourceKind& kind, const std::string& ns,
                                           const std::string& name) const {
  if (!kind.resource.namespaced || namespaces_ == nullptr) return {};
  const auto entry = store_.get(storage_key(namespaces_->resource, {"", ns}));
  if (!entry && is_not_found(entry.error())) return not_found(namespaces_->resource, ns);
  if (!entry) return entry.error();
  const Json object = decode_entry(**entry);
  if (!has(object_at(object, "metadata"), "deletionTimestamp")) return {};
  Error error = forbidden(
      kind.resource, name,
      "unable to create new content in namespace " + ns + " because it is being terminated");
  error.causes.push_back(
      {"NamespaceTerminating", "namespace " + ns + " is being terminated", "metadata.namespace"});
  return error;
}

Result<void> RegistryImpl::begin_create(const ResourceKind& kind, const std::string& ns,
                                        Json& object) const {
  TRY(require_object(object));
  Json& metadata = object_in(object, "metadata");
  if (!unset(metadata, "resourceVersion"))
    return Error{Code::BadRequest, "resourceVersion should not be set on objects to be created"};
  metadata.erase("resourceVersion");
  drop_server_side(metadata);
  const std::string body_ns = text_in(metadata, "namespace");
  if (kind.resource.namespaced) {
    if (!ns.empty() && !body_ns.empty() && body_ns != ns)
      return Error{
          Code::BadRequest,
          "the namespace of the provided object does not match the namespace sent on the request"};
    if (ns.empty() && body_ns.empty())
      return Error{Code::BadRequest, "an empty namespace may not be set during creation"};
    metadata["namespace"] = ns.empty() ? body_ns : ns;
  } else {
    metadata.erase("namespace");
  }
  for (const char* key : {"deletionTimestamp", "deletionGracePeriodSeconds", "generation"})
    metadata.erase(key);
  metadata["uid"] = random_uid();
  metadata["creationTimestamp"] = format_time(clock_.now());
  object["apiVersion"] = kind.resource.api_version();
  object["kind"] = kind.resource.kind;
  drop_empty(metadata);
  if (kind.has_status) object.erase("status");
  if (kind.apply_defaults) kind.apply_defaults(object);
  if (kind.prepare_create) kind.prepare_create(object);
  if (kind.counts_generations) object_in(object, "metadata")["generation"] = 1;
  return {};
}

Result<Json> RegistryImpl::create(const ResourceKind& kind, const std::string& ns, Json object,
                                  const WriteOptions& options) {
  TRY(require_object(object));
  if (kind.answer)
    return Error{Code::MethodNotAllowed, kind.resource.plural + " are answered, not stored"};
  if (kind.resource.plural == "pods" && text_in(object, "kind") == "Binding") {
    const std::string name = json_string(object, {"metadata", "name"});
    return bind(kind, {ns.empty() ? json_string(object, {"metadata", "namespace"}) : ns, name},
                object, options);
  }
  const std::string prefix = json_string(object, {"metadata", "generateName"});
  const bool generate = json_string(object, {"metadata", "name"}).empty() && !prefix.empty();
  // The name comes before the hooks: a Namespace's label carries it.
  if (generate) object["metadata"]["name"] = generated_name(prefix);
  TRY(begin_create(kind, ns, object));
  const int attempts = generate ? kNameAttempts : 1;
  for (int i = 1;; ++i) {
    auto created = store_new(kind, object, options);
    if (created || !generate || !is_already_exists(created.error())) return created;
    if (i == attempts) {
      created.error().message +=
          ", the server was not able to generate a unique name for the object";
      created.error().retry_after_seconds = 1;
      return created;
    }
    object["metadata"]["name"] = generated_name(prefix);
  }
}

Result<Json> RegistryImpl::store_new(const ResourceKind& kind, Json object,
                                     const WriteOptions& options) {
  const ObjectKey key{json_string(object, {"metadata", "namespace"}),
                      json_string(object, {"metadata", "name"})};
  const std::shared_lock<std::shared_mutex> gate(namespace_gate_);
  // A malformed namespace is a bad field; a well-formed one that is missing is what the client
  // wants to know.
  if (dns1123_label_problem(key.ns).empty()) TRY(check_namespace(kind, key.ns, key.name));
  const FieldErrors errors = validate_new(kind, object);
  if (!errors.empty()) return invalid(kind.resource, key.name, errors);
  if (options.admit) TRY(options.admit(&object, nullptr));
  const std::string where = storage_key(kind.resource, key);
  // Asked before the ranges: the second `create` of a Service is told that it exists, not that its
  // address is taken.
  if (store_.get(where)) return already_exists(kind.resource, key.name);
  PendingAllocation allocation(TRY(allocate(kind, &object, nullptr, options.dry_run)));
  std::string text = TRY(encode_bounded(object));
  if (options.dry_run) return object;
  auto entry = store_.create(where, std::move(text),
                             {kind.ephemeral ? Durability::Ephemeral : Durability::Durable});
  if (!entry && is_already_exists(entry.error())) return already_exists(kind.resource, key.name);
  if (!entry) return entry.error();
  allocation.commit();
  keep(kind, **entry);
  return with_revision(std::move(object), (*entry)->mod_revision);
}

void RegistryImpl::keep(const ResourceKind& kind, const Entry& written) {
  const auto kept = kept_.find(&kind);
  if (kept != kept_.end())
    kept->second.note(written.key, written.mod_revision, clock_.steady_now());
  remove_outlived();
}

// Best effort: one that was written meanwhile is kept anew, one that was removed is gone.
void RegistryImpl::remove_outlived() {
  for (auto& [kind, queue] : kept_)
    for (const RetentionQueue::Kept& old : queue.take_due(clock_.steady_now()))
      (void)store_.remove(old.key, old.revision).has_value();
}

Result<Json> RegistryImpl::update(const ResourceKind& kind, const ObjectKey& key,
                                  const std::string& subresource, Json object,
                                  const WriteOptions& options) {
  TRY(require_object(object));
  if (subresource == "binding") return bind(kind, key, object, options);
  return write({kind, key, subresource, options},
               [&](const Json&) -> Result<Json> { return object; });
}

Result<Json> RegistryImpl::patch(const ResourceKind& kind, const ObjectKey& key,
                                 const std::string& subresource, const PatchRequest& request,
                                 const WriteOptions& options,
                                 const std::function<Result<void>(Json& patched)>& decode) {
  const SchemaType* type = Schema::instance().find(kind.schema_type);
  return write({kind, key, subresource, options}, [&](const Json& current) -> Result<Json> {
    Json next;
    switch (request.type) {
      case PatchType::JsonMerge:
        next = TRY(apply_json_merge_patch(current, request.document));
        break;
      case PatchType::JsonPatch:
        next = TRY(apply_json_patch(current, request.document));
        break;
      case PatchType::StrategicMerge:
        if (type == nullptr)
          return Error{Code::UnsupportedMediaType, "strategic merge needs a schema"};
        next = TRY(apply_strategic_merge_patch(*type, current, request.document));
        break;
    }
    TRY(require_object(next));
    if (decode) TRY(decode(next));
    TRY(require_object(next));
    return next;
  });
}

Result<Json> RegistryImpl::write(const Target& target, const Mutate& mutate) {
  for (int i = 0; i < kMostAttempts; ++i) {
    const EntryPtr entry = TRY(get(target.kind, target.key));
    auto written = TRY(write_once(target, entry, mutate));
    if (written) return std::move(*written);
  }
  return modified(target.kind.resource, target.key.name);
}

namespace {

Result<void> check_identity(const Resource& resource, const ObjectKey& key, const Json& next,
                            const Json& old) {
  const Json& metadata = object_at(next, "metadata");
  const std::string name = text_in(metadata, "name");
  if (!name.empty() && name != key.name)
    return Error{Code::BadRequest, "the name of the object (" + name +
                                       ") does not match the name on the URL (" + key.name + ")"};
  const std::string ns = text_in(metadata, "namespace");
  if (resource.namespaced && !ns.empty() && ns != key.ns)
    return Error{
        Code::BadRequest,
        "the namespace of the provided object does not match the namespace sent on the request"};
  const std::string uid = text_in(metadata, "uid");
  const std::string old_uid = json_string(old, {"metadata", "uid"});
  if (!uid.empty() && uid != old_uid)
    return conflict(
        resource, key.name,
        "Precondition failed: UID in precondition: " + uid + ", UID in object meta: " + old_uid);
  const std::string revision = text_in(metadata, "resourceVersion");
  if (revision.empty() || revision == "0") return {};
  if (revision.find_first_not_of("0123456789") != std::string::npos || revision.size() > 19)
    return Error{Code::BadRequest, "invalid resource version \"" + revision.substr(0, 64) + "\""};
  if (revision != json_string(old, {"metadata", "resourceVersion"}))
    return modified(resource, key.name);
  return {};
}

// Server-owned metadata comes from the stored object; a client that sends another creation time is
// told so.
void carry_metadata(Json& next, const Json& old) {
  Json& metadata = object_in(next, "metadata");
  const Json& before = object_at(old, "metadata");
  drop_server_side(metadata);
  for (const char* key : {"name", "namespace", "uid", "creationTimestamp"})
    if (unset(metadata, key) && has(before, key)) metadata[key] = before.at(key);
  for (const char* key :
       {"generation", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"}) {
    metadata.erase(key);
    if (has(before, key)) metadata[key] = before.at(key);
  }
}

}  // namespace

Result<Json> RegistryImpl::merge_update(const Target& target, Json next, const Json& old) const {
  const ResourceKind& kind = target.kind;
  TRY(check_identity(kind.resource, target.key, next, old));
  if (target.subresource == "status" || target.subresource == "finalize") {
    Json merged = old;
    const char* part = target.subresource == "status" ? "status" : "spec";
    merged.erase(part);
    if (has(next, part)) merged[part] = std::move(next[part]);
    return merged;
  }
  if (target.subresource == "binding") return next;
  carry_metadata(next, old);
  next["apiVersion"] = kind.resource.api_version();
  next["kind"] = kind.resource.kind;
  if (kind.has_status) {
    next.erase("status");
    if (has(old, "status")) next["status"] = old.at("status");
  }
  if (kind.apply_defaults) kind.apply_defaults(next);
  if (kind.prepare_update) kind.prepare_update(next, old);
  FieldErrors errors = validate_new(kind, next);
  check_metadata_update(object_at(next, "metadata"), object_at(old, "metadata"), errors);
  if (kind.validate_update) kind.validate_update(next, old, errors);
  if (!errors.empty()) return invalid(kind.resource, target.key.name, errors);
  return next;
}

Result<std::optional<Json>> RegistryImpl::write_once(const Target& target, const EntryPtr& entry,
                                                     const Mutate& mutate) {
  const Json old = with_revision(decode_entry(*entry), entry->mod_revision);
  Json next = TRY(merge_update(target, TRY(mutate(old)), old));
  drop_empty(object_in(next, "metadata"));
  if (target.kind.counts_generations && next.value("spec", Json()) != old.value("spec", Json()))
    object_in(next, "metadata")["generation"] = json_int(old, {"metadata", "generation"}) + 1;
  return store_changed(target, *entry, old, std::move(next));
}

Result<std::optional<Json>> RegistryImpl::store_changed(const Target& target, const Entry& entry,
                                                        const Json& old, Json next) {
  const ResourceKind& kind = target.kind;
  const bool dry_run = target.options.dry_run;
  if (target.options.admit) TRY(target.options.admit(&next, &old));
  PendingAllocation allocation(
      target.subresource.empty() ? TRY(allocate(kind, &next, &old, dry_run)) : Allocation{});
  // No write without a change: clients compare resourceVersions to say "unchanged".
  const bool gone = deletion_complete(next);
  if (next == old && !gone) {
    allocation.commit();
    return std::optional<Json>(old);
  }
  std::string text = gone ? "" : TRY(encode_bounded(next));
  if (dry_run) return std::optional<Json>(std::move(next));
  if (gone) {
    auto removed = store_.remove(entry.key, entry.mod_revision);
    if (!removed && (is_conflict(removed.error()) || is_not_found(removed.error())))
      return std::optional<Json>();
    if (!removed) return removed.error();
    allocation.commit();
    release(kind, next);
    return std::optional<Json>(with_revision(std::move(next), (*removed)->mod_revision));
  }
  auto written = store_.update(entry.key, std::move(text), entry.mod_revision, {entry.durability});
  if (!written && (is_conflict(written.error()) || is_not_found(written.error())))
    return std::optional<Json>();
  if (!written) return written.error();
  allocation.commit();
  keep(kind, **written);
  return std::optional<Json>(with_revision(std::move(next), (*written)->mod_revision));
}

Result<Json> RegistryImpl::bind(const ResourceKind& kind, const ObjectKey& key, const Json& binding,
                                const WriteOptions& options) {
  const std::string node = json_string(binding, {"target", "name"});
  const std::string target_kind = json_string(binding, {"target", "kind"});
  FieldErrors errors;
  if (!target_kind.empty() && target_kind != "Node")
    errors.not_supported("target.kind", target_kind, {"Node", "<empty>"});
  if (node.empty()) errors.required("target.name");
  if (!errors.empty())
    return invalid({.group = "", .version = "v1", .plural = "bindings", .kind = "Binding"},
                   key.name, errors);
  const std::string subresource = "binding";
  return write({kind, key, subresource, options}, [&](const Json& current) -> Result<Json> {
    TRY(check_identity(kind.resource, key,
                       {{"metadata", {{"uid", json_string(binding, {"metadata", "uid"})}}}},
                       current));
    if (has(object_at(current, "metadata"), "deletionTimestamp"))
      return conflict(kind.resource, key.name,
                      "pod " + key.name + " is being deleted, cannot be assigned to a host");
    const std::string bound = json_string(current, {"spec", "nodeName"});
    if (!bound.empty())
      return conflict(kind.resource, key.name,
                      "pod " + key.name + " is already assigned to node \"" + bound + "\"");
    if (!array_in(object_at(current, "spec"), "schedulingGates").empty())
      return conflict(kind.resource, key.name,
                      "pod " + key.name + " has non-empty .spec.schedulingGates");
    Json next = current;
    object_in(next, "spec")["nodeName"] = node;
    Json condition = {{"type", "PodScheduled"},
                      {"status", "True"},
                      {"lastProbeTime", nullptr},
                      {"lastTransitionTime", format_time(clock_.now())}};
    Json conditions = Json::array();
    for (const Json& c : array_in(object_at(current, "status"), "conditions"))
      if (text_in(c, "type") != "PodScheduled") conditions.push_back(c);
    conditions.push_back(std::move(condition));
    object_in(next, "status")["conditions"] = std::move(conditions);
    return next;
  });
}

}  // namespace coracle
