#include "scheduling_fixture.h"

namespace coracle::test {
namespace {

using Scores = std::vector<double>;

std::vector<const NodeUse*> all_nodes(const World& world) {
  std::vector<const NodeUse*> out;
  for (const auto& [name, use] : world.state.nodes()) out.push_back(&use);
  return out;
}

const Json kRoom = {{"cpu", "2"}, {"memory", "2Gi"}, {"pods", "110"}};

TEST(SchedulingScores, Taints) {
  const auto tainted = [](const char* name, const std::vector<std::string>& keys) {
    Json taints = Json::array();
    for (const std::string& key : keys)
      taints.push_back({{"key", key}, {"effect", "PreferNoSchedule"}});
    return a_node(name, {}, nullptr, {{"taints", taints}});
  };
  const World world({tainted("a", {"x", "y"}), tainted("b", {"x"}), tainted("c", {})});
  EXPECT_EQ(score_taints(*a_pod("p"), all_nodes(world)), (Scores{0, 50, 100}));
  EXPECT_EQ(score_taints(*a_pod("p", {{"tolerations", {{{"key", "x"}, {"operator", "Exists"}}}}}),
                         all_nodes(world)),
            (Scores{0, 100, 100}));
  EXPECT_EQ(world.of(a_pod("p")), "c");
}

TEST(SchedulingScores, NodeAffinity) {
  const World world({a_node("a", {{"disk", "hdd"}}), a_node("b", {{"disk", "ssd"}}),
                     a_node("c", {{"disk", "ssd"}, {"fast", "1"}})});
  const auto prefer = [](const char* key, int weight) {
    return Json{{"weight", weight},
                {"preference",
                 {{"matchExpressions",
                   Json::array({{{"key", key}, {"operator", "In"}, {"values", {"ssd", "1"}}}})}}}};
  };
  const PodPtr pod = a_pod("p", {{"affinity",
                                  {{"nodeAffinity",
                                    {{"preferredDuringSchedulingIgnoredDuringExecution",
                                      Json::array({prefer("disk", 30), prefer("fast", 10)})}}}}}});
  EXPECT_EQ(score_node_affinity(*pod, all_nodes(world)), (Scores{0, 75, 100}));
  EXPECT_EQ(score_node_affinity(*a_pod("q"), all_nodes(world)), (Scores{0, 0, 0}));
  EXPECT_EQ(world.of(pod), "c");
}

Json company(const char* kind, const char* rule, const char* app, int weight) {
  const Json term = {{"topologyKey", kLabelHostname},
                     {"labelSelector", {{"matchLabels", {{"app", app}}}}}};
  const Json one = weight == 0 ? term : Json{{"weight", weight}, {"podAffinityTerm", term}};
  return {{"affinity", {{kind, {{rule, Json::array({one})}}}}}};
}
constexpr const char* kPreferred = "preferredDuringSchedulingIgnoredDuringExecution";
constexpr const char* kRequired = "requiredDuringSchedulingIgnoredDuringExecution";

TEST(SchedulingScores, PodAffinity) {
  World world({a_node("a"), a_node("b"), a_node("c")});
  world.with("a", a_pod("a1", {}, {{"app", "db"}}));
  world.with("b", a_pod("b1", {}, {{"app", "db"}}));
  world.with("b", a_pod("b2", {}, {{"app", "db"}}));
  const auto score = [&](const Json& spec, const Json& labels) {
    return score_pod_affinity(*a_pod("p", spec, labels), all_nodes(world), world.state);
  };
  EXPECT_EQ(score(company("podAffinity", kPreferred, "db", 10), {}), (Scores{50, 100, 0}));
  EXPECT_EQ(score(company("podAntiAffinity", kPreferred, "db", 10), {}), (Scores{50, 0, 100}));
  EXPECT_EQ(score({}, {{"app", "web"}}), (Scores{0, 0, 0}));
  // What they like counts, too; one that must be near such Pods counts 1.
  world.with("c", a_pod("c1", company("podAffinity", kPreferred, "web", 4), {}));
  world.with("a", a_pod("a2", company("podAffinity", kRequired, "web", 0), {}));
  EXPECT_EQ(score({}, {{"app", "web"}}), (Scores{25, 0, 100}));
  EXPECT_EQ(world.of(a_pod("p", {}, {{"app", "web"}})), "c");
}

TEST(SchedulingScores, SpreadByDefault) {
  World world({a_node("a"), a_node("b"), a_node("c")});
  const auto owned = [](int i) { return a_pod("p" + std::to_string(i), {}, {}, owned_by("rs")); };
  EXPECT_EQ(world.fill(7, owned), "a b c a b c a");
  EXPECT_EQ(world.of(a_pod("x", {}, {}, owned_by("another"))), "b") << "the fewest Pods";
  const PodPtr lone = a_pod("lone", {}, {{"app", "web"}});
  EXPECT_EQ(score_spread(*lone, all_nodes(world), world.state, {}), (Scores{0, 0, 0}));
}

TEST(SchedulingScores, SpreadByServices) {
  World world({a_node("a"), a_node("b")});
  world.with("a", a_pod("w", {}, {{"app", "web"}}));
  for (int i = 0; i < 5; ++i) world.with("b", a_pod("x" + std::to_string(i)));
  const PodPtr web = a_pod("p", {}, {{"app", "web"}});
  EXPECT_EQ(world.of(web), "a") << "the fewest Pods";
  EXPECT_EQ(world.of(web, {LabelSelector::from_map({{"app", "web"}})}), "b");
}

TEST(SchedulingScores, SpreadByDefaultMindsZones) {
  World world({a_node("a", {{kLabelZone, "x"}}), a_node("b", {{kLabelZone, "x"}}),
               a_node("c", {{kLabelZone, "y"}})});
  EXPECT_EQ(
      world.fill(2, [](int i) { return a_pod("p" + std::to_string(i), {}, {}, owned_by("rs")); }),
      "a c");
}

TEST(SchedulingScores, SpreadAnywayGivesWay) {
  World world({a_node("a", {}, kRoom), a_node("b", {}, kRoom), a_node("c")});
  const Json spec = {
      {"topologySpreadConstraints",
       Json::array({{{"topologyKey", kLabelHostname},
                     {"maxSkew", 1},
                     {"whenUnsatisfiable", "ScheduleAnyway"},
                     {"labelSelector", {{"matchLabels", {{"app", "web"}}}}}}})},
      {"affinity",
       {{"nodeAffinity",
         {{kRequired,
           {{"nodeSelectorTerms",
             Json::array({{{"matchFields", Json::array({{{"key", "metadata.name"},
                                                         {"operator", "In"},
                                                         {"values", {"a", "b"}}}})}}})}}}}}}}};
  const auto web = [&](int i) { return a_pod("w" + std::to_string(i), spec, {{"app", "web"}}); };
  EXPECT_EQ(world.fill(4, web), "a b a b");
  const std::vector<const NodeUse*> two = {&world.state.nodes().at("a"),
                                           &world.state.nodes().at("b")};
  world.with("a", web(9));
  EXPECT_NEAR(score_spread(*web(10), two, world.state, {})[0], 66.7, 0.1);
  EXPECT_NEAR(score_spread(*web(10), two, world.state, {})[1], 100, 1e-9);
}

TEST(SchedulingScores, FreeAndBalance) {
  World world({a_node("a", {}, kRoom)});
  const NodeUse& use = world.state.nodes().at("a");
  EXPECT_EQ(score_free(*a_pod("p", requesting({{"cpu", "1"}, {"memory", "1Gi"}})), use), 50);
  EXPECT_EQ(score_free(*a_pod("p", requesting({{"cpu", "2"}, {"memory", "1Gi"}})), use), 25);
  EXPECT_EQ(score_balance(*a_pod("p", requesting({{"cpu", "1"}, {"memory", "1Gi"}})), use), 100);
  EXPECT_EQ(score_balance(*a_pod("p", requesting({{"cpu", "2"}, {"memory", "1Gi"}})), use), 75);
  EXPECT_EQ(score_balance(*a_pod("p"), use), 0) << "it asks for nothing";
  // A container without a request weighs 100m and 200Mi.
  EXPECT_NEAR(score_free(*a_pod("p"), use), (95 + 90.234375) / 2, 1e-9);
}

TEST(SchedulingScores, TheEmptierNodeIsTaken) {
  World world({a_node("a", {}, kRoom), a_node("b", {}, kRoom)});
  world.with("a", a_pod("x", requesting({{"cpu", "1"}, {"memory", "1Gi"}})));
  for (int i = 0; i < 3; ++i) world.with("b", a_pod("s" + std::to_string(i)));
  EXPECT_EQ(world.of(a_pod("p")), "b");
}

}  // namespace
}  // namespace coracle::test
