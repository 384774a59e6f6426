#include "workload.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

Result<std::optional<Object>> patch_owners(Client& client, const Resource& resource,
                                           const Meta& object, Json owner) {
  const Json patch = {
      {"metadata", {{"uid", object.uid}, {"ownerReferences", Json::array({std::move(owner)})}}}};
  const auto patched = client.patch(resource, object.key(), PatchType::StrategicMerge, patch, "");
  if (patched) return std::optional<Object>(*patched);
  // Gone, or another of its name: the cache will say so.
  if (is_not_found(patched.error()) || is_conflict(patched.error())) return std::optional<Object>();
  return patched.error();
}

// As it was before a controller put its label on; no metadata are as good as empty ones.
Json without_label(Json pod_template, const char* label) {
  Json& metadata = pod_template["metadata"];
  if (metadata.is_object() && metadata.contains("labels")) {
    metadata["labels"].erase(label);
    if (metadata["labels"].empty()) metadata.erase("labels");
  }
  if (metadata.is_null()) metadata = Json::object();
  return pod_template;
}

}  // namespace

const OwnerReference* controller_of(const Meta& object) {
  const auto found = std::find_if(object.owners.begin(), object.owners.end(),
                                  [](const OwnerReference& o) { return o.controller; });
  return found == object.owners.end() ? nullptr : &*found;
}

bool controlled_by(const Meta& object, const Meta& owner) {
  const OwnerReference* controller = controller_of(object);
  return controller != nullptr && controller->uid == owner.uid;
}

bool is_active(const Pod& pod) {
  return !pod.finished() && !pod.meta.deleting();
}

Availability availability(const Pod& pod, std::int64_t min_ready_seconds, Time now) {
  if (!pod.ready()) return {};
  if (min_ready_seconds <= 0) return {true, {}};
  for (const PodCondition& c : pod.conditions) {
    if (c.type != "Ready") continue;
    const auto from = parse_time(c.last_transition_time) + std::chrono::seconds(min_ready_seconds);
    if (from <= now) return {true, {}};
    return {false, std::chrono::ceil<std::chrono::milliseconds>(from - now)};
  }
  return {};
}

Again sooner(const Again& a, const Again& b) {
  if (!a) return b;
  return b ? std::min(*a, *b) : *a;
}

Claim claim(const Workload& owner, const Meta& object) {
  const bool matches = object.ns == owner.meta.ns && owner.selector.matches(object.labels);
  if (const OwnerReference* controller = controller_of(object)) {
    if (controller->uid != owner.meta.uid) return Claim::None;
    return matches || owner.meta.deleting() ? Claim::Own : Claim::Release;
  }
  if (!matches || owner.meta.deleting() || object.deleting()) return Claim::None;
  return Claim::Adopt;
}

std::string template_hash(const Json& pod_template, std::int64_t collisions) {
  constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  std::string text = pod_template.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (collisions > 0) text += "#" + std::to_string(collisions);
  std::uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  std::string out = std::to_string(hash);
  for (char& c : out) c = kLetters[static_cast<unsigned char>(c) % kLetters.size()];
  return out;
}

bool same_template(const Json& a, const Json& b, const char* hash_label) {
  return without_label(a, hash_label) == without_label(b, hash_label);
}

Json owner_reference(const Resource& kind, const Meta& owner) {
  return {{"apiVersion", kind.api_version()},
          {"kind", kind.kind},
          {"name", owner.name},
          {"uid", owner.uid},
          {"controller", true},
          {"blockOwnerDeletion", true}};
}

ObjectReference reference_to(const Resource& kind, const Meta& object) {
  return {kind.api_version(), kind.kind, object.ns, object.name, object.uid, ""};
}

Object pod_from_template(const Resource& kind, const Meta& owner, const Json& pod_template) {
  Json metadata = {{"namespace", owner.ns},
                   {"generateName", owner.name + "-"},
                   {"ownerReferences", Json::array({owner_reference(kind, owner)})}};
  for (const char* key : {"labels", "annotations", "finalizers"})
    if (const Json* given = json_find(pod_template, {"metadata", key})) metadata[key] = *given;
  const Json* spec = json_find(pod_template, {"spec"});
  return Object(Json{{"apiVersion", "v1"},
                     {"kind", "Pod"},
                     {"metadata", std::move(metadata)},
                     {"spec", spec != nullptr ? *spec : Json::object()}});
}

void set_condition(std::vector<WorkloadCondition>& conditions, WorkloadCondition next, Time now) {
  const WorkloadCondition* current = find_condition(conditions, next.type);
  if (current != nullptr && current->status == next.status && current->reason == next.reason)
    return;
  next.last_update_time = format_time(now);
  next.last_transition_time = current != nullptr && current->status == next.status
                                  ? current->last_transition_time
                                  : format_time(now);
  remove_condition(conditions, next.type);
  conditions.push_back(std::move(next));
}

void remove_condition(std::vector<WorkloadCondition>& conditions, const std::string& type) {
  std::erase_if(conditions, [&](const WorkloadCondition& c) { return c.type == type; });
}

Json conditions_json(const std::vector<WorkloadCondition>& conditions) {
  if (conditions.empty()) return nullptr;
  Json out = Json::array();
  for (const WorkloadCondition& c : conditions) {
    out.push_back({{"type", c.type},
                   {"status", c.status},
                   {"reason", c.reason},
                   {"message", c.message},
                   {"lastTransitionTime", c.last_transition_time}});
    if (!c.last_update_time.empty()) out.back()["lastUpdateTime"] = c.last_update_time;
  }
  return out;
}

Json counter(std::int64_t value) {
  return value == 0 ? Json() : Json(value);
}

Result<std::optional<Object>> adopt(Client& client, const Resource& resource, const Meta& object,
                                    const Resource& owner_kind, const Meta& owner) {
  return patch_owners(client, resource, object, owner_reference(owner_kind, owner));
}

Result<std::optional<Object>> release(Client& client, const Resource& resource, const Meta& object,
                                      const std::string& owner_uid) {
  return patch_owners(client, resource, object, {{"$patch", "delete"}, {"uid", owner_uid}});
}

}  // namespace coracle
