// What containers may ask for of a node: names of resources, amounts, requests against limits.
#include <coracle/quantity.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "resources/fields.h"
#include "resources/kinds.h"
#include "resources/validation.h"

namespace coracle {
namespace {

constexpr std::string_view kHugePages = "hugepages-";

bool is_huge_pages(std::string_view name) {
  return name.starts_with(kHugePages);
}

// Names without a domain that mean something somewhere in Kubernetes, if not to a container.
bool is_standard(const std::string& name) {
  static const std::set<std::string, std::less<>> kNames{"configmaps",
                                                         "cpu",
                                                         "ephemeral-storage",
                                                         "limits.cpu",
                                                         "limits.ephemeral-storage",
                                                         "limits.memory",
                                                         "memory",
                                                         "persistentvolumeclaims",
                                                         "pods",
                                                         "replicationcontrollers",
                                                         "requests.cpu",
                                                         "requests.ephemeral-storage",
                                                         "requests.memory",
                                                         "requests.storage",
                                                         "resourcequotas",
                                                         "secrets",
                                                         "services",
                                                         "services.loadbalancers",
                                                         "services.nodeports",
                                                         "storage"};
  return kNames.contains(name) || is_huge_pages(name) ||
         name.starts_with("requests." + std::string(kHugePages));
}

bool is_for_containers(const std::string& name) {
  return name == "cpu" || name == "memory" || name == "ephemeral-storage" || is_huge_pages(name);
}

// Kubernetes' own, as against those that somebody's devices are counted by.
bool is_native(const std::string& name) {
  return name.find('/') == std::string::npos || name.find("kubernetes.io/") != std::string::npos;
}

bool allows_overcommit(const std::string& name) {
  return is_native(name) && !is_huge_pages(name);
}

void check_name(const std::string& name, const std::string& field, FieldErrors& errors) {
  if (const std::string problem = qualified_name_problem(name); !problem.empty())
    return errors.invalid(field, name, problem);
  if (name.find('/') == std::string::npos) {
    if (!is_standard(name))
      errors.invalid(field, name, "must be a standard resource type or fully qualified");
    if (!is_for_containers(name))
      errors.invalid(field, name, "must be a standard resource for containers");
  } else if (!is_native(name) && (name.starts_with("requests.") ||
                                  !qualified_name_problem("requests." + name).empty())) {
    errors.invalid(field, name, "doesn't follow extended resource name standard");
  }
}

// An amount that is none has been refused before this, when the document was read.
void check_amount(const std::string& name, const Json& value, const std::string& field,
                  FieldErrors& errors) {
  const std::string amount = value.is_string() ? value.get<std::string>() : value.dump();
  if (!is_quantity(amount))
    return errors.invalid(field, value,
                          "quantities must match the regular expression "
                          "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
  const bool negative = amount.starts_with('-');
  if (negative && amount.find_first_of("123456789") < amount.find_first_of("eE"))
    errors.invalid(field, value, "must be greater than or equal to 0");
  if (!is_native(name) && !negative && !is_whole_quantity(amount))
    errors.invalid(field, canonical_quantity(amount), "must be an integer");
}

void check_request(const std::string& name, const Json& value, const Json& limits,
                   const std::string& path, FieldErrors& errors) {
  if (!has(limits, name.c_str())) {
    if (!allows_overcommit(name))
      errors.required(path + ".limits", "Limit must be set for non overcommitable resources");
    return;
  }
  const Json& limit = limits.at(name);
  const auto text = [](const Json& amount) {
    return amount.is_string() ? amount.get<std::string>() : amount.dump();
  };
  if (!is_quantity(text(value)) || !is_quantity(text(limit))) return;  // said already
  const int order = compare_quantities(text(value), text(limit));
  const bool equal_only = !allows_overcommit(name);
  if (order == 0 || (order < 0 && !equal_only)) return;
  errors.invalid(path + ".requests", canonical_quantity(text(value)),
                 std::string("must be ") + (equal_only ? "" : "less than or ") + "equal to " +
                     name + " limit of " + canonical_quantity(text(limit)));
}

}  // namespace

void check_resources(const Json& resources, const std::string& path, FieldErrors& errors) {
  const Json& limits = object_at(resources, "limits");
  const Json& requests = object_at(resources, "requests");
  bool huge = false;
  bool cpu_or_memory = false;
  for (const auto& [list, amounts] :
       {std::pair("limits", &limits), std::pair("requests", &requests)})
    for (const auto& [name, amount] : amounts->items()) {
      std::string field = path + ".";
      field.append(list).append("[").append(name).append("]");
      check_name(name, field, errors);
      check_amount(name, amount, field, errors);
      if (amounts == &requests) check_request(name, amount, limits, path, errors);
      huge = huge || is_huge_pages(name);
      cpu_or_memory = cpu_or_memory || name == "cpu" || name == "memory";
    }
  if (huge && !cpu_or_memory) errors.forbidden(path, "HugePages require cpu or memory");
}

}  // namespace coracle
