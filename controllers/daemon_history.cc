#include "daemon_history.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

namespace coracle {
namespace {

Object revision_object(const DaemonSet& set, std::int64_t revision) {
  const std::string hash = template_hash(*set.pod_template, set.status.collision_count);
  Labels labels = json_string_map(*set.pod_template, {"metadata", "labels"});
  labels[kRevisionHashLabel] = hash;
  return Object(Json{
      {"apiVersion", "apps/v1"},
      {"kind", "ControllerRevision"},
      {"metadata",
       {{"name", set.meta.name + "-" + hash},
        {"namespace", set.meta.ns},
        {"labels", labels},
        {"annotations", set.meta.annotations},
        {"ownerReferences", Json::array({owner_reference(resources::kDaemonSets, set.meta)})}}},
      {"data", revision_data(set)},
      {"revision", revision}});
}

std::string hash_of(const ControllerRevision& revision) {
  const auto found = revision.meta.labels.find(kRevisionHashLabel);
  return found == revision.meta.labels.end() ? "" : found->second;
}

}  // namespace

Json revision_data(const DaemonSet& set) {
  Json pod_template = *set.pod_template;
  pod_template["$patch"] = "replace";
  return {{"spec", {{"template", std::move(pod_template)}}}};
}

HistoryPlan compute_history(const DaemonSet& set, const std::vector<RevisionPtr>& owned) {
  HistoryPlan out;
  out.old = owned;
  std::sort(out.old.begin(), out.old.end(), [](const RevisionPtr& a, const RevisionPtr& b) {
    return std::tie(a->revision, a->meta.creation_timestamp, a->meta.name) <
           std::tie(b->revision, b->meta.creation_timestamp, b->meta.name);
  });
  const Json data = revision_data(set);
  const auto found = std::find_if(out.old.rbegin(), out.old.rend(), [&](const RevisionPtr& one) {
    return *one->data == data && !hash_of(*one).empty();
  });
  if (found != out.old.rend()) {
    out.current = *found;
    out.old.erase(std::next(found).base());
  }
  const std::int64_t newest = out.old.empty() ? 0 : out.old.back()->revision;
  const bool leads = out.current != nullptr && out.current->revision > newest;
  out.revision = leads ? out.current->revision : newest + 1;
  return out;
}

std::vector<RevisionPtr> outlived(const DaemonSet& set, const HistoryPlan& plan,
                                  const std::set<std::string>& in_use) {
  const auto limit =
      static_cast<std::size_t>(std::max<std::int64_t>(set.revision_history_limit, 0));
  std::vector<RevisionPtr> out;
  std::copy_if(plan.old.begin(), plan.old.end(), std::back_inserter(out),
               [&](const RevisionPtr& one) { return !in_use.contains(hash_of(*one)); });
  const std::size_t surplus = out.size() > limit ? out.size() - limit : 0;
  out.resize(surplus);
  return out;
}

Result<DaemonHistory::Kept> DaemonHistory::keep(const DaemonSet& set) {
  Kept out{compute_history(set, TRY(owned(set))), ""};
  if (out.plan.current != nullptr) {
    out.hash = hash_of(*out.plan.current);
    if (out.plan.current->revision == out.plan.revision || set.meta.deleting()) return out;
    const Json patch = {{"metadata", {{"uid", out.plan.current->meta.uid}}},
                        {"revision", out.plan.revision}};
    TRY(client_.patch(resources::kControllerRevisions, out.plan.current->meta.key(),
                      PatchType::JsonMerge, patch, ""));
    return out;
  }
  out.hash = template_hash(*set.pod_template, set.status.collision_count);
  if (!set.meta.deleting()) out.hash = TRY(create(set, out.plan.revision));
  return out;
}

// Read live: they are few, and looked at only when the set or its Pods change.
Result<std::vector<RevisionPtr>> DaemonHistory::owned(const DaemonSet& set) {
  const auto list = TRY(client_.list(resources::kControllerRevisions, {.ns = set.meta.ns}));
  std::vector<RevisionPtr> all;
  for (const Object& object : list.items)
    all.push_back(
        std::make_shared<const ControllerRevision>(TRY(ControllerRevision::decode(object))));
  const Claims<ControllerRevision> claims = claim_all(set, all);
  for (const RevisionPtr& one : claims.adopt)
    TRY(adopt(client_, resources::kControllerRevisions, one->meta, resources::kDaemonSets,
              set.meta));
  for (const RevisionPtr& one : claims.release)
    TRY(release(client_, resources::kControllerRevisions, one->meta, set.meta.uid));
  return claims.owned;
}

Result<std::string> DaemonHistory::create(const DaemonSet& set, std::int64_t revision) {
  const Object wanted = revision_object(set, revision);
  const auto made = client_.create(resources::kControllerRevisions, wanted);
  if (made) return json_string(made->json(), {"metadata", "labels", kRevisionHashLabel});
  if (!is_already_exists(made.error())) return made.error();
  TRY(resolve_taken_name(set, wanted));
  return Error{Code::Conflict, "the name " + wanted.name() + " is taken"};
}

// By another template of the same hash, or by somebody else's revision: the collision count makes
// the next hash.
Result<void> DaemonHistory::resolve_taken_name(const DaemonSet& set, const Object& wanted) {
  const auto taken =
      TRY(get_live<ControllerRevision>(client_, resources::kControllerRevisions, wanted.key()));
  if (taken == nullptr) return {};
  if (controlled_by(taken->meta, set.meta) && *taken->data == revision_data(set)) return {};
  const Json patch = {{"metadata", {{"uid", set.meta.uid}}},
                      {"status", {{"collisionCount", set.status.collision_count + 1}}}};
  TRY(client_.patch(resources::kDaemonSets, set.meta.key(), PatchType::JsonMerge, patch, "status"));
  return {};
}

Result<void> DaemonHistory::trim(const DaemonSet& set, const HistoryPlan& plan,
                                 const std::set<std::string>& in_use) {
  if (set.meta.deleting()) return {};
  for (const RevisionPtr& one : outlived(set, plan, in_use)) {
    const auto gone =
        client_.remove(resources::kControllerRevisions, one->meta.key(), {.uid = one->meta.uid});
    if (!gone && !is_not_found(gone.error())) return gone.error();
  }
  return {};
}

}  // namespace coracle
