#include "node/pods/security.h"

#include "node/pods/unsupported.h"
#include "scene.h"

namespace coracle::pods {
namespace {

const UserFiles kFiles = {
    "root:x:0:0:root:/root:/bin/bash\nweb:x:1000:100:Web:/srv/web:/bin/sh\nnowhere:x:7:7:::\n",
    "root:x:0:\nusers:x:100:\nadm:x:4:root,web\nvideo:x:44:web\n"};

constexpr std::uint64_t bit(int number) {
  return std::uint64_t{1} << static_cast<unsigned>(number);
}

Result<Privileges> privileges(const Json& pod, const Json& container, bool share = false) {
  Json c = container_json("c");
  c["securityContext"] = container;
  const Scene s({{"containers", Json::array({c})},
                 {"securityContext", pod},
                 {"shareProcessNamespace", share}});
  return compute_privileges(s.pod, s.pod.containers[0], kFiles);
}

TEST(Security, WithoutAWordItIsRootWithTheDefaultSet) {
  const auto p = privileges(Json::object(), Json::object());
  ASSERT_TRUE(p);
  EXPECT_EQ(p->groups, std::vector<std::uint32_t>{4}) << "root's, as its files have it";
  EXPECT_EQ(p->capabilities, kContainerCapabilities);
  EXPECT_TRUE(p->no_new_privileges);
  EXPECT_EQ(p->uid + p->gid, 0U);
}

TEST(Security, UserAndGroups) {
  struct Case {
    const char* name;
    Json pod, container;
    std::uint32_t uid, gid;
    std::vector<std::uint32_t> groups;
  };
  for (const Case& c : {
           Case{"the user's own", {{"runAsUser", 1000}}, {}, 1000, 100, {4, 44}},
           Case{"container before Pod",
                {{"runAsUser", 1}},
                {{"runAsUser", 1000}},
                1000,
                100,
                {4, 44}},
           Case{
               "named group", {{"runAsUser", 1000}, {"runAsGroup", 3000}}, {}, 1000, 3000, {4, 44}},
           Case{"unknown user", {{"runAsUser", 4242}}, {}, 4242, 0, {}},
           Case{"more groups",
                {{"runAsUser", 4242}, {"supplementalGroups", {9, 8}}, {"fsGroup", 2000}},
                {},
                4242,
                0,
                {8, 9, 2000}},
           Case{"only what is named",
                {{"runAsUser", 1000},
                 {"supplementalGroups", {9}},
                 {"supplementalGroupsPolicy", "Strict"}},
                {},
                1000,
                100,
                {9}},
       }) {
    SCOPED_TRACE(c.name);
    const auto p = privileges(c.pod, c.container);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->uid, c.uid);
    EXPECT_EQ(p->gid, c.gid);
    EXPECT_EQ(p->groups, c.groups);
  }
}

TEST(Security, Capabilities) {
  struct Case {
    const char* name;
    Json capabilities;
    std::uint64_t wanted;
  };
  const std::uint64_t admin = bit(12), raw = bit(13), bind = bit(10);
  for (const Case& c :
       {Case{"added", {{"add", {"NET_ADMIN"}}}, kContainerCapabilities | admin},
        Case{"with its prefix", {{"add", {"CAP_NET_ADMIN"}}}, kContainerCapabilities | admin},
        Case{"dropped", {{"drop", {"NET_RAW"}}}, kContainerCapabilities & ~raw},
        Case{"unknown", {{"add", {"NONSENSE"}}}, kContainerCapabilities},
        Case{"none", {{"drop", {"ALL"}}}, 0},
        Case{"only one", {{"drop", {"ALL"}}, {"add", {"NET_BIND_SERVICE"}}}, bind},
        Case{"all but one", {{"add", {"ALL"}}, {"drop", {"NET_RAW"}}}, (bit(41) - 1) & ~raw}}) {
    SCOPED_TRACE(c.name);
    const auto p = privileges(Json::object(), {{"capabilities", c.capabilities}});
    ASSERT_TRUE(p);
    EXPECT_EQ(p->capabilities, c.wanted);
  }
  EXPECT_EQ(capability_number("CHECKPOINT_RESTORE"), 40);
  EXPECT_EQ(capability_number("CAP_SYS_ADMIN"), 21);
}

// The Pod's supervisor is one of the processes that its containers see then.
TEST(Security, NobodyTracesTheSupervisor) {
  const Json all = {{"capabilities", {{"add", {"ALL"}}}}};
  EXPECT_NE(privileges(Json::object(), all)->capabilities & bit(19), 0U);
  EXPECT_EQ(privileges(Json::object(), all, true)->capabilities & bit(19), 0U);
}

TEST(Security, RunAsNonRoot) {
  const std::string who = "(pod: \"p_ns(u1)\", container: c)";
  const Json asked = {{"runAsNonRoot", true}};
  EXPECT_EQ(privileges(asked, {}).error().message,
            "container has runAsNonRoot and image will run as root " + who);
  EXPECT_EQ(privileges(asked, {{"runAsUser", 0}}).error().message,
            "container's runAsUser breaks non-root policy " + who);
  EXPECT_TRUE(privileges(asked, {{"runAsUser", 5}}));
  EXPECT_TRUE(privileges(asked, {{"runAsNonRoot", false}}));
}

TEST(Security, Flags) {
  EXPECT_TRUE(privileges({}, {{"allowPrivilegeEscalation", false}})->no_new_privileges);
  EXPECT_FALSE(privileges({}, {{"allowPrivilegeEscalation", true}})->no_new_privileges);
  EXPECT_TRUE(privileges({}, {{"readOnlyRootFilesystem", true}})->read_only_root);
}

TEST(Security, HomeIsTheUsers) {
  EXPECT_EQ(home_of(1000, kFiles.passwd), "/srv/web");
  EXPECT_EQ(home_of(4242, kFiles.passwd), "/");
  EXPECT_EQ(home_of(7, kFiles.passwd), "/");
}

TEST(Security, LimitsComeFromTheResources) {
  Json a = container_json("a"), b = container_json("b"), init = container_json("i");
  a["resources"] = {{"limits", {{"cpu", "1.5"}, {"memory", "64Mi"}}},
                    {"requests", {{"cpu", "100m"}}}};
  b["resources"] = {{"requests", {{"cpu", "200m"}}}};
  init["resources"] = {{"requests", {{"cpu", "50m"}}}};
  const Scene s(spec_of("Always", Json::array({a, b}), Json::array({init})));
  EXPECT_EQ(compute_limits(s.pod, *s.pod.find("a")),
            (ResourceLimits{.cpu_millis = 1500,
                            .memory_bytes = 64 << 20,
                            .cpu_request_millis = 100,
                            .pod_cpu_request_millis = 300}));
  EXPECT_EQ(limited_resources(s.pod), (std::vector<std::string>{"cpu", "memory"}));
  EXPECT_TRUE(limited_resources(Scene().pod).empty());
}

TEST(Security, WhatHasNoEffectIsNamed) {
  Json c = container_json("c");
  c["securityContext"] = {{"privileged", true},
                          {"procMount", "Unmasked"},
                          {"seccompProfile", {{"type", "RuntimeDefault"}}},
                          {"capabilities", {{"add", {"SYS_PTRACE"}}}}};
  const Scene s(
      {{"containers", Json::array({c})},
       {"shareProcessNamespace", true},
       {"hostPID", true},
       {"securityContext", {{"runAsUser", 1}, {"seccompProfile", {{"type", "Localhost"}}}}}});
  EXPECT_EQ(unsupported_fields(s.pod),
            (std::vector<std::string>{
                "spec.hostPID", "spec.containers[0].securityContext.privileged",
                "spec.containers[0].securityContext.procMount",
                "spec.containers[0].securityContext.capabilities.add SYS_PTRACE beside "
                "shareProcessNamespace",
                "spec.securityContext.seccompProfile"}));
}

}  // namespace
}  // namespace coracle::pods
