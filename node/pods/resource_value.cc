#include "pods/resource_value.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle::pods {
namespace {

struct Reference {
  const char* list;  // of the container's resources
  std::string name;
};
Result<Reference> parse(const std::string& resource) {
  for (const char* list : {"limits", "requests"})
    for (const char* name : {"cpu", "memory", "ephemeral-storage"})
      if (resource == std::string(list) + "." + name) return Reference{list, name};
  return Error{Code::BadRequest, "unsupported container resource: " + resource};
}

}  // namespace

Result<std::string> resource_value(const NodePod& pod, const PodContainer& container,
                                   const Json& reference, const Allocatable& allocatable) {
  const auto [list, name] = TRY(parse(json_string(reference, {"resource"})));
  const std::string other = json_string(reference, {"containerName"});
  const PodContainer* of = other.empty() ? &container : pod.find(other);
  if (of == nullptr) return Error{Code::NotFound, "container " + other + " not found"};
  std::string amount = json_string(pod.document(*of), {"resources", list, name.c_str()});
  if (amount.empty() && std::string(list) == "limits")
    if (const auto it = allocatable.find(name); it != allocatable.end()) amount = it->second;
  const std::uint64_t scale = name == "cpu" ? 1000 : 1;
  const std::int64_t value = quantity(amount, scale);
  std::int64_t divisor = quantity(json_string(reference, {"divisor"}), scale);
  if (divisor <= 0) divisor = static_cast<std::int64_t>(scale);
  return std::to_string(value / divisor + (value % divisor != 0));
}

int oom_score_adj(const NodePod& pod, const PodContainer& container, std::int64_t memory) {
  constexpr int kGuaranteed = -997, kBestEffort = 1000;
  const std::string qos = json_string(pod.status(), {"qosClass"});
  if (qos == "Guaranteed") return kGuaranteed;
  if (qos != "Burstable" || memory <= 0) return kBestEffort;
  // The more it asked for, the later; never before nor after the other classes.
  const std::int64_t asked =
      quantity(json_string(pod.document(container), {"resources", "requests", "memory"}), 1);
  const double share = static_cast<double>(asked) / static_cast<double>(memory);
  return std::clamp(1000 - static_cast<int>(1000 * std::min(share, 1.0)), 1000 + kGuaranteed, 999);
}

}  // namespace coracle::pods
