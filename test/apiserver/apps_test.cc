// Deployments, ReplicaSets and DaemonSets through the registry: defaults, checks, columns; and the
// scale subresource through the handlers.
#include <apiserver/print_table.h>
#include <coracle/api/apps.h>

#include "requests_fixture.h"

namespace coracle {
namespace {

Json workload(const Json& spec = Json::object()) {
  Json out = {{"metadata", {{"name", "web"}}},
              {"spec",
               {{"selector", {{"matchLabels", {{"app", "web"}}}}},
                {"template",
                 {{"metadata", {{"labels", {{"app", "web"}, {"tier", "x"}}}}},
                  {"spec", {{"containers", Json::array({{{"name", "c"}, {"image", "i:1"}}})}}}}}}}};
  out["spec"].merge_patch(spec);
  return out;
}

class AppsTest : public RequestsFixture {
 protected:
  void refused(const Resource& resource, const Json& spec, const std::string& field,
               const std::string& message) {
    const auto created = create(resource, workload(spec));
    ASSERT_FALSE(created) << spec;
    EXPECT_EQ(created.error().code, Code::Invalid);
    bool found = false;
    for (const Cause& cause : created.error().causes)
      found = found || (cause.field == field && cause.message.find(message) != std::string::npos);
    EXPECT_TRUE(found) << field << ": " << message << "\n" << created.error().message;
  }
};

TEST_F(AppsTest, DefaultsAreUpstreams) {
  const Json deployment = make(resources::kDeployments, workload());
  const Json& spec = deployment["spec"];
  EXPECT_EQ(spec["replicas"], 1);
  EXPECT_EQ(spec["revisionHistoryLimit"], 10);
  EXPECT_EQ(spec["progressDeadlineSeconds"], 600);
  EXPECT_EQ(spec["strategy"], Json::parse(R"({"type": "RollingUpdate",
      "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})"));
  EXPECT_EQ(spec["template"]["spec"]["restartPolicy"], "Always");
  // What admission adds to Pods is not their template's.
  EXPECT_FALSE(spec["template"]["spec"].contains("tolerations"));
  EXPECT_FALSE(spec["template"]["spec"].contains("serviceAccountName"));
  EXPECT_EQ(deployment["metadata"]["generation"], 1);
  const Json set = make(resources::kReplicaSets, workload());
  EXPECT_EQ(set["spec"]["replicas"], 1);
  EXPECT_EQ(set["status"], (Json{{"replicas", 0}}));
  const Json daemons = make(resources::kDaemonSets, workload());
  EXPECT_EQ(daemons["spec"]["updateStrategy"], Json::parse(R"({"type": "RollingUpdate",
      "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})"));
  // A template that was given all its defaults gets no more of them: it stays the same.
  Json again = workload();
  again["metadata"]["name"] = "copy";
  again["spec"]["template"] = spec["template"];
  EXPECT_EQ(make(resources::kReplicaSets, again)["spec"]["template"], spec["template"]);
}

TEST_F(AppsTest, RefusesWhatUpstreamRefuses) {
  const Resource& deployments = resources::kDeployments;
  const auto pace = [](const Json& unavailable, const Json& surge) {
    return Json{
        {"strategy", {{"rollingUpdate", {{"maxUnavailable", unavailable}, {"maxSurge", surge}}}}}};
  };
  struct Case {
    Json spec;
    const char* field;
    const char* message;
  };
  const Case cases[] = {
      {{{"replicas", -1}}, "spec.replicas", "must be greater than or equal to 0"},
      {{{"selector", nullptr}}, "spec.selector", ""},
      {{{"selector", {{"matchLabels", nullptr}}}}, "spec.selector", "empty selector is invalid"},
      {{{"selector", {{"matchLabels", {{"app", "db"}}}}}},
       "spec.template.metadata.labels",
       "`selector` does not match template `labels`"},
      {{{"selector", {{"matchExpressions", {{{"key", "a"}, {"operator", "Near"}}}}}}},
       "spec.selector.matchExpressions[0].operator",
       "not a valid selector operator"},
      {{{"selector", {{"matchExpressions", {{{"key", "a"}, {"operator", "In"}}}}}}},
       "spec.selector.matchExpressions[0].values",
       "must be specified"},
      {{{"template", {{"spec", {{"restartPolicy", "Never"}}}}}},
       "spec.template.spec.restartPolicy",
       "supported values: \"Always\""},
      {{{"template", {{"spec", {{"containers", Json::array()}}}}}},
       "spec.template.spec.containers",
       ""},
      {{{"template", {{"metadata", {{"labels", {{"-", "x"}}}}}}}}, "spec.template.labels", ""},
      {pace(0, 0), "spec.strategy.rollingUpdate.maxUnavailable", "may not be 0"},
      {pace("0%", "0%"), "spec.strategy.rollingUpdate.maxUnavailable", "may not be 0"},
      {pace("101%", 1), "spec.strategy.rollingUpdate.maxUnavailable", "greater than 100%"},
      {pace("half", 1), "spec.strategy.rollingUpdate.maxUnavailable", "percent"},
      {pace(1, -1), "spec.strategy.rollingUpdate.maxSurge", "greater than or equal to 0"},
      {{{"strategy", {{"type", "Recreate"}, {"rollingUpdate", {{"maxSurge", 1}}}}}},
       "spec.strategy.rollingUpdate",
       "may not be specified"},
      {{{"strategy", {{"type", "Sideways"}}}}, "spec.strategy.type", "supported values"},
      {{{"minReadySeconds", 600}}, "spec.progressDeadlineSeconds", "greater than minReadySeconds"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec.dump());
    refused(deployments, c.spec, c.field, c.message);
  }
  const auto update = [](const Json& unavailable, const Json& surge) {
    return Json{{"updateStrategy",
                 {{"rollingUpdate", {{"maxUnavailable", unavailable}, {"maxSurge", surge}}}}}};
  };
  refused(resources::kDaemonSets, update(1, 1), "spec.updateStrategy.rollingUpdate.maxSurge",
          "may not be set when maxUnavailable is non-zero");
  refused(resources::kDaemonSets, update(0, 0), "spec.updateStrategy.rollingUpdate.maxUnavailable",
          "cannot be 0 when maxSurge is 0");
  refused(resources::kDaemonSets, {{"updateStrategy", {{"type", "Never"}}}},
          "spec.updateStrategy.type", "supported values");
}

TEST_F(AppsTest, TheSelectorStaysAndTheGenerationCounts) {
  for (const Resource& kind :
       {resources::kDeployments, resources::kReplicaSets, resources::kDaemonSets}) {
    SCOPED_TRACE(kind.plural);
    make(kind, workload());
    const auto other =
        patch(kind, "web", {{"spec", {{"selector", {{"matchLabels", {{"tier", "x"}}}}}}}});
    ASSERT_FALSE(other);
    EXPECT_NE(other.error().message.find("spec.selector"), std::string::npos);
    EXPECT_NE(other.error().message.find("field is immutable"), std::string::npos);
    const auto changed = patch(kind, "web", {{"spec", {{"minReadySeconds", 3}}}});
    ASSERT_TRUE(changed);
    EXPECT_EQ((*changed)["metadata"]["generation"], 2);
    Json with_status = *changed;
    with_status["status"]["observedGeneration"] = 2;
    with_status["spec"]["minReadySeconds"] = 9;
    const auto noted = RegistryFixture::update(kind, with_status, "status");
    ASSERT_TRUE(noted);
    EXPECT_EQ((*noted)["metadata"]["generation"], 2);
    EXPECT_EQ((*noted)["spec"]["minReadySeconds"], 3);
  }
}

TEST_F(AppsTest, Columns) {
  Json deployment = workload({{"replicas", 3}});
  deployment["status"] = {{"readyReplicas", 2}, {"updatedReplicas", 1}, {"availableReplicas", 2}};
  const Json row =
      table_row(kind(resources::kDeployments), deployment, IncludeObject::None, clock_);
  EXPECT_EQ(row["cells"][1], "2/3");
  EXPECT_EQ(row["cells"][2], 1);
  EXPECT_EQ(row["cells"][5], "c");
  EXPECT_EQ(row["cells"][6], "i:1");
  EXPECT_EQ(row["cells"][7], "app=web");
}

TEST_F(AppsTest, ScaleIsReadAndWritten) {
  make(resources::kDeployments, workload({{"replicas", 2}}));
  const std::string path = "/apis/apps/v1/namespaces/default/deployments/web/scale";
  const Json scale = get(path).json();
  EXPECT_EQ(scale["kind"], "Scale");
  EXPECT_EQ(scale["apiVersion"], "autoscaling/v1");
  EXPECT_EQ(scale["spec"]["replicas"], 2);
  EXPECT_EQ(scale["status"], (Json{{"replicas", 0}, {"selector", "app=web"}}));
  const auto patched = ask("PATCH", path, {{"Content-Type", "application/merge-patch+json"}},
                           R"({"spec":{"replicas":5}})");
  EXPECT_EQ(patched.code, 200) << patched.body;
  EXPECT_EQ(patched.json()["spec"]["replicas"], 5);
  EXPECT_EQ(stored(resources::kDeployments, "web")["spec"]["replicas"], 5);
  Json next = patched.json();
  next["spec"]["replicas"] = 0;
  EXPECT_EQ(ask("PUT", path, {}, next.dump()).code, 200);
  EXPECT_EQ(stored(resources::kDeployments, "web")["spec"]["replicas"], 0);
  EXPECT_EQ(ask("PUT", path, {}, next.dump()).code, 409);  // of an older version
  const auto wrong = ask("PATCH", path, {{"Content-Type", "application/merge-patch+json"}},
                         R"({"spec":{"replicas":-1}})");
  EXPECT_EQ(wrong.code, 422);
  EXPECT_NE(wrong.body.find("spec.replicas"), std::string::npos) << wrong.body;
  EXPECT_EQ(ask("PATCH", path, {{"Content-Type", "application/json-patch+json"}},
                R"([{"op":"replace","path":"/spec/replicas","value":4}])")
                .code,
            200);
  EXPECT_EQ(ask("PATCH", path + "?dryRun=All", {{"Content-Type", "application/merge-patch+json"}},
                R"({"spec":{"replicas":9}})")
                .code,
            200);
  EXPECT_EQ(stored(resources::kDeployments, "web")["spec"]["replicas"], 4);
  EXPECT_EQ(get("/apis/apps/v1/namespaces/default/daemonsets/web/scale").code, 404);
  EXPECT_EQ(get("/apis/apps/v1/namespaces/default/deployments/none/scale").code, 404);
  EXPECT_EQ(ask("POST", path, {}, next.dump()).code, 405);
}

}  // namespace
}  // namespace coracle
