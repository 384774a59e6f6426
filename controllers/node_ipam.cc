#include "node_ipam.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {

std::optional<Cidr> next_cidr(const Cidr& cluster, int prefix, const std::vector<Cidr>& taken) {
  if (prefix < cluster.prefix || prefix > 32 || !cluster.ip.is_v4()) return std::nullopt;
  const std::uint64_t count = std::uint64_t{1} << (prefix - cluster.prefix);
  const std::uint64_t size = std::uint64_t{1} << (32 - prefix);
  for (std::uint64_t i = 0; i < count; ++i) {
    const Cidr candidate{cluster.network().plus(i * size), prefix};
    const bool free = std::none_of(taken.begin(), taken.end(),
                                   [&](const Cidr& t) { return t.overlaps(candidate); });
    if (free) return candidate;
  }
  return std::nullopt;
}

std::vector<Cidr> NodeIpamController::taken(const std::string& but) const {
  std::vector<Cidr> out;
  for (const auto& [name, cidr] : given_)
    if (name != but) out.push_back(cidr);
  for (const auto& node : nodes_.list()) {
    if (node->meta.name == but) continue;
    if (const auto cidr = Cidr::parse(node->pod_cidr)) out.push_back(*cidr);
  }
  return out;
}

Result<Again> NodeIpamController::reconcile(const ObjectKey& key) {
  const auto node = nodes_.get(key);
  if (node == nullptr || node->meta.deleting()) {
    given_.erase(key.name);
    return Again{};
  }
  if (!node->pod_cidr.empty()) {
    given_.erase(key.name);
    return Again{};
  }
  const auto cidr = next_cidr(cluster_, prefix_, taken(key.name));
  if (!cidr) {
    const std::string why =
        "no range of /" + std::to_string(prefix_) + " is free in " + cluster_.to_string();
    events_.warning({"v1", "Node", "", key.name, node->meta.uid, ""}, "CIDRNotAvailable", why);
    return Again{std::chrono::seconds(30)};  // a Node may have gone by then
  }
  const std::string text = cidr->to_string();
  const Json patch = {{"metadata", {{"uid", node->meta.uid}}},
                      {"spec", {{"podCIDR", text}, {"podCIDRs", Json::array({text})}}}};
  const auto patched = client_.patch(resources::kNodes, key, PatchType::JsonMerge, patch, "");
  if (!patched && is_not_found(patched.error())) return Again{};
  if (!patched) return patched.error();
  given_.insert_or_assign(key.name, *cidr);
  return Again{};
}

}  // namespace coracle
