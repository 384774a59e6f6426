// Pod affinity, anti-affinity and topology spread.
#include "scheduling_fixture.h"

namespace coracle::test {
namespace {

std::string refused(const std::string& reasons, const std::string& preemption) {
  return "0/3 nodes are available: " + reasons +
         ". preemption: 0/3 nodes are available: " + preemption + ".";
}
const std::string kNoVictims = "3 No preemption victims found for incoming pod";

// a and b in one zone, c in another.
World three() {
  return World({a_node("a", {{kLabelZone, "x"}}), a_node("b", {{kLabelZone, "x"}}),
                a_node("c", {{kLabelZone, "y"}})});
}

Json term(const char* topology, const Json& labels, const Json& more = Json::object()) {
  Json out = {{"topologyKey", topology}, {"labelSelector", {{"matchLabels", labels}}}};
  out.update(more);
  return out;
}
Json affinity(const char* kind, const Json& terms) {
  return {{"affinity", {{kind, {{"requiredDuringSchedulingIgnoredDuringExecution", terms}}}}}};
}
Json near(const Json& one) {
  return affinity("podAffinity", Json::array({one}));
}
Json apart(const Json& one) {
  return affinity("podAntiAffinity", Json::array({one}));
}

TEST(SchedulingNeighbours, Affinity) {
  const std::string none = refused("3 node(s) didn't match pod affinity rules",
                                   "3 Preemption is not helpful for scheduling");
  struct Case {
    const char* name;
    Json spec, labels;
    std::string expected;
  };
  const Case cases[] = {
      {"host", near(term(kLabelHostname, {{"app", "db"}})), {}, "b"},
      {"zone", near(term(kLabelZone, {{"app", "web"}})), {}, "c"},
      {"none like it", near(term(kLabelHostname, {{"app", "x"}})), {}, none},
      {"the first of its kind", near(term(kLabelHostname, {{"app", "x"}})), {{"app", "x"}}, "a"},
      {"not the first", near(term(kLabelHostname, {{"app", "db"}})), {{"app", "db"}}, "b"},
      {"no such label", near(term("rack", {{"app", "db"}})), {{"app", "db"}}, none},
      {"all terms by one Pod",
       affinity("podAffinity", Json::array({term(kLabelZone, {{"app", "db"}}),
                                            term(kLabelZone, {{"app", "web"}})})),
       {},
       none},
      {"another namespace",
       near(term(kLabelHostname, {{"app", "db"}}, {{"namespaces", {"other"}}})),
       {},
       none},
      {"namespaces by name",
       near(term(kLabelHostname, {{"app", "far"}}, {{"namespaces", {"other"}}})),
       {},
       "c"},
      {"namespaces by label",
       near(term(kLabelHostname, {{"app", "far"}},
                 {{"namespaceSelector", {{"matchLabels", {{"team", "t"}}}}}})),
       {},
       "c"},
      {"every namespace",
       near(term(kLabelHostname, {{"app", "far"}}, {{"namespaceSelector", Json::object()}})),
       {},
       "c"},
      {"no selector matches nothing", near({{"topologyKey", kLabelHostname}}), {}, none},
      {"matchLabelKeys",
       near(term(kLabelHostname, {{"app", "db"}}, {{"matchLabelKeys", {"hash"}}})),
       {{"hash", "2"}},
       none}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    World world = three();
    world.state.set_namespace("other", {{"team", "t"}});
    world.with("b", a_pod("db", {}, {{"app", "db"}, {"hash", "1"}}));
    world.with("c", a_pod("web", {}, {{"app", "web"}}));
    world.with("c", a_pod("far", {}, {{"app", "far"}}, {{"namespace", "other"}}));
    EXPECT_EQ(world.of(a_pod("p", c.spec, c.labels)), c.expected);
  }
}

TEST(SchedulingNeighbours, AntiAffinity) {
  const Json by_host = apart(term(kLabelHostname, {{"app", "web"}}));
  World hosts = three();
  const auto web = [&](int i) { return a_pod("w" + std::to_string(i), by_host, {{"app", "web"}}); };
  EXPECT_EQ(hosts.fill(4, web),
            "a b c " + refused("3 node(s) didn't match pod anti-affinity rules", kNoVictims));
  (void)hosts.state.remove("w1");
  EXPECT_EQ(hosts.of(web(9)), "b");
  World zones = three();
  const Json by_zone = apart(term(kLabelZone, {{"app", "web"}}));
  EXPECT_EQ(zones.fill(3,
                       [&](int i) {
                         return a_pod("w" + std::to_string(i), by_zone, {{"app", "web"}});
                       }),
            "a c " + refused("3 node(s) didn't match pod anti-affinity rules", kNoVictims));
}

TEST(SchedulingNeighbours, ThoseThatAreThereMayMindToo) {
  World world = three();
  world.with("a", a_pod("loner", apart(term(kLabelZone, {{"app", "web"}})), {{"app", "loner"}}));
  EXPECT_EQ(world.of(a_pod("p", {}, {{"app", "web"}})), "c");
  EXPECT_EQ(world.of(a_pod("p", {}, {{"app", "db"}})), "b");
  world.with("c", a_pod("other", apart(term(kLabelHostname, {{"app", "web"}})), {}));
  EXPECT_EQ(world.of(a_pod("p", {}, {{"app", "web"}})),
            refused("3 node(s) didn't satisfy existing pods anti-affinity rules", kNoVictims));
  EXPECT_EQ(world.of(a_pod("p", {}, {{"app", "web"}}, {{"namespace", "other"}})), "b")
      << "of another namespace than theirs";
}

Json spread(const char* key, int skew, const char* when, const Json& more = Json::object()) {
  Json out = {{"topologyKey", key},
              {"maxSkew", skew},
              {"whenUnsatisfiable", when},
              {"labelSelector", {{"matchLabels", {{"app", "web"}}}}}};
  out.update(more);
  return {{"topologySpreadConstraints", Json::array({out})}};
}

TEST(SchedulingNeighbours, SpreadIsKept) {
  struct Case {
    const char* name;
    Json spec, labels;
    std::string expected;  // with one on a, one on c
  };
  const std::string none =
      refused("3 node(s) didn't match pod topology spread constraints", kNoVictims);
  const Case cases[] = {
      {"host", spread(kLabelHostname, 1, "DoNotSchedule"), {{"app", "web"}}, "b"},
      {"zone", spread(kLabelZone, 1, "DoNotSchedule"), {{"app", "web"}}, "b"},
      {"more domains than there are",
       spread(kLabelZone, 1, "DoNotSchedule", {{"minDomains", 3}}),
       {{"app", "web"}},
       none},
      {"no more than there are",
       spread(kLabelZone, 1, "DoNotSchedule", {{"minDomains", 2}}),
       {{"app", "web"}},
       "b"},
      {"one that does not count itself", spread(kLabelHostname, 1, "DoNotSchedule"), {}, "b"},
      {"matchLabelKeys of another rollout",
       spread(kLabelHostname, 1, "DoNotSchedule", {{"matchLabelKeys", {"hash"}}}),
       {{"app", "web"}, {"hash", "2"}},
       "b"},
      {"no such label",
       spread("rack", 1, "DoNotSchedule"),
       {{"app", "web"}},
       refused("3 node(s) didn't match pod topology spread constraints (missing required label)",
               "3 Preemption is not helpful for scheduling")}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    World world = three();
    world.with("a", a_pod("w1", {}, {{"app", "web"}, {"hash", "1"}}));
    world.with("c", a_pod("w2", {}, {{"app", "web"}, {"hash", "1"}}));
    EXPECT_EQ(world.of(a_pod("p", c.spec, c.labels)), c.expected);
  }
}

TEST(SchedulingNeighbours, SpreadCountsTheNodesThatThePodMayUse) {
  World world({a_node("a", {{"pool", "p"}}), a_node("b", {{"pool", "p"}}), a_node("c")});
  world.with("a", a_pod("w1", {}, {{"app", "web"}}));
  world.with("b", a_pod("w2", {}, {{"app", "web"}}));
  Json spec = spread(kLabelHostname, 1, "DoNotSchedule");
  spec["nodeSelector"] = {{"pool", "p"}};
  EXPECT_EQ(world.of(a_pod("p", spec, {{"app", "web"}})), "a") << "c is no domain";
  spec = spread(kLabelHostname, 1, "DoNotSchedule", {{"nodeAffinityPolicy", "Ignore"}});
  spec["nodeSelector"] = {{"pool", "p"}};
  EXPECT_EQ(
      world.of(a_pod("p", spec, {{"app", "web"}})),
      "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) "
      "didn't match pod topology spread constraints. preemption: 0/3 nodes are available: 1 "
      "Preemption is not helpful for scheduling, 2 No preemption victims found for incoming "
      "pod.");
}

TEST(SchedulingNeighbours, PodsThatEndDoNotCountForSpread) {
  World world = three();
  for (const char* node : {"a", "b"})
    world.with(node, a_pod(std::string("w") + node, {}, {{"app", "web"}}));
  world.with("c",
             a_pod("ends", {}, {{"app", "web"}}, {{"deletionTimestamp", "2026-01-02T03:04:05Z"}}));
  EXPECT_EQ(world.of(a_pod("p", spread(kLabelHostname, 1, "DoNotSchedule"), {{"app", "web"}})),
            "c");
}

TEST(SchedulingNeighbours, SpreadOfMany) {
  World world = three();
  const Json spec = spread(kLabelZone, 1, "DoNotSchedule");
  for (int i = 0; i < 40; ++i) {
    const PodPtr pod = a_pod("w" + std::to_string(i), spec, {{"app", "web"}});
    world.with(world.of(pod), pod);
  }
  std::map<std::string, std::int64_t> on;
  for (const auto& [name, use] : world.state.nodes()) on[name] = use.requested.pods;
  EXPECT_EQ(on["a"] + on["b"], 20);
  EXPECT_EQ(on["c"], 20);
  EXPECT_EQ(on["a"], 10) << "and the hosts of a zone evenly";
}

}  // namespace
}  // namespace coracle::test
