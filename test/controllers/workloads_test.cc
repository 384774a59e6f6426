// What a DaemonSet does next, as tables; and the controllers of all workloads together.
#include <coracle/api/apps.h>
#include <gtest/gtest.h>

#include "controllers_fixture.h"
#include "daemon_set.h"
#include "deployment_plan.h"
#include "replica_set.h"

namespace coracle {
namespace {

using test::ControllersTest;

const Time kNow = parse_time("2026-01-02T03:04:05Z");

Json template_json(const std::string& image = "i:1") {
  return {{"metadata", {{"labels", {{"app", "web"}}}}},
          {"spec", {{"containers", Json::array({{{"name", "c"}, {"image", image}}})}}}};
}
Json workload_json(const Json& spec = Json::object()) {
  Json out = {
      {"metadata", {{"name", "web"}, {"namespace", "default"}, {"uid", "u"}, {"generation", 1}}},
      {"spec", {{"selector", {{"matchLabels", {{"app", "web"}}}}}, {"template", template_json()}}}};
  out["spec"].merge_patch(spec);
  return out;
}
PodPtr pod(const std::string& name, const std::string& node, bool ready, const std::string& hash) {
  auto out = std::make_shared<Pod>();
  out->meta.name = out->meta.uid = name;
  out->meta.ns = "default";
  out->meta.labels = {{"app", "web"}};
  if (!hash.empty()) out->meta.labels[kRevisionHashLabel] = hash;
  out->node_name = node;
  out->phase = ready ? "Running" : "Pending";
  out->conditions = {{"Ready", ready ? "True" : "False", "", "", "2026-01-02T03:04:00Z"}};
  return out;
}
NodePtr make_node(const std::string& name, std::vector<Taint> taints = {}) {
  auto out = std::make_shared<Node>();
  out->meta.name = name;
  out->meta.labels = {{"disk", name}};
  out->taints = std::move(taints);
  return out;
}

TEST(DaemonSetPlanTest, FitsNodes) {
  struct Case {
    Json spec;
    std::vector<Taint> taints;
    bool runs, keeps;
  };
  const auto affinity = [](const Json& term) {
    return Json{{"affinity",
                 {{"nodeAffinity",
                   {{"requiredDuringSchedulingIgnoredDuringExecution",
                     {{"nodeSelectorTerms", Json::array({term})}}}}}}}};
  };
  const auto expression = [](const char* list, const char* key, const char* op,
                             const std::vector<std::string>& values) {
    return Json{{list, Json::array({{{"key", key}, {"operator", op}, {"values", values}}})}};
  };
  const Case cases[] = {
      {Json::object(), {}, true, true},
      {{{"nodeSelector", {{"disk", "n1"}}}}, {}, true, true},
      {{{"nodeSelector", {{"disk", "n2"}}}}, {}, false, false},
      {{{"nodeName", "n2"}}, {}, false, false},
      {affinity(expression("matchExpressions", "disk", "In", {"n1", "n3"})), {}, true, true},
      {affinity(expression("matchExpressions", "disk", "NotIn", {"n1"})), {}, false, false},
      {affinity(expression("matchFields", "metadata.name", "In", {"n1"})), {}, true, true},
      {affinity(expression("matchFields", "metadata.name", "In", {"n2"})), {}, false, false},
      {affinity(expression("matchExpressions", "disk", "Near", {})), {}, false, false},
      {affinity(Json::object()), {}, false, false},
      {Json::object(), {{"dedicated", "x", "NoSchedule", ""}}, false, true},
      {Json::object(), {{"dedicated", "x", "NoExecute", ""}}, false, false},
      {Json::object(), {{"dedicated", "x", "PreferNoSchedule", ""}}, true, true},
      {{{"tolerations", Json::array({{{"operator", "Exists"}}})}},
       {{"dedicated", "x", "NoExecute", ""}},
       true,
       true},
      {Json::object(), {{kTaintUnschedulable, "", "NoSchedule", ""}}, true, true},
      {Json::object(), {{kTaintUnreachable, "", "NoExecute", ""}}, true, true}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.spec.dump());
    const auto set = *DaemonSet::decode(Object(workload_json({{"template", {{"spec", c.spec}}}})));
    const NodeFit fit = daemon_fit(set, *make_node("n1", c.taints));
    EXPECT_EQ(fit.runs, c.runs);
    EXPECT_EQ(fit.keeps, c.keeps);
  }
}

DaemonSet daemon_set(const Json& surge, const Json& unavailable, const char* type) {
  return *DaemonSet::decode(Object(workload_json(
      {{"updateStrategy",
        {{"type", type},
         {"rollingUpdate", {{"maxSurge", surge}, {"maxUnavailable", unavailable}}}}}})));
}
// "+n1 -pod": what is made where, and what goes.
std::string shown(const DaemonSetPlan& plan) {
  std::string out;
  for (const std::string& node : plan.create) out += (out.empty() ? "+" : " +") + node;
  for (const PodPtr& one : plan.remove) out += (out.empty() ? "-" : " -") + one->meta.name;
  return out;
}

TEST(DaemonSetPlanTest, ReplacesPodsAtItsPace) {
  auto ending = std::make_shared<Pod>(*pod("ending", "n1", true, "new"));
  ending->meta.deletion_timestamp = "2026-01-02T03:04:05Z";
  auto failed = std::make_shared<Pod>(*pod("failed", "n1", false, "new"));
  failed->phase = "Failed";
  const auto old = [](const char* node, bool ready) {
    return pod(std::string("o") + node, node, ready, "old");
  };
  const auto fresh = [](const char* node, bool ready) {
    return pod(std::string("f") + node, node, ready, "new");
  };
  struct Case {
    const char* name;
    DaemonSet set;
    std::vector<PodPtr> pods;
    const char* expected;
  };
  const DaemonSet one = daemon_set(0, 1, "RollingUpdate");
  const DaemonSet surge = daemon_set(1, 0, "RollingUpdate");
  const DaemonSet manual = daemon_set(0, 1, "OnDelete");
  const Case cases[] = {
      {"one on each", one, {}, "+n1 +n2"},
      {"where there is none", one, {fresh("n2", true)}, "+n1"},
      {"not before the last one went", one, {ending, fresh("n2", true)}, ""},
      {"one that ended is made anew", one, {failed, fresh("n2", true)}, "-failed"},
      {"no second one",
       one,
       {fresh("n1", true), old("n2", true), pod("x", "n1", false, "new")},
       "-x -on2"},
      {"one at a time", one, {old("n1", true), old("n2", true)}, "-on1"},
      {"not before the new one is there", one, {fresh("n1", false), old("n2", true)}, ""},
      {"what does not serve at once", one, {fresh("n1", false), old("n2", false)}, "-on2"},
      {"not by itself", manual, {old("n1", true), old("n2", false)}, ""},
      {"beside the old one", surge, {old("n1", true), old("n2", true)}, "+n1"},
      {"which stays until it serves",
       surge,
       {old("n1", true), fresh("n1", false), old("n2", true)},
       ""},
      {"and goes then", surge, {old("n1", true), fresh("n1", true), old("n2", true)}, "-on1"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto plan =
        compute_daemon_set(c.set, {make_node("n1"), make_node("n2")}, c.pods, "new", kNow);
    EXPECT_EQ(shown(plan), c.expected);
    EXPECT_EQ(plan.status.desired, 2);
  }
}

class WorkloadsTest : public ControllersTest {
 protected:
  Json workload(const std::string& name, const Json& spec = Json::object()) {
    Json out = workload_json(spec);
    out["metadata"] = {{"name", name}, {"namespace", "default"}};
    return out;
  }
  std::vector<Object> list(const Resource& resource, const std::string& labels = "") {
    return api_->list(resource, {.ns = "default", .label_selector = labels})->items;
  }
  // Waits until there are so many objects of the kind.
  bool count(const Resource& resource, std::size_t wanted) {
    return api_.await(resource, {"default", "none"},
                      [&](const Json&) { return list(resource).size() == wanted; });
  }
  void ready_all() {
    for (const Object& pod : list(resources::kPods)) run(pod.name(), "10.42.0.9", true);
  }
};

TEST_F(WorkloadsTest, DeploymentsOwnSetsThatOwnPods) {
  make(resources::kDeployments, workload("web", {{"replicas", 3}}));
  ASSERT_TRUE(count(resources::kPods, 3));
  const auto sets = list(resources::kReplicaSets);
  ASSERT_EQ(sets.size(), 1U);
  const Json& set = sets[0].json();
  const std::string hash = json_string(set, {"metadata", "labels", kTemplateHashLabel});
  EXPECT_EQ(sets[0].name(), "web-" + hash);
  EXPECT_EQ(set["spec"]["selector"]["matchLabels"][kTemplateHashLabel], hash);
  EXPECT_EQ(set["metadata"]["annotations"][kRevisionAnnotation], "1");
  for (const Object& pod : list(resources::kPods)) {
    EXPECT_TRUE(pod.name().starts_with(sets[0].name() + "-"));
    const Meta meta = pod.meta();
    ASSERT_EQ(meta.owners.size(), 1U);
    EXPECT_TRUE(meta.owners[0].controller && meta.owners[0].block_owner_deletion);
    EXPECT_EQ(meta.owners[0].uid, sets[0].uid());
  }
  ready_all();
  const auto done = [](const Json& d) { return json_int(d, {"status", "availableReplicas"}) == 3; };
  EXPECT_TRUE(api_.await(resources::kDeployments, {"default", "web"}, done));
  // Everything goes with it.
  ASSERT_TRUE(api_->remove(resources::kDeployments, {"default", "web"},
                           {.propagation_policy = "Background"}));
  EXPECT_TRUE(count(resources::kReplicaSets, 0));
  EXPECT_TRUE(count(resources::kPods, 0));
}

TEST_F(WorkloadsTest, ForegroundDeletionGoesDownTheWholeWay) {
  make(resources::kDeployments, workload("web", {{"replicas", 2}}));
  ASSERT_TRUE(count(resources::kPods, 2));
  ASSERT_TRUE(api_->remove(resources::kDeployments, {"default", "web"},
                           {.propagation_policy = "Foreground"}));
  EXPECT_TRUE(gone(resources::kDeployments, {"default", "web"}));
  EXPECT_TRUE(list(resources::kReplicaSets).empty());
  EXPECT_TRUE(list(resources::kPods).empty());
}

TEST_F(WorkloadsTest, OrphansAreAdoptedByTheNextOfTheName) {
  make(resources::kDeployments, workload("web", {{"replicas", 2}}));
  ASSERT_TRUE(count(resources::kPods, 2));
  const std::string set = list(resources::kReplicaSets)[0].uid();
  ASSERT_TRUE(
      api_->remove(resources::kDeployments, {"default", "web"}, {.propagation_policy = "Orphan"}));
  ASSERT_TRUE(gone(resources::kDeployments, {"default", "web"}));
  ASSERT_EQ(list(resources::kPods).size(), 2U);
  const Json again = make(resources::kDeployments, workload("web", {{"replicas", 2}}));
  EXPECT_TRUE(api_.await(resources::kReplicaSets,
                         {"default", list(resources::kReplicaSets)[0].name()}, [&](const Json& s) {
                           return json_string(s, {"metadata", "uid"}) == set &&
                                  s.dump().find(again["metadata"]["uid"]) != std::string::npos;
                         }));
}

TEST_F(WorkloadsTest, ATakenNameIsACollision) {
  const Json made = make(resources::kDeployments, workload("web", {{"replicas", 0}}));
  ASSERT_TRUE(count(resources::kReplicaSets, 1));
  const std::string name = list(resources::kReplicaSets)[0].name();
  ASSERT_TRUE(api_->remove(resources::kDeployments, {"default", "web"},
                           {.propagation_policy = "Foreground"}));
  ASSERT_TRUE(gone(resources::kDeployments, {"default", "web"}));
  Json other = workload(name, {{"replicas", 0}, {"selector", {{"matchLabels", {{"app", "x"}}}}}});
  other["spec"]["template"]["metadata"]["labels"] = {{"app", "x"}};
  make(resources::kReplicaSets, other);
  make(resources::kDeployments, workload("web", {{"replicas", 1}}));
  EXPECT_TRUE(count(resources::kPods, 1));
  EXPECT_EQ(list(resources::kReplicaSets).size(), 2U);
  EXPECT_EQ(
      json_int(api_.get(resources::kDeployments, {"default", "web"}), {"status", "collisionCount"}),
      1);
}

// Its own set has the name, but of another template: somebody edited it.
TEST_F(WorkloadsTest, AnEditedSetOfItsOwnIsACollisionToo) {
  make(resources::kDeployments, workload("web", {{"replicas", 1}}));
  ASSERT_TRUE(count(resources::kPods, 1));
  const ObjectKey first{"default", list(resources::kReplicaSets)[0].name()};
  const Json edit = {{"spec", {{"template", template_json("i:9")}}}};
  ASSERT_TRUE(api_->patch(resources::kReplicaSets, first, PatchType::StrategicMerge, edit, ""));
  ASSERT_TRUE(count(resources::kReplicaSets, 2));
  EXPECT_TRUE(api_.await(resources::kDeployments, {"default", "web"}, [](const Json& d) {
    return json_int(d, {"status", "collisionCount"}) == 1;
  }));
  for (const Object& set : list(resources::kReplicaSets)) {
    const std::string hash = json_string(set.json(), {"metadata", "labels", kTemplateHashLabel});
    EXPECT_EQ(set.name(), "web-" + hash);
    EXPECT_EQ(json_string(set.json(), {"spec", "selector", "matchLabels", kTemplateHashLabel}),
              hash);
  }
}

TEST_F(WorkloadsTest, ATakenNameOfARevisionIsACollision) {
  make(resources::kDaemonSets, workload("agent"));
  ASSERT_TRUE(count(resources::kControllerRevisions, 1));
  const std::string name = list(resources::kControllerRevisions)[0].name();
  ASSERT_TRUE(api_->remove(resources::kDaemonSets, {"default", "agent"},
                           {.propagation_policy = "Foreground"}));
  ASSERT_TRUE(gone(resources::kDaemonSets, {"default", "agent"}));
  node("a");
  make(resources::kControllerRevisions, {{"metadata", {{"name", name}, {"namespace", "default"}}},
                                         {"data", {{"others", true}}},
                                         {"revision", 7}});
  make(resources::kDaemonSets, workload("agent"));
  ASSERT_TRUE(count(resources::kPods, 1));
  EXPECT_TRUE(api_.await(resources::kDaemonSets, {"default", "agent"}, [](const Json& d) {
    return json_int(d, {"status", "collisionCount"}) == 1 &&
           json_int(d, {"status", "updatedNumberScheduled"}) == 1;
  }));
  EXPECT_EQ(list(resources::kControllerRevisions).size(), 2U);
  const std::string hash =
      json_string(list(resources::kPods)[0].json(), {"metadata", "labels", kRevisionHashLabel});
  EXPECT_NE("agent-" + hash, name);
  EXPECT_FALSE(api_.get(resources::kControllerRevisions, {"default", "agent-" + hash}).is_null());
}

TEST_F(WorkloadsTest, AFailureIsToldAndGotOver) {
  Json set = workload("web", {{"replicas", 1}});
  set["metadata"]["name"] = "web";
  set["spec"]["template"]["metadata"]["annotations"] = {{"-bad-", "x"}};
  make(resources::kReplicaSets, set);
  EXPECT_TRUE(api_.await(resources::kReplicaSets, {"default", "web"}, [](const Json& s) {
    return s.dump().find("FailedCreate") != std::string::npos;
  }));
  EXPECT_TRUE(api_.await(resources::kEvents, {"default", "none"}, [&](const Json&) {
    for (const Object& event : list(resources::kEvents))
      if (event.json()["reason"] == "FailedCreate") return true;
    return false;
  }));
  const Json repair = {{"spec", {{"template", {{"metadata", {{"annotations", nullptr}}}}}}}};
  ASSERT_TRUE(
      api_->patch(resources::kReplicaSets, {"default", "web"}, PatchType::JsonMerge, repair, ""));
  EXPECT_TRUE(count(resources::kPods, 1));
  EXPECT_TRUE(api_.await(resources::kReplicaSets, {"default", "web"}, [](const Json& s) {
    return s.dump().find("FailedCreate") == std::string::npos;
  }));
}

TEST_F(WorkloadsTest, DaemonsRunOnEveryNode) {
  node("a");
  node("b");
  make(resources::kDaemonSets, workload("agent"));
  ASSERT_TRUE(count(resources::kPods, 2));
  std::set<std::string> nodes;
  for (const Object& pod : list(resources::kPods))
    nodes.insert(json_string(pod.json(), {"spec", "nodeName"}));
  EXPECT_EQ(nodes, (std::set<std::string>{"a", "b"}));
  node("c");
  ASSERT_TRUE(count(resources::kPods, 3));
  ready_all();
  EXPECT_TRUE(api_.await(resources::kDaemonSets, {"default", "agent"}, [](const Json& d) {
    return json_int(d, {"status", "numberAvailable"}) == 3 &&
           json_int(d, {"status", "updatedNumberScheduled"}) == 3;
  }));
}

ControllerRevision revision_of(const DaemonSet& set, std::int64_t number, const char* name) {
  ControllerRevision out;
  out.meta.name = name;
  out.meta.labels = {{kRevisionHashLabel, name}};
  out.revision = number;
  out.data = std::make_shared<const Json>(revision_data(set));
  return out;
}

TEST(DaemonHistoryTest, TheTemplateIsTheNewestRevision) {
  const auto set_of = [](const char* image, int limit) {
    return *DaemonSet::decode(Object(
        workload_json({{"template", template_json(image)}, {"revisionHistoryLimit", limit}})));
  };
  std::vector<RevisionPtr> owned;
  int number = 0;
  for (const char* image : {"c", "a", "b"})
    owned.push_back(std::make_shared<const ControllerRevision>(
        revision_of(set_of(image, 10), ++number, image)));
  const HistoryPlan fresh = compute_history(set_of("d", 10), owned);
  EXPECT_EQ(fresh.current, nullptr);
  EXPECT_EQ(fresh.revision, 4);
  const HistoryPlan same = compute_history(set_of("b", 10), owned);
  EXPECT_EQ(same.current->meta.name, "b");
  EXPECT_EQ(same.revision, 3);
  const HistoryPlan back = compute_history(set_of("c", 10), owned);
  EXPECT_EQ(back.current->meta.name, "c");
  EXPECT_EQ(back.revision, 4);
  EXPECT_EQ(compute_history(set_of("a", 10), {}).revision, 1);
  const auto names = [&](int limit, const std::set<std::string>& in_use) {
    std::string out;
    for (const RevisionPtr& one : outlived(set_of("d", limit), fresh, in_use))
      out += one->meta.name;
    return out;
  };
  EXPECT_EQ(names(10, {}), "");
  EXPECT_EQ(names(1, {}), "ca") << "the oldest";
  EXPECT_EQ(names(1, {"c"}), "a") << "but for those that Pods are of";
  EXPECT_EQ(names(0, {}), "cab");
}

}  // namespace
}  // namespace coracle
