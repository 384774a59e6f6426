// Evictions, and what lets Pods stay on a node that does not answer.
#include <gtest/gtest.h>

#include "requests_fixture.h"

namespace coracle {
namespace {

class EvictionTest : public RequestsFixture {
 protected:
  Response post(const std::string& path, const Json& body) const {
    return ask("POST", path, {}, body.dump());
  }
};

TEST_F(EvictionTest, EvictionsDeletePods) {
  const Json pod = {
      {"metadata", {{"name", "p"}}},
      {"spec", {{"nodeName", "n1"}, {"containers", {{{"name", "c"}, {"image", "coracle/echo"}}}}}}};
  ASSERT_EQ(post("/api/v1/namespaces/default/pods", pod).code, 201);
  const std::string path = "/api/v1/namespaces/default/pods/p";
  const auto eviction = [](const Json& options, const char* version = "policy/v1") {
    return Json{{"apiVersion", version},
                {"kind", "Eviction"},
                {"metadata", {{"name", "p"}, {"namespace", "default"}}},
                {"deleteOptions", options}};
  };
  EXPECT_EQ(post(path + "/eviction", eviction({{"preconditions", {{"uid", "another"}}}})).code,
            409);
  EXPECT_EQ(post(path + "/eviction", eviction({{"dryRun", {"All"}}})).code, 201);
  EXPECT_EQ(post(path + "/eviction", eviction(Json::object(), "policy/v7")).code, 400);
  EXPECT_EQ(post("/api/v1/namespaces/default/pods/q/eviction", eviction(Json::object())).code, 400);
  EXPECT_EQ(json_string(get(path).json(), {"metadata", "deletionTimestamp"}), "");
  const Response asked = post(path + "/eviction", eviction({{"gracePeriodSeconds", 7}}));
  EXPECT_EQ(asked.code, 201) << asked.body;
  EXPECT_EQ(json_string(asked.json(), {"status"}), "Success");
  EXPECT_EQ(json_int(get(path).json(), {"metadata", "deletionGracePeriodSeconds"}), 7);
  const Response old =
      post(path + "/eviction", eviction({{"gracePeriodSeconds", 0}}, "policy/v1beta1"));
  EXPECT_EQ(old.code, 201) << old.body;
  EXPECT_EQ(get(path).code, 404);
  EXPECT_EQ(post(path + "/eviction", eviction(Json::object())).code, 404);
  EXPECT_EQ(get(path + "/eviction").code, 405);
}

TEST_F(EvictionTest, PodsBearANodeThatDoesNotAnswerForAWhile) {
  const Json own = {{"operator", "Exists"}, {"effect", "NoExecute"}};
  const Json pod = {{"metadata", {{"name", "p"}}},
                    {"spec", {{"containers", {{{"name", "c"}, {"image", "coracle/echo"}}}}}}};
  ASSERT_EQ(post("/api/v1/namespaces/default/pods", pod).code, 201);
  const Json defaults = get("/api/v1/namespaces/default/pods/p").json()["spec"]["tolerations"];
  EXPECT_EQ(defaults, Json::parse(R"([
      {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
       "tolerationSeconds": 300},
      {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
       "tolerationSeconds": 300}])"));
  Json bears = pod;
  bears["metadata"]["name"] = "q";
  bears["spec"]["tolerations"] = Json::array({own});
  ASSERT_EQ(post("/api/v1/namespaces/default/pods", bears).code, 201);
  EXPECT_EQ(get("/api/v1/namespaces/default/pods/q").json()["spec"]["tolerations"],
            Json::array({own}));
}

}  // namespace
}  // namespace coracle
