#include <coracle/api/taints.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

std::vector<const Json*> objects_in(const Json& json, const char* list) {
  std::vector<const Json*> out;
  const Json* items = json_find(json, {"spec", list});
  if (items == nullptr || !items->is_array()) return out;
  for (const Json& item : *items)
    if (item.is_object()) out.push_back(&item);
  return out;
}

}  // namespace

bool Toleration::tolerates(const Taint& taint) const {
  if (!effect.empty() && effect != taint.effect) return false;
  if (!key.empty() && key != taint.key) return false;
  if (op == "Exists") return true;
  return (op.empty() || op == "Equal") && value == taint.value;
}

const Toleration* find_toleration(const std::vector<Toleration>& tolerations, const Taint& taint) {
  const auto found = std::find_if(tolerations.begin(), tolerations.end(),
                                  [&](const Toleration& t) { return t.tolerates(taint); });
  return found == tolerations.end() ? nullptr : &*found;
}

std::vector<Taint> decode_taints(const Json& node) {
  std::vector<Taint> out;
  for (const Json* t : objects_in(node, "taints"))
    out.push_back({json_string(*t, {"key"}), json_string(*t, {"value"}),
                   json_string(*t, {"effect"}), json_string(*t, {"timeAdded"})});
  return out;
}

std::vector<Toleration> decode_tolerations(const Json& pod) {
  std::vector<Toleration> out;
  for (const Json* t : objects_in(pod, "tolerations")) {
    Toleration one{json_string(*t, {"key"}), json_string(*t, {"operator"}),
                   json_string(*t, {"value"}), json_string(*t, {"effect"}), std::nullopt};
    const Json* seconds = json_find(*t, {"tolerationSeconds"});
    if (seconds != nullptr && seconds->is_number_integer())
      one.seconds = seconds->get<std::int64_t>();
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace coracle
