// What a node may write of itself, as upstream's admission plug-in NodeRestriction has it: the
// authorizer knows names, this sees the objects.
#include <algorithm>
#include <map>

#include "authorizer.h"
#include "registry_errors.h"
#include "resources/fields.h"

namespace coracle {
namespace {

using LabelMap = std::map<std::string, std::string>;
using Refusal = std::string;  // "": none

constexpr std::string_view kOwnLabels[] = {
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
};

bool in_domain(std::string_view prefix, std::string_view domain) {
  return prefix == domain || (prefix.size() > domain.size() && prefix.ends_with(domain) &&
                              prefix[prefix.size() - domain.size() - 1] == '.');
}

// Labels that say what a node is trusted with, such as node-role.kubernetes.io/control-plane, are
// for others to set.
bool is_own_label(std::string_view key) {
  const std::string_view prefix = key.substr(0, std::min(key.find('/'), key.size()));
  if (key.find('/') == std::string_view::npos) return true;
  if (in_domain(prefix, "node-restriction.kubernetes.io")) return false;
  if (!in_domain(prefix, "kubernetes.io") && !in_domain(prefix, "k8s.io")) return true;
  if (in_domain(prefix, "kubelet.kubernetes.io") || in_domain(prefix, "node.kubernetes.io"))
    return true;
  return std::find(std::begin(kOwnLabels), std::end(kOwnLabels), key) != std::end(kOwnLabels);
}

LabelMap labels_of(const Json& object) {
  return json_string_map(object, {"metadata", "labels"});
}

// Those that differ and are not its own, joined.
std::string foreign_labels(const LabelMap& now, const LabelMap& old) {
  LabelMap all = now;
  all.insert(old.begin(), old.end());
  std::string out;
  for (const auto& [key, value] : all) {
    const auto a = now.find(key);
    const auto b = old.find(key);
    const bool same = a != now.end() && b != old.end() && a->second == b->second;
    if (!same && !is_own_label(key)) out += (out.empty() ? "" : ", ") + key;
  }
  return out;
}

std::string node_key(const Json& node) {
  return json_string(node, {"metadata", "annotations", kNodeKeyAnnotation});
}

Refusal why_not_node(const std::string& self, const Json& next, const Json& old) {
  const std::string node = "node \"" + self + "\" ";
  const std::string name = json_string(next, {"metadata", "name"});
  if (name != self) return node + "is not allowed to modify node \"" + name + "\"";
  const bool create = old.empty();
  if (const auto labels = foreign_labels(labels_of(next), labels_of(old)); !labels.empty())
    return node +
           (create ? "is not allowed to set the following labels: "
                   : "is not allowed to modify labels: ") +
           labels;
  const Json& spec = object_at(next, "spec");
  const Json& before = object_at(old, "spec");
  if (!create && array_in(spec, "taints") != array_in(before, "taints"))
    return node + "is not allowed to modify taints";
  if (text_in(spec, "podCIDR") != text_in(before, "podCIDR") ||
      array_in(spec, "podCIDRs") != array_in(before, "podCIDRs"))
    return node + "is not allowed to choose its Pod CIDR";
  if (!create && node_key(next) != node_key(old))
    return node + "is not allowed to modify the annotation " + kNodeKeyAnnotation;
  return "";
}

Refusal why_not_lease(const std::string& self, const Json& lease) {
  if (json_string(lease, {"metadata", "namespace"}) == "kube-node-lease" &&
      json_string(lease, {"metadata", "name"}) == self)
    return "";
  return "node \"" + self + "\" can only access the lease of its name in kube-node-lease";
}

// Between the authorizer's look and the write the name may have gone to another Pod.
Refusal why_not_pod(const std::string& self, const Json& pod) {
  if (json_string(pod, {"spec", "nodeName"}) == self) return "";
  return "the Pod is not bound to node \"" + self + "\"";
}

Refusal why_not(const std::string& self, const Resource& resource, const Json& next,
                const Json& old) {
  const Json& any = next.empty() ? old : next;
  if (resource == resources::kNodes) return why_not_node(self, any, old);
  if (resource == resources::kLeases) return why_not_lease(self, any);
  if (resource == resources::kPods) return why_not_pod(self, old);
  return "";
}

}  // namespace

std::function<Result<void>(const Json* next, const Json* old)> admission(const Identity& who,
                                                                         const Resource& resource) {
  const std::string self = node_of(who);
  if (self.empty() || is_member(who, "system:masters")) return {};
  return [self, resource](const Json* next, const Json* old) -> Result<void> {
    static const Json kNone = Json::object();
    const Json& now = next == nullptr ? kNone : *next;
    const Json& before = old == nullptr ? kNone : *old;
    const Refusal refusal = why_not(self, resource, now, before);
    if (refusal.empty()) return {};
    const Json& any = next == nullptr ? before : now;
    return forbidden(resource, json_string(any, {"metadata", "name"}), refusal);
  };
}

}  // namespace coracle
