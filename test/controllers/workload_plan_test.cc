// What a Deployment and a ReplicaSet do next, as tables.
#include <coracle/api/apps.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "deployment_plan.h"
#include "replica_set.h"

namespace coracle {
namespace {

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
Deployment deployment(std::int64_t replicas, const Json& surge = 1, const Json& unavailable = 1) {
  return *Deployment::decode(Object(workload_json(
      {{"replicas", replicas},
       {"strategy",
        {{"rollingUpdate", {{"maxSurge", surge}, {"maxUnavailable", unavailable}}}}}})));
}
// Sized for a Deployment of `desired` and `most` Pods; its Pods are as many as `replicas`.
ReplicaSetPtr replica_set(const std::string& name, std::int64_t replicas, std::int64_t available,
                          std::int64_t desired, std::int64_t most,
                          const std::string& image = "i:1") {
  Json json = workload_json({{"replicas", replicas}, {"template", template_json(image)}});
  json["metadata"]["name"] = name;
  json["metadata"]["uid"] = name;
  json["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z";
  json["metadata"]["annotations"] = {{kDesiredReplicasAnnotation, std::to_string(desired)},
                                     {kMaxReplicasAnnotation, std::to_string(most)},
                                     {kRevisionAnnotation, name.substr(0, 1)}};
  json["status"] = {
      {"replicas", replicas}, {"availableReplicas", available}, {"observedGeneration", 1}};
  return std::make_shared<const ReplicaSet>(*ReplicaSet::decode(Object(json)));
}
// "1-old=2 2-new=3": the sizes that are changed.
std::string sizes(const DeploymentPlan& plan) {
  std::string out;
  for (const ReplicaSetChange& change : plan.change)
    if (change.replicas)
      out +=
          (out.empty() ? "" : " ") + change.set->meta.name + "=" + std::to_string(*change.replicas);
  if (plan.create) out += (out.empty() ? "" : " ") + std::to_string(plan.create->replicas);
  return out;
}

TEST(Slack, RoundsAsUpstream) {
  struct Case {
    std::int64_t replicas;
    Json surge, unavailable;
    std::int64_t most, least;
  };
  const Case cases[] = {{10, "25%", "25%", 3, 2}, {1, "25%", "25%", 1, 0}, {4, "25%", "25%", 1, 1},
                        {3, 0, "10%", 0, 1},      {3, 0, 5, 0, 3},         {0, 1, 1, 1, 0},
                        {7, "100%", "0%", 7, 0}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.surge.dump() + c.unavailable.dump());
    const Slack slack = slack_of(deployment(c.replicas, c.surge, c.unavailable));
    EXPECT_EQ(slack.surge, c.most);
    EXPECT_EQ(slack.unavailable, c.least);
  }
}

TEST(DeploymentPlanTest, RollsWithinItsBounds) {
  struct Case {
    const char* name;
    std::int64_t replicas, surge, unavailable;
    std::int64_t old_size, old_available, new_size, new_available;
    const char* expected;
  };
  const Case cases[] = {
      {"the new set grows by what is too few", 3, 1, 0, 3, 3, 0, 0, "2-new=1"},
      {"nothing goes before the new Pod is there", 3, 1, 0, 3, 3, 1, 0, ""},
      {"an old Pod goes for it", 3, 1, 0, 3, 3, 1, 1, "1-old=2"},
      {"without surge an old Pod goes first", 3, 0, 1, 3, 3, 0, 0, "1-old=2"},
      {"and the new one follows", 3, 0, 1, 2, 2, 0, 0, "2-new=1"},
      {"old Pods that do not serve go at once", 4, 1, 1, 4, 1, 1, 0, "1-old=3"},
      {"as many as may be missing go together", 10, 3, 3, 10, 10, 3, 0, "1-old=7"},
      {"all of the old ones at the end", 3, 1, 0, 1, 1, 3, 3, "1-old=0"},
      {"a set that was made too large shrinks", 3, 1, 0, 0, 0, 5, 5, "2-new=3"},
      {"done", 3, 1, 0, 0, 0, 3, 3, ""}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Deployment d = deployment(c.replicas, c.surge, c.unavailable);
    const std::int64_t most = c.replicas + c.surge;
    const auto sets = sort_replica_sets(
        d, {replica_set("1-old", c.old_size, c.old_available, c.replicas, most, "i:0"),
            replica_set("2-new", c.new_size, c.new_available, c.replicas, most)});
    ASSERT_NE(sets.current, nullptr);
    EXPECT_EQ(sizes(compute_deployment(d, sets, false)), c.expected);
  }
}

TEST(DeploymentPlanTest, PodsStillThereCountAgainstTheSurge) {
  const Deployment d = deployment(3, 1, 0);
  // Told to have 1, but its controller has not deleted the other two yet.
  auto old = std::make_shared<ReplicaSet>(*replica_set("1-old", 1, 3, 3, 4, "i:0"));
  old->status.replicas = 3;
  const auto current = replica_set("2-new", 1, 1, 3, 4);
  EXPECT_EQ(sizes(compute_deployment(d, sort_replica_sets(d, {old, current}), false)), "");
  old->status.replicas = 1;
  old->status.available = 1;
  EXPECT_EQ(sizes(compute_deployment(d, sort_replica_sets(d, {old, current}), false)), "2-new=3");
  old->meta.generation = 2;  // its status is about another size
  EXPECT_EQ(sizes(compute_deployment(d, sort_replica_sets(d, {old, current}), false)), "");
}

TEST(DeploymentPlanTest, MakesTheFirstSetAsLargeAsThereIsRoom) {
  const Deployment d = deployment(4, 1, 1);
  EXPECT_EQ(sizes(compute_deployment(d, {}, false)), "4");
  const auto old = replica_set("1-old", 4, 4, 4, 5, "i:0");
  const auto plan = compute_deployment(d, sort_replica_sets(d, {old}), false);
  EXPECT_EQ(sizes(plan), "1");
  EXPECT_EQ(plan.create->annotations.at(kRevisionAnnotation), "2");
  EXPECT_EQ(plan.create->annotations.at(kMaxReplicasAnnotation), "5");
  Deployment paused = d;
  paused.paused = true;
  EXPECT_EQ(sizes(compute_deployment(paused, sort_replica_sets(d, {old}), false)), "");
}

TEST(DeploymentPlanTest, RecreateWaitsForTheOldPods) {
  Deployment d = deployment(3);
  d.recreate = true;
  const auto plan = [&](std::int64_t size, bool pods) {
    const auto old = replica_set("1-old", size, size, 3, 3, "i:0");
    return sizes(compute_deployment(d, sort_replica_sets(d, {old}), pods));
  };
  EXPECT_EQ(plan(3, true), "1-old=0");
  EXPECT_EQ(plan(0, true), "");
  EXPECT_EQ(plan(0, false), "3");
}

TEST(DeploymentPlanTest, ScalesInProportion) {
  struct Case {
    const char* name;
    std::int64_t replicas, old_size, new_size;
    const char* expected;
  };
  // They were sized for 10 of at most 13, with 2 of surge now: 12 of 10.
  const Case cases[] = {{"up", 20, 8, 5, "1-old=14 2-new=8"},
                        {"down", 5, 8, 5, "1-old=4 2-new=3"},
                        {"to none", 0, 8, 5, "1-old=0 2-new=0"},
                        {"one set takes all", 20, 0, 10, "2-new=20"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Deployment d = deployment(c.replicas, 2, 2);
    const auto sets = sort_replica_sets(d, {replica_set("1-old", c.old_size, 8, 10, 13, "i:0"),
                                            replica_set("2-new", c.new_size, 2, 10, 13)});
    EXPECT_EQ(sizes(compute_deployment(d, sets, false)), c.expected);
  }
}

TEST(DeploymentPlanTest, KeepsAsMuchHistoryAsAskedFor) {
  Deployment d = deployment(1);
  d.revision_history_limit = 1;
  const auto sets = sort_replica_sets(
      d, {replica_set("3-old", 0, 0, 1, 2, "i:3"), replica_set("1-old", 0, 0, 1, 2, "i:0"),
          replica_set("2-old", 0, 0, 1, 2, "i:2"), replica_set("4-new", 1, 1, 1, 2)});
  const auto plan = compute_deployment(d, sets, false);
  ASSERT_EQ(plan.remove.size(), 2U);
  EXPECT_EQ(plan.remove[0]->meta.name, "1-old");
  EXPECT_EQ(plan.remove[1]->meta.name, "2-old");
  EXPECT_EQ(plan.revision, "4");
}

TEST(DeploymentPlanTest, AnOldTemplateGetsANewRevision) {
  const Deployment d = deployment(1);
  const auto sets = sort_replica_sets(
      d, {replica_set("1-back", 0, 0, 1, 2), replica_set("2-old", 1, 1, 1, 2, "i:0")});
  const auto plan = compute_deployment(d, sets, false);
  const auto change = std::find_if(plan.change.begin(), plan.change.end(),
                                   [](const auto& c) { return c.set->meta.name == "1-back"; });
  ASSERT_NE(change, plan.change.end());
  EXPECT_EQ(change->annotations.at(kRevisionAnnotation), "3");
  EXPECT_EQ(change->annotations.at(kRevisionHistoryAnnotation), "1");
}

std::string reason(const DeploymentStatus& status, const char* type) {
  const auto* found = find_condition(status.conditions, type);
  return found == nullptr ? "" : found->status + " " + found->reason;
}

TEST(DeploymentStatusTest, TellsHowFarItIs) {
  Deployment d = deployment(3, 1, 1);
  const auto look = [&](std::int64_t size, std::int64_t available, Time now) {
    const auto sets = sort_replica_sets(d, {replica_set("1-new", size, available, 3, 4)});
    d.status = compute_deployment_status(d, sets, now).status;
    return reason(d.status, "Available") + ", " + reason(d.status, "Progressing");
  };
  EXPECT_EQ(look(0, 0, kNow), "False MinimumReplicasUnavailable, True FoundNewReplicaSet");
  EXPECT_EQ(look(3, 1, kNow), "False MinimumReplicasUnavailable, True ReplicaSetUpdated");
  EXPECT_EQ(d.status.unavailable, 2);
  EXPECT_EQ(look(3, 2, kNow), "True MinimumReplicasAvailable, True ReplicaSetUpdated");
  const Time late = kNow + std::chrono::seconds(601);
  EXPECT_EQ(look(3, 2, late), "True MinimumReplicasAvailable, False ProgressDeadlineExceeded");
  EXPECT_EQ(look(3, 3, late), "True MinimumReplicasAvailable, True NewReplicaSetAvailable");
  // A Pod that is lost later is no rollout.
  EXPECT_EQ(look(3, 2, late), "True MinimumReplicasAvailable, True NewReplicaSetAvailable");
  d.paused = true;
  EXPECT_EQ(look(3, 3, late), "True MinimumReplicasAvailable, Unknown DeploymentPaused");
  d.paused = false;
  EXPECT_EQ(look(3, 2, late), "True MinimumReplicasAvailable, Unknown DeploymentResumed");
}

TEST(DeploymentStatusTest, LooksAgainAtTheDeadline) {
  Deployment d = deployment(3);
  const auto sets = sort_replica_sets(d, {replica_set("1-new", 3, 1, 3, 4)});
  d.status = compute_deployment_status(d, sets, kNow).status;
  const auto again = compute_deployment_status(d, sets, kNow + std::chrono::seconds(200)).again;
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, std::chrono::seconds(401));
  d.progress_deadline_seconds = 2147483647;
  EXPECT_FALSE(compute_deployment_status(d, sets, kNow).again);
}

PodPtr pod(const std::string& name, const std::string& node, bool ready) {
  auto out = std::make_shared<Pod>();
  out->meta.name = out->meta.uid = name;
  out->meta.ns = "default";
  out->meta.labels = {{"app", "web"}};
  out->node_name = node;
  out->phase = ready ? "Running" : "Pending";
  out->conditions = {{"Ready", ready ? "True" : "False", "", "", "2026-01-02T03:04:00Z"}};
  return out;
}
std::string names(const std::vector<PodPtr>& pods) {
  std::string out;
  for (const PodPtr& one : pods) out += (out.empty() ? "" : " ") + one->meta.name;
  return out;
}

ReplicaSet set_of(std::int64_t replicas) {
  return *ReplicaSet::decode(Object(workload_json({{"replicas", replicas}})));
}

TEST(ReplicaSetPlanTest, MakesWhatLacks) {
  EXPECT_EQ(compute_replicas(set_of(3), {pod("a", "n1", true)}, {}, kNow).create, 2);
  EXPECT_EQ(compute_replicas(set_of(9999), {}, {}, kNow).create, kMostPodsAtOnce);
  ReplicaSet ending = set_of(0);
  ending.meta.deletion_timestamp = "2026-01-02T03:04:05Z";
  EXPECT_TRUE(compute_replicas(ending, {pod("a", "n1", true)}, {}, kNow).remove.empty());
}

// Every criterion, in upstream's order, each against all that come after it.
TEST(ReplicaSetPlanTest, DeletesWhatIsOfLeastUse) {
  const auto with = [](const std::string& name, const std::function<void(Pod&)>& change) {
    auto out = std::make_shared<Pod>(*pod(name, "n1", true));
    out->meta.creation_timestamp = "2026-01-02T03:00:00Z";
    change(*out);
    return PodPtr(out);
  };
  const auto cost = [](const char* amount) {
    return [amount](Pod& p) {
      p.meta.annotations["controller.kubernetes.io/pod-deletion-cost"] = amount;
    };
  };
  std::vector<PodPtr> pods = {
      pod("1-nowhere", "", false),
      with("2-pending", [](Pod& p) { p.phase = "Pending"; }),
      with("3-unknown", [](Pod& p) { p.phase = "Unknown"; }),
      with("4-unready", [](Pod& p) { p.conditions[0].status = "False"; }),
      with("5-cheap", cost("-5")),
      with("6-crowded", [](Pod& p) { p.node_name = "n2"; }),
      with("7-fresh",
           [](Pod& p) { p.conditions[0].last_transition_time = "2026-01-02T03:04:04Z"; }),
      with("8-restarted", [](Pod& p) { p.restarts = 2; }),
      with("9-once", [](Pod& p) { p.restarts = 1, p.sidecar_restarts = 9; }),
      with("a-sidecar", [](Pod& p) { p.sidecar_restarts = 1; }),
      with("b-newer", [](Pod& p) { p.meta.creation_timestamp = "2026-01-02T03:04:00Z"; }),
      with("c-plain", [](Pod&) {}),
      with("d-plain", [](Pod&) {}),
      with("e-dear", cost("5"))};
  std::mt19937 random(42);  // NOLINT(cert-msc51-cpp): the same order each time
  for (int i = 0; i < 50; ++i) {
    std::shuffle(pods.begin(), pods.end(), random);
    const auto plan = compute_replicas(set_of(1), pods, {{"n1", 2}, {"n2", 3}}, kNow);
    EXPECT_EQ(
        names(plan.remove),
        "1-nowhere 2-pending 3-unknown 4-unready 5-cheap 6-crowded 7-fresh 8-restarted 9-once "
        "a-sidecar b-newer c-plain d-plain");
  }
}

// Neither the newest nor the oldest of about one age: the uid is as good as chance.
TEST(ReplicaSetPlanTest, AgesCountByTheirOrderOfMagnitude) {
  const auto of_age = [](const std::string& name, std::chrono::seconds age) {
    auto out = std::make_shared<Pod>(*pod(name, "n1", true));
    out->conditions[0].last_transition_time = format_time(kNow - age);
    out->meta.creation_timestamp = "2026-01-01T00:00:00Z";
    return PodPtr(out);
  };
  struct Case {
    const char* name;
    std::chrono::seconds a, b;
    const char* first;
  };
  for (const Case& c :
       {Case{"days apart", std::chrono::hours(24 * 9), std::chrono::hours(24), "b"},
        Case{"of an age", std::chrono::hours(25), std::chrono::hours(24), "a"},
        Case{"of an age, the other way", std::chrono::hours(24), std::chrono::hours(25), "a"},
        Case{"just now", std::chrono::seconds(60), std::chrono::seconds(0), "b"},
        Case{"a clock that is ahead", std::chrono::seconds(60), std::chrono::seconds(-60), "b"}}) {
    SCOPED_TRACE(c.name);
    const auto plan = compute_replicas(set_of(1), {of_age("a", c.a), of_age("b", c.b)}, {}, kNow);
    EXPECT_EQ(names(plan.remove), c.first);
  }
}

TEST(ReplicaSetPlanTest, AvailableIsReadyForLongEnough) {
  ReplicaSet set = *ReplicaSet::decode(Object(workload_json({{"minReadySeconds", 10}})));
  const std::vector<PodPtr> pods = {pod("a", "n1", true), pod("b", "n1", false)};
  const auto young = compute_replica_set_status(set, pods, kNow, nullptr);
  EXPECT_EQ(young.status.ready, 1);
  EXPECT_EQ(young.status.available, 0);
  EXPECT_EQ(young.again, std::chrono::seconds(5));
  const auto old = compute_replica_set_status(set, pods, kNow + std::chrono::seconds(5), nullptr);
  EXPECT_EQ(old.status.available, 1);
  EXPECT_FALSE(old.again);
  const WorkloadCondition failure{"ReplicaFailure", "True", "FailedCreate", "no", "", ""};
  set.status = compute_replica_set_status(set, pods, kNow, &failure).status;
  EXPECT_EQ(set.status.conditions.size(), 1U);
  EXPECT_TRUE(compute_replica_set_status(set, pods, kNow, nullptr).status.conditions.empty());
}

}  // namespace
}  // namespace coracle
