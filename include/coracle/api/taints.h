// Taints of Nodes and tolerations of Pods (core/v1), and which toleration tolerates what. Pure.
#pragma once

#include <coracle/object.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coracle {

struct Taint {
  std::string key, value, effect;
  std::string time_added;  // RFC 3339, "" when unknown; says nothing about which taint it is
  // A Node has one taint of a key and effect.
  bool same_place(const Taint& other) const { return key == other.key && effect == other.effect; }
  bool operator==(const Taint&) const = default;
};

struct Toleration {
  std::string key;                      // "": every key, with Exists
  std::string op;                       // "" and "Equal", or "Exists"
  std::string value;                    // for Equal
  std::string effect;                   // "": every effect
  std::optional<std::int64_t> seconds;  // how long, of NoExecute; none: for ever
  // As upstream's Toleration.ToleratesTaint; an unknown operator tolerates nothing.
  bool tolerates(const Taint& taint) const;
  bool operator==(const Toleration&) const = default;
};

// The first that tolerates the taint, nullptr when none does.
const Toleration* find_toleration(const std::vector<Toleration>& tolerations, const Taint& taint);

// Of a Node's or a Pod's document; members of a wrong type read as absent.
std::vector<Taint> decode_taints(const Json& node);
std::vector<Toleration> decode_tolerations(const Json& pod);

inline constexpr const char* kNoSchedule = "NoSchedule";
inline constexpr const char* kPreferNoSchedule = "PreferNoSchedule";
inline constexpr const char* kNoExecute = "NoExecute";
inline constexpr const char* kTaintNotReady = "node.kubernetes.io/not-ready";
inline constexpr const char* kTaintUnreachable = "node.kubernetes.io/unreachable";
inline constexpr const char* kTaintUnschedulable = "node.kubernetes.io/unschedulable";

}  // namespace coracle
