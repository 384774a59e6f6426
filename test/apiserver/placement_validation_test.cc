// What a Pod may ask of its node: the refusals, and scheduling gates through the registry.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "apiserver/registry.h"
#include "apiserver/resources/kinds.h"

namespace coracle {
namespace {

std::string problems(const Json& spec) {
  FieldErrors errors;
  validate_placement(spec, "spec", errors);
  std::string out;
  for (const Cause& cause : errors.causes()) out += cause.field + ": " + cause.message + "\n";
  return out;
}

Json node_affinity(const Json& terms) {
  return {
      {"affinity",
       {{"nodeAffinity",
         {{"requiredDuringSchedulingIgnoredDuringExecution", {{"nodeSelectorTerms", terms}}}}}}}};
}
Json requirement(const char* op, const std::vector<std::string>& values) {
  return node_affinity(
      Json::array({{{"matchExpressions",
                     Json::array({{{"key", "disk"}, {"operator", op}, {"values", values}}})}}}));
}
Json spread(const Json& change) {
  Json one = {{"maxSkew", 1},
              {"topologyKey", "kubernetes.io/hostname"},
              {"whenUnsatisfiable", "DoNotSchedule"}};
  one.merge_patch(change);
  return {{"topologySpreadConstraints", Json::array({one})}};
}

TEST(PlacementValidation, Refusals) {
  const std::string term =
      "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
      "nodeSelectorTerms";
  const std::string values = term + "[0].matchExpressions[0].values: ";
  const std::string first = "spec.topologySpreadConstraints[0]";
  struct Case {
    Json spec;
    std::string problem;  // contained; "": none
  };
  const Case cases[] = {
      {Json::object(), ""},
      {requirement("In", {"ssd"}), ""},
      {requirement("In", {}), values + "Required value: must be specified when `operator` is 'In' "
                                       "or 'NotIn'"},
      {requirement("Exists", {"x"}), values + "Forbidden: may not be specified when `operator` is "
                                              "'Exists' or 'DoesNotExist'"},
      {requirement("Gt", {"1", "2"}), values + "Required value: must be specified single value "
                                               "when `operator` is 'Lt' or 'Gt'"},
      {requirement("Near", {}), "not a valid selector operator"},
      {node_affinity(Json::array()),
       term + ": Required value: must have at least one node selector term"},
      {spread(Json::object()), ""},
      {spread({{"maxSkew", 0}}), first + ".maxSkew: Invalid value: 0: must be greater than zero"},
      {spread({{"topologyKey", nullptr}}),
       first + ".topologyKey: Required value: can not be empty"},
      {spread({{"whenUnsatisfiable", "Never"}}), first + ".whenUnsatisfiable: Unsupported value"},
      {spread({{"whenUnsatisfiable", "ScheduleAnyway"}, {"minDomains", 2}}),
       "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"},
      {{{"affinity",
         {{"podAffinity",
           {{"preferredDuringSchedulingIgnoredDuringExecution",
             Json::array({{{"weight", 0}, {"podAffinityTerm", Json::object()}}})}}}}}},
       "weight: Invalid value: 0: must be in the range 1-100"},
      {{{"nodeName", "a"}, {"schedulingGates", Json::array({{{"name", "x"}}})}},
       "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec.dump());
    const std::string found = problems(c.spec);
    if (c.problem.empty()) {
      EXPECT_EQ(found, "");
    } else {
      EXPECT_NE(found.find(c.problem), std::string::npos) << found;
    }
  }
}

TEST(PlacementValidation, GatesOnlyGo) {
  const auto gates = [](const std::vector<std::string>& names) {
    Json list = Json::array();
    for (const std::string& name : names) list.push_back({{"name", name}});
    return Json{{"schedulingGates", list}};
  };
  FieldErrors fewer, more;
  validate_gates_update(gates({"b"}), gates({"a", "b"}), fewer);
  EXPECT_TRUE(fewer.empty());
  validate_gates_update(gates({"a", "c"}), gates({"a"}), more);
  ASSERT_EQ(more.causes().size(), 1U);
  EXPECT_EQ(more.causes()[0].message,
            "Forbidden: only deletion is allowed, but found new scheduling gate 'c'");
}

}  // namespace
}  // namespace coracle
