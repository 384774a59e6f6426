// What a Pod asks of the node that it runs on, and of its company there (core/v1): resource
// requests, affinity, topology spread, scheduling gates; and what a node has to give. Pure.
#pragma once

#include <coracle/labels.h>
#include <coracle/object.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coracle {

struct ResourceAmounts {
  std::int64_t cpu = 0;                // in thousandths
  std::int64_t memory = 0;             // in bytes
  std::int64_t ephemeral_storage = 0;  // in bytes
  std::int64_t pods = 0;
  std::map<std::string, std::int64_t> others = {};  // by name, in units: "example.com/gpu"

  ResourceAmounts& operator+=(const ResourceAmounts& other);
  ResourceAmounts& operator-=(const ResourceAmounts& other);
  // Each amount becomes the larger one.
  void raise_to(const ResourceAmounts& other);
  bool operator==(const ResourceAmounts&) const = default;
};
// A list of resources by name, as requests, limits and allocatable are.
ResourceAmounts decode_amounts(const Json& list);
// What the Pod needs at any time, as upstream counts: its containers and sidecars together, or an
// init container beside the sidecars before it, whichever is more; and its overhead. One Pod.
ResourceAmounts decode_requests(const Json& pod);

// A term of node affinity. An empty one matches nothing, nor does one of an unknown operator.
struct NodeTerm {
  LabelSelector labels;
  LabelSelector fields;  // of metadata.name alone
  bool never = false;
  std::int64_t weight = 0;  // of a preferred one
  bool matches(const Meta& node) const;
};
NodeTerm decode_node_term(const Json& term);

// A term of Pod affinity or anti-affinity: Pods near are those on nodes of the same value of the
// label `topology_key`. `selector` says what matchLabelKeys and mismatchLabelKeys say, too.
struct PodTerm {
  std::string topology_key;
  std::optional<LabelSelector> selector;  // none: matches no Pod
  std::vector<std::string> namespaces;
  std::optional<LabelSelector> namespace_selector;
  std::int64_t weight = 0;  // of a preferred one; less than 0: of anti-affinity
  bool matches(const std::string& ns, const Labels& ns_labels, const Labels& pod) const;
};
struct PodTerms {
  std::vector<PodTerm> near, apart;  // required
  std::vector<PodTerm> preferred;
  std::string text;  // equal terms have the same
};

struct SpreadConstraint {
  std::string topology_key;
  std::int64_t max_skew = 1;
  std::int64_t min_domains = 1;
  bool required = true;                              // DoNotSchedule, not ScheduleAnyway
  std::optional<LabelSelector> selector;             // as PodTerm's
  bool honor_affinity = true, honor_taints = false;  // which nodes count
  bool selects(const Labels& pod) const { return selector && selector->matches(pod); }
};

struct Placement {
  ResourceAmounts requests;
  std::optional<std::vector<NodeTerm>> nodes;  // one of these must match
  std::vector<NodeTerm> preferred_nodes;
  std::shared_ptr<const PodTerms> terms;  // null: none
  std::vector<SpreadConstraint> spread;
  bool gated = false;  // schedulingGates are left
};
// Of a Pod's document. Members of a wrong type read as absent; null when it asks for nothing.
std::shared_ptr<const Placement> decode_placement(const Json& pod);

inline constexpr const char* kLabelHostname = "kubernetes.io/hostname";
inline constexpr const char* kLabelZone = "topology.kubernetes.io/zone";

}  // namespace coracle
