// The questions clients ask about themselves: answered, never stored.
#include <gmock/gmock.h>

#include "support/api_fixture.h"

namespace coracle {
namespace {

constexpr const char* kAccess = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
constexpr const char* kRules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
constexpr const char* kMe = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

class ReviewsTest : public ClusterFixture {};

TEST_F(ReviewsTest, MayI) {
  const Json question = {{"resourceAttributes", {{"verb", "get"}, {"resource", "pods"}}}};
  const Reply reply = post(kAccess, {{"spec", question}});
  ASSERT_EQ(reply.code, 201) << reply.body;
  EXPECT_EQ(reply.json()["kind"], "SelfSubjectAccessReview");
  EXPECT_EQ(reply.json()["spec"], question);
  EXPECT_EQ(reply.json()["status"]["allowed"], true);
  EXPECT_EQ(post(kAccess, {{"spec", {{"nonResourceAttributes", {{"path", "/"}}}}}}).code, 201);
}

TEST_F(ReviewsTest, AQuestionAsksOneThing) {
  Json both = {{"resourceAttributes", {{"verb", "get"}}},
               {"nonResourceAttributes", {{"path", "/"}}}};
  for (const Json& spec : {Json::object(), both}) {
    const Reply reply = post(kAccess, {{"spec", spec}});
    EXPECT_EQ(reply.code, 422) << reply.body;
    EXPECT_THAT(reply.body, ::testing::HasSubstr("exactly one of"));
  }
  EXPECT_EQ(post(kAccess, {{"spec", 3}}).code, 400);
  EXPECT_EQ(call("POST", kAccess).code, 400);
}

TEST_F(ReviewsTest, WhatMayIAndWhoAmI) {
  const Reply rules = post(kRules, {{"spec", {{"namespace", "default"}}}});
  ASSERT_EQ(rules.code, 201) << rules.body;
  EXPECT_EQ(rules.json()["status"]["resourceRules"][0]["verbs"], Json::array({"*"}));
  EXPECT_EQ(rules.json()["status"]["nonResourceRules"][0]["nonResourceURLs"], Json::array({"*"}));
  EXPECT_EQ(rules.json()["status"]["incomplete"], false);
  const Reply me = post(kMe, Json::object());
  ASSERT_EQ(me.code, 201) << me.body;
  EXPECT_EQ(me.json()["status"]["userInfo"]["username"], "kubernetes-admin");
  EXPECT_THAT(me.json()["status"]["userInfo"]["groups"],
              ::testing::ElementsAre("system:masters", "system:authenticated"));
}

TEST_F(ReviewsTest, NothingElseCanBeDoneWithThem) {
  const Revision before = registry_->revision();
  for (const char* path : {kAccess, kRules, kMe}) {
    SCOPED_TRACE(path);
    EXPECT_EQ(get(path).code, 405);
    EXPECT_EQ(get(std::string(path) + "?watch=1").code, 405);
    EXPECT_EQ(call("DELETE", path).code, 405);
    EXPECT_EQ(get(std::string(path) + "/x").code, 405);
  }
  CallOptions anonymous;
  anonymous.certificate = false;
  EXPECT_EQ(call("POST", kMe, "{}", anonymous).code, 401);
  const ResourceKind& access = kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews");
  const auto stored = registry_->create(access, "", {{"metadata", {{"name", "x"}}}}, {});
  EXPECT_EQ(stored.error().code, Code::MethodNotAllowed);
  EXPECT_EQ(registry_->revision(), before);
}

TEST_F(ReviewsTest, DiscoveryAndOpenApiOfferOnlyCreate) {
  const Json list = get("/apis/authorization.k8s.io/v1").json();
  ASSERT_EQ(list["resources"].size(), 2U);
  for (const Json& resource : list["resources"])
    EXPECT_EQ(resource["verbs"], Json::array({"create"}));
  const Json document = get("/openapi/v3/apis/authorization.k8s.io/v1").json();
  const Json& paths = document["paths"];
  ASSERT_TRUE(paths.contains(kAccess));
  EXPECT_TRUE(paths[kAccess].contains("post"));
  EXPECT_FALSE(paths[kAccess].contains("get"));
  EXPECT_FALSE(paths.contains(std::string(kAccess) + "/{name}"));
}

}  // namespace
}  // namespace coracle
