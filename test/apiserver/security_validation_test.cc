// What is refused of securityContexts and lifecycle hooks, in upstream's words.
#include "registry_fixture.h"

namespace coracle {
namespace {

class SecurityValidationTest : public RegistryFixture {
 protected:
  struct Case {
    const char* name;
    Json spec, container;
    std::string field, message;  // "": accepted
  };
  void check(const Case& c) {
    SCOPED_TRACE(c.name);
    Json pod = simple_pod("p" + std::to_string(++count_));
    if (!c.spec.is_null()) pod["spec"].update(c.spec);
    if (!c.container.is_null()) pod["spec"]["containers"][0].update(c.container);
    const auto made = create(resources::kPods, pod);
    if (c.field.empty()) {
      EXPECT_TRUE(made) << made.error().message;
      return;
    }
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::Invalid);
    bool found = false;
    for (const Cause& cause : made.error().causes)
      found =
          found || (cause.field == c.field && cause.message.find(c.message) != std::string::npos);
    EXPECT_TRUE(found) << made.error().message;
  }
  static Json context(const Json& fields) { return {{"securityContext", fields}}; }
  int count_ = 0;
};

TEST_F(SecurityValidationTest, Contexts) {
  const std::string range = "must be between 0 and 2147483647, inclusive";
  const std::string own = "spec.containers[0].securityContext";
  for (const Case& c : std::initializer_list<Case>{
           {"a negative user",
            context({{"runAsUser", -1}}),
            {},
            "spec.securityContext.runAsUser",
            range},
           {"a negative user of a container",
            {},
            context({{"runAsUser", -1}}),
            own + ".runAsUser",
            range},
           {"a group beyond",
            {},
            context({{"runAsGroup", 2147483648}}),
            own + ".runAsGroup",
            range},
           {"a negative group among others",
            context({{"supplementalGroups", {1, -2}}}),
            {},
            "spec.securityContext.supplementalGroups[1]",
            range},
           {"a negative fsGroup",
            context({{"fsGroup", -5}}),
            {},
            "spec.securityContext.fsGroup",
            range},
           {"names of capabilities are not looked at",
            {},
            context({{"capabilities", {{"add", {"NONSENSE"}}}}}),
            "",
            ""},
           {"escalation refused and privileged",
            {},
            context({{"allowPrivilegeEscalation", false}, {"privileged", true}}),
            own,
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"},
           {"escalation refused and SYS_ADMIN",
            {},
            context({{"allowPrivilegeEscalation", false},
                     {"capabilities", {{"add", {"CAP_SYS_ADMIN"}}}}}),
            own,
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"},
           {"an unknown profile",
            context({{"seccompProfile", {{"type", "Mine"}}}}),
            {},
            "spec.securityContext.seccompProfile.type",
            "Unsupported value: \"Mine\""},
           {"a local profile without a name",
            {},
            context({{"seccompProfile", {{"type", "Localhost"}}}}),
            own + ".seccompProfile.localhostProfile",
            "must be set when seccomp type is Localhost"},
           {"the default profile",
            context({{"seccompProfile", {{"type", "RuntimeDefault"}}}}),
            {},
            "",
            ""},
           {"two ways to share processes",
            {{"shareProcessNamespace", true}, {"hostPID", true}},
            {},
            "spec.securityContext.shareProcessNamespace",
            "ShareProcessNamespace and HostPID cannot both be enabled"}})
    check(c);
}

TEST_F(SecurityValidationTest, Hooks) {
  const auto hook = [](const Json& handler) -> Json {
    return {{"lifecycle", {{"preStop", handler}}}};
  };
  const Json exec = {{"command", {"true"}}};
  const auto init = [&](const Json& fields) -> Json {
    Json c = {{"name", "i"}, {"image", "coracle/echo"}};
    c.update(fields);
    return {{"initContainers", Json::array({c})}};
  };
  const std::string path = "spec.containers[0].lifecycle.preStop";
  const std::string init_only = "may not be set for init containers without restartPolicy=Always";
  Json sidecar = hook({{"exec", exec}});
  sidecar["restartPolicy"] = "Always";
  for (const Case& c : std::initializer_list<Case>{
           {"a command", {}, hook({{"exec", exec}}), "", ""},
           {"a sleep", {}, hook({{"sleep", {{"seconds", 5}}}}), "", ""},
           {"nothing", {}, hook(Json::object()), path, "must specify a handler type"},
           {"two",
            {},
            hook({{"exec", exec}, {"sleep", {{"seconds", 5}}}}),
            path + ".exec",
            "may not specify more than 1 handler type"},
           {"longer than there is time",
            {},
            hook({{"sleep", {{"seconds", 31}}}}),
            path + ".sleep",
            "must be non-negative and less than terminationGracePeriodSeconds (30)"},
           {"an init container's",
            init(hook({{"exec", exec}})),
            {},
            "spec.initContainers[0].lifecycle",
            init_only},
           {"an init container's probe",
            init({{"readinessProbe", {{"exec", exec}}}}),
            {},
            "spec.initContainers[0].readinessProbe",
            init_only},
           {"a sidecar's", init(sidecar), {}, "", ""}})
    check(c);
}

}  // namespace
}  // namespace coracle
