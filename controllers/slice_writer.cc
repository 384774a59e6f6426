#include "slice_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

Json endpoint_json(const Endpoint& e) {
  Json conditions = Json::object();
  if (e.ready) conditions["ready"] = *e.ready;
  if (e.serving) conditions["serving"] = *e.serving;
  if (e.terminating) conditions["terminating"] = *e.terminating;
  Json out = {{"addresses", e.addresses}, {"conditions", std::move(conditions)}};
  if (!e.hostname.empty()) out["hostname"] = e.hostname;
  if (!e.node_name.empty()) out["nodeName"] = e.node_name;
  if (!e.target_kind.empty())
    out["targetRef"] = {{"kind", e.target_kind},
                        {"namespace", e.target_ns},
                        {"name", e.target_name},
                        {"uid", e.target_uid}};
  return out;
}

Json port_json(const EndpointPort& p) {
  Json out = {{"name", p.name}, {"protocol", p.protocol}};
  if (p.port) out["port"] = *p.port;
  if (!p.app_protocol.empty()) out["appProtocol"] = p.app_protocol;
  return out;
}

Object slice_object(const SliceOwner& owner, const EndpointSlice* existing,
                    const std::vector<EndpointPort>& ports,
                    const std::vector<Endpoint>& endpoints) {
  Json meta = {{"namespace", owner.ns},
               {"labels", owner.labels},
               {"ownerReferences", Json::array({{{"apiVersion", owner.reference.api_version},
                                                 {"kind", owner.reference.kind},
                                                 {"name", owner.reference.name},
                                                 {"uid", owner.reference.uid},
                                                 {"controller", true},
                                                 {"blockOwnerDeletion", true}}})}};
  auto annotations = owner.annotations;
  if (existing != nullptr) {
    meta["name"] = existing->meta.name;
    meta["resourceVersion"] = std::to_string(existing->meta.revision);
    meta["generateName"] = owner.service + "-";
    for (const auto& [key, value] : existing->meta.annotations) annotations.emplace(key, value);
  } else {
    meta["generateName"] = owner.service + "-";
  }
  if (!annotations.empty()) meta["annotations"] = annotations;
  Json slice = {{"apiVersion", "discovery.k8s.io/v1"}, {"kind", "EndpointSlice"},
                {"metadata", std::move(meta)},         {"addressType", "IPv4"},
                {"endpoints", Json::array()},          {"ports", Json::array()}};
  for (const Endpoint& e : endpoints) slice["endpoints"].push_back(endpoint_json(e));
  for (const EndpointPort& p : ports) slice["ports"].push_back(port_json(p));
  return Object(std::move(slice));
}

// Slices whose labels are not what they should be are written although their endpoints are right.
void add_relabelled(const SliceOwner& owner, const std::vector<SlicePtr>& existing,
                    SlicePlan& plan) {
  const auto same = [](const SlicePtr& slice) {
    return [&slice](const auto& item) {
      if constexpr (requires { item.existing; }) {
        return item.existing == slice;
      } else {
        return item == slice;
      }
    };
  };
  for (const SlicePtr& slice : existing) {
    if (slice->meta.labels == owner.labels) continue;
    if (std::any_of(plan.update.begin(), plan.update.end(), same(slice))) continue;
    if (std::any_of(plan.remove.begin(), plan.remove.end(), same(slice))) continue;
    plan.update.push_back({slice, slice->endpoints});
  }
}

Result<void> unless_lagging(const Result<Object>& written, WrittenSlices& remember) {
  if (written) {
    remember.add(*written);
    return {};
  }
  const Error& error = written.error();
  if (is_not_found(error) || is_already_exists(error)) return Error{Code::Conflict, error.message};
  // A namespace that ends takes nothing new.
  if (error.code == Code::Forbidden) return {};
  return error;
}

}  // namespace

bool WrittenSlices::shown_by(const Informer<EndpointSlice>& slices) {
  std::erase_if(revisions_, [&](const auto& written) {
    const auto cached = slices.get(written.first);
    return cached != nullptr && cached->meta.revision >= written.second;
  });
  return revisions_.empty();
}

Result<void> write_slices(Client& client, const SliceOwner& owner,
                          const std::vector<SlicePtr>& existing,
                          const std::vector<EndpointGroup>& desired, WrittenSlices& written) {
  SlicePlan plan = plan_slices(existing, desired);
  add_relabelled(owner, existing, plan);
  for (const SliceUpdate& u : plan.update) {
    const Object slice = slice_object(owner, u.existing.get(), u.existing->ports, u.endpoints);
    TRY(unless_lagging(client.update(resources::kEndpointSlices, slice, ""), written));
  }
  for (const EndpointGroup& group : plan.create) {
    const Object slice = slice_object(owner, nullptr, group.ports, group.endpoints);
    TRY(unless_lagging(client.create(resources::kEndpointSlices, slice), written));
  }
  return remove_slices(client, plan.remove);
}

Result<void> remove_slices(Client& client, const std::vector<SlicePtr>& slices) {
  for (const SlicePtr& slice : slices) {
    const auto removed =
        client.remove(resources::kEndpointSlices, slice->meta.key(), {.uid = slice->meta.uid});
    if (!removed && !is_not_found(removed.error())) return removed.error();
  }
  return {};
}

}  // namespace coracle
