// What containers may ask for, in upstream's words: of Pods, of their init containers, and in the
// templates of workloads.
#include <coracle/api/apps.h>

#include "registry_fixture.h"

namespace coracle {
namespace {

class ResourceValidationTest : public RegistryFixture {
 protected:
  // "FIELD: MESSAGE" of each cause, sorted as they came.
  std::vector<std::string> causes(const Resource& resource, const Json& object) {
    const auto made = create(resource, object);
    std::vector<std::string> out;
    if (made) return out;
    EXPECT_EQ(made.error().code, Code::Invalid) << made.error().message;
    for (const Cause& cause : made.error().causes)
      out.push_back(cause.field + ": " + cause.message);
    return out;
  }
  std::vector<std::string> of_pod(const Json& resources) {
    Json pod = simple_pod("p" + std::to_string(++count_));
    pod["spec"]["containers"][0]["resources"] = resources;
    return causes(resources::kPods, pod);
  }
  int count_ = 0;
};

TEST_F(ResourceValidationTest, NamesAmountsAndRequests) {
  const std::string at = "spec.containers[0].resources";
  struct Case {
    const char* name;
    Json resources;
    std::vector<std::string> causes;
  };
  for (
      const Case& c : std::initializer_list<Case>{
          {"nothing", Json::object(), {}},
          {"below and equal",
           {{"requests", {{"cpu", "500m"}, {"memory", "1Gi"}}},
            {"limits", {{"cpu", 1}, {"memory", "1024Mi"}}}},
           {}},
          {"cpu above",
           {{"requests", {{"cpu", "2"}}}, {"limits", {{"cpu", "1"}}}},
           {at + ".requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"}},
          {"printed canonically",
           {{"requests", {{"memory", "2048Mi"}}}, {"limits", {{"memory", "1.5Gi"}}}},
           {at + ".requests: Invalid value: \"2Gi\": must be less than or equal to memory limit of "
                 "1536Mi"}},
          {"by a little",
           {{"requests", {{"cpu", "1001m"}}}, {"limits", {{"cpu", 1}}}},
           {at + ".requests: Invalid value: \"1001m\": must be less than or equal to cpu limit of "
                 "1"}},
          {"negative",
           {{"requests", {{"cpu", "-1"}}}, {"limits", {{"memory", "-5Mi"}}}},
           {at + ".limits[memory]: Invalid value: \"-5Mi\": must be greater than or equal to 0",
            at + ".requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            at + ".requests[memory]: Invalid value: \"-5Mi\": must be greater than or equal to 0"}},
          {"minus nothing", {{"requests", {{"cpu", "-0"}}}}, {}},
          {"unknown",
           {{"requests", {{"gpu", 1}}}},
           {at +
                ".requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully "
                "qualified",
            at + ".requests[gpu]: Invalid value: \"gpu\": must be a standard resource for "
                 "containers"}},
          {"standard, but of quotas",
           {{"requests", {{"pods", 1}}}},
           {at + ".requests[pods]: Invalid value: \"pods\": must be a standard resource for "
                 "containers"}},
          {"extended", {{"limits", {{"example.com/gpu", 2}}}}, {}},
          {"extended in parts",
           {{"limits", {{"example.com/gpu", "500m"}}}},
           {at + ".limits[example.com/gpu]: Invalid value: \"500m\": must be an integer",
            at + ".requests[example.com/gpu]: Invalid value: \"500m\": must be an integer"}},
          {"extended without a limit",
           {{"requests", {{"example.com/gpu", 1}}}},
           {at + ".limits: Required value: Limit must be set for non overcommitable resources"}},
          {"extended below its limit",
           {{"requests", {{"example.com/gpu", 1}}}, {"limits", {{"example.com/gpu", 2}}}},
           {at + ".requests: Invalid value: \"1\": must be equal to example.com/gpu limit of 2"}},
          {"a name that no quota could have",
           {{"limits", {{"requests.example.com/gpu", 1}}}},
           {at + ".limits[requests.example.com/gpu]: Invalid value: \"requests.example.com/gpu\": "
                 "doesn't follow extended resource name standard",
            at + ".requests[requests.example.com/gpu]: Invalid value: "
                 "\"requests.example.com/gpu\": doesn't follow extended resource name standard"}},
          {"huge pages alone",
           {{"limits", {{"hugepages-2Mi", "4Mi"}}}},
           {at + ": Forbidden: HugePages require cpu or memory"}},
          {"huge pages and memory",
           {{"limits", {{"hugepages-2Mi", "4Mi"}, {"memory", "1Mi"}}}},
           {}}}) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(of_pod(c.resources), c.causes);
  }
}

TEST_F(ResourceValidationTest, InitContainersAndTemplates) {
  const Json excess = {{"requests", {{"cpu", 2}}}, {"limits", {{"cpu", 1}}}};
  const std::string message =
      ".resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1";
  Json pod = simple_pod("p");
  pod["spec"]["initContainers"] =
      Json::array({{{"name", "i"}, {"image", "coracle/host"}, {"resources", excess}}});
  EXPECT_EQ(causes(resources::kPods, pod),
            std::vector<std::string>{"spec.initContainers[0]" + message});
  Json spec = simple_pod("p")["spec"];
  spec["containers"][0]["resources"] = excess;
  const Json workload = {
      {"metadata", {{"name", "w"}, {"namespace", "default"}}},
      {"spec",
       {{"selector", {{"matchLabels", {{"app", "w"}}}}},
        {"template", {{"metadata", {{"labels", {{"app", "w"}}}}}, {"spec", spec}}}}}};
  for (const Resource& resource :
       {resources::kDeployments, resources::kReplicaSets, resources::kDaemonSets})
    EXPECT_EQ(causes(resource, workload),
              std::vector<std::string>{"spec.template.spec.containers[0]" + message})
        << resource.kind;
}

}  // namespace
}  // namespace coracle
