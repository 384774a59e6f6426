#include "apiserver/discovery.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "schema_test_kinds.h"

namespace coracle {
namespace {

TEST(Discovery, ListsVersionsAndGroups) {
  const Json versions = Json::parse(discovery_api_versions("10.0.0.1:6443"));
  EXPECT_EQ(versions,
            Json::parse(R"({"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":
    [{"clientCIDR":"0.0.0.0/0","serverAddress":"10.0.0.1:6443"}]})"));
  const Json groups = Json::parse(discovery_api_groups(test_kinds()));
  EXPECT_EQ(groups["kind"], "APIGroupList");
  ASSERT_EQ(groups["groups"].size(), 2U);
  EXPECT_EQ(groups["groups"][0],
            Json::parse(R"({"name":"discovery.k8s.io","versions":[{"groupVersion":
    "discovery.k8s.io/v1","version":"v1"}],"preferredVersion":{"groupVersion":"discovery.k8s.io/v1","version":"v1"}})"));
}

TEST(Discovery, DescribesOneGroup) {
  const auto group = discovery_api_group(test_kinds(), "coordination.k8s.io");
  ASSERT_TRUE(group);
  EXPECT_EQ(Json::parse(*group)["kind"], "APIGroup");
  EXPECT_TRUE(is_not_found(discovery_api_group(test_kinds(), "apps").error()));
  EXPECT_TRUE(is_not_found(discovery_api_group(test_kinds(), "").error()));
}

TEST(Discovery, ListsResourcesParentsFirst) {
  const auto text = discovery_resources(test_kinds(), "", "v1");
  ASSERT_TRUE(text);
  const Json document = Json::parse(*text);
  EXPECT_EQ(document["groupVersion"], "v1");
  std::vector<std::string> names;
  for (const Json& r : document["resources"]) names.push_back(r["name"]);
  EXPECT_EQ(names,
            (std::vector<std::string>{"namespaces", "namespaces/finalize", "namespaces/status",
                                      "pods", "pods/binding", "pods/status", "services",
                                      "services/status", "configmaps"}));
  EXPECT_EQ(document["resources"][3],
            Json::parse(R"({"name":"pods","singularName":"pod","namespaced":true,
    "kind":"Pod","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],
    "shortNames":["po"],"categories":["all"]})"));
  EXPECT_EQ(document["resources"][4],
            Json::parse(R"({"name":"pods/binding","singularName":"","namespaced":true,
    "kind":"Binding","verbs":["create"]})"));
  const Json verbs = document["resources"][0]["verbs"];
  EXPECT_EQ(std::count(verbs.begin(), verbs.end(), "deletecollection"), 0);
  EXPECT_TRUE(discovery_resources(test_kinds(), "discovery.k8s.io", "v1"));
  EXPECT_TRUE(is_not_found(discovery_resources(test_kinds(), "", "v2").error()));
}

TEST(Discovery, AggregatesTheSame) {
  for (const char* version : {"v2", "v2beta1"}) {
    const Json core = Json::parse(aggregated_core(test_kinds(), version));
    EXPECT_EQ(core["apiVersion"], std::string("apidiscovery.k8s.io/") + version);
    ASSERT_EQ(core["items"].size(), 1U);
    EXPECT_EQ(core["items"][0]["metadata"], Json::object());
    const Json& pods = core["items"][0]["versions"][0]["resources"][1];
    EXPECT_EQ(pods["resource"], "pods");
    EXPECT_EQ(pods["scope"], "Namespaced");
    EXPECT_EQ(pods["responseKind"]["kind"], "Pod");
    EXPECT_EQ(pods["subresources"][1]["subresource"], "status");
    const Json groups = Json::parse(aggregated_groups(test_kinds(), version));
    EXPECT_EQ(groups["items"].size(), 2U);
    EXPECT_EQ(groups["items"][1]["metadata"]["name"], "coordination.k8s.io");
  }
  EXPECT_EQ(aggregated_discovery_type("v2"),
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
}

TEST(Discovery, TellsAVersionThatClientsCanRead) {
  const Json version = Json::parse(version_document("0.1.0"));
  for (const auto& [key, value] : version.items()) EXPECT_TRUE(value.is_string()) << key;
  EXPECT_EQ(version["gitVersion"], "v1.33.1+coracle-0.1.0");
}

}  // namespace
}  // namespace coracle
