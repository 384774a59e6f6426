#include "scheduling_fixture.h"

namespace coracle::test {
namespace {

const Json kSmall = {{"cpu", "1"}, {"memory", "1Gi"}, {"ephemeral-storage", "10Gi"}, {"pods", "3"}};

std::string refused(const std::string& reasons, const std::string& preemption) {
  return "0/1 nodes are available: " + reasons + ". preemption: 0/1 nodes are available: 1 " +
         preemption + ".";
}
const std::string kNotHelpful = "Preemption is not helpful for scheduling";
const std::string kNoVictims = "No preemption victims found for incoming pod";

TEST(SchedulingFilters, Resources) {
  struct Case {
    const char* name;
    Json there, wanted;  // specs
    std::string expected;
  };
  const Json sidecar = {
      {"name", "s"}, {"restartPolicy", "Always"}, {"resources", {{"requests", {{"cpu", "300m"}}}}}};
  const Json init = {{"name", "i"}, {"resources", {{"requests", {{"cpu", "800m"}}}}}};
  const auto with_init = [&](const Json& list) {
    return Json{{"initContainers", list},
                {"containers", Json::array({container({{"cpu", "500m"}})})}};
  };
  const Case cases[] = {
      {"exactly what is left", requesting({{"cpu", "600m"}}), requesting({{"cpu", "400m"}}), "a"},
      {"a thousandth more", requesting({{"cpu", "600m"}}), requesting({{"cpu", "401m"}}),
       refused("1 Insufficient cpu", kNoVictims)},
      {"more than the node has", Json::object(), requesting({{"cpu", 2}}),
       refused("1 Insufficient cpu", kNotHelpful)},
      {"memory", requesting({{"memory", "1000Mi"}}), requesting({{"memory", "25Mi"}}),
       refused("1 Insufficient memory", kNoVictims)},
      {"several", requesting({{"cpu", "1"}, {"memory", "1Gi"}}),
       requesting({{"cpu", "1m"}, {"memory", "1"}, {"ephemeral-storage", "11Gi"}}),
       refused("1 Insufficient cpu, 1 Insufficient ephemeral-storage, 1 Insufficient memory",
               kNotHelpful)},
      {"extended", Json::object(), requesting({{"example.com/gpu", 1}}),
       refused("1 Insufficient example.com/gpu", kNotHelpful)},
      {"init containers one after the other", requesting({{"cpu", "200m"}}),
       with_init(Json::array({init, init})), "a"},
      {"the largest init container", requesting({{"cpu", "201m"}}),
       with_init(Json::array({init, init})), refused("1 Insufficient cpu", kNoVictims)},
      {"a sidecar runs beside the containers", requesting({{"cpu", "200m"}}),
       with_init(Json::array({sidecar})), "a"},
      {"a sidecar runs beside the init containers after it", Json::object(),
       with_init(Json::array({sidecar, init})), refused("1 Insufficient cpu", kNotHelpful)},
      {"and not beside those before it", Json::object(), with_init(Json::array({init, sidecar})),
       "a"},
      {"overhead",
       requesting({{"cpu", "600m"}}),
       {{"overhead", {{"cpu", "1m"}}}, {"containers", Json::array({container({{"cpu", "400m"}})})}},
       refused("1 Insufficient cpu", kNoVictims)}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    World world({a_node("a", {}, kSmall)});
    world.with("a", a_pod("there", c.there));
    EXPECT_EQ(world.of(a_pod("p", c.wanted)), c.expected);
  }
}

TEST(SchedulingFilters, TooManyPods) {
  World world({a_node("a", {}, kSmall)});
  EXPECT_EQ(world.fill(4, [](int i) { return a_pod("p" + std::to_string(i)); }),
            "a a a " + refused("1 Too many pods", kNoVictims));
  (void)world.state.remove("p1");
  EXPECT_EQ(world.of(a_pod("x")), "a");
}

TEST(SchedulingFilters, ANodeThatHasNotSaidWhatItHasTakesAll) {
  EXPECT_EQ(World({a_node("a")}).of(a_pod("p", requesting({{"cpu", "99"}}))), "a");
}

TEST(SchedulingFilters, NodeSelectorAndAffinity) {
  const auto affinity = [](const Json& terms) {
    return Json{
        {"affinity",
         {{"nodeAffinity",
           {{"requiredDuringSchedulingIgnoredDuringExecution", {{"nodeSelectorTerms", terms}}}}}}}};
  };
  const auto term = [](const char* list, const char* key, const char* op,
                       const std::vector<std::string>& values) {
    return Json{{list, Json::array({{{"key", key}, {"operator", op}, {"values", values}}})}};
  };
  const auto labels = [&](const char* key, const char* op, const std::vector<std::string>& values) {
    return affinity(Json::array({term("matchExpressions", key, op, values)}));
  };
  struct Case {
    const char* name;
    Json spec;
    bool fits;
  };
  Json both = term("matchExpressions", "disk", "In", {"ssd"});
  both.update(term("matchFields", "metadata.name", "In", {"other"}));
  const Case cases[] = {
      {"selector", {{"nodeSelector", {{"disk", "ssd"}}}}, true},
      {"selector of another value", {{"nodeSelector", {{"disk", "hdd"}}}}, false},
      {"selector of no label", {{"nodeSelector", {{"x", ""}}}}, false},
      {"In", labels("disk", "In", {"hdd", "ssd"}), true},
      {"not In", labels("disk", "In", {"hdd"}), false},
      {"NotIn", labels("disk", "NotIn", {"hdd"}), true},
      {"NotIn of no label", labels("x", "NotIn", {"hdd"}), true},
      {"Exists", labels("disk", "Exists", {}), true},
      {"DoesNotExist", labels("disk", "DoesNotExist", {}), false},
      {"Gt", labels("cores", "Gt", {"7"}), true},
      {"not Gt", labels("cores", "Gt", {"8"}), false},
      {"Lt", labels("cores", "Lt", {"9"}), true},
      {"Gt of no number", labels("disk", "Gt", {"1"}), false},
      {"unknown operator", labels("disk", "Near", {"ssd"}), false},
      {"field", affinity(Json::array({term("matchFields", "metadata.name", "In", {"a"})})), true},
      {"field of another",
       affinity(Json::array({term("matchFields", "metadata.name", "NotIn", {"a"})})), false},
      {"all of a term", affinity(Json::array({both})), false},
      {"one of the terms",
       affinity(Json::array({both, term("matchExpressions", "cores", "Exists", {})})), true},
      {"an empty term", affinity(Json::array({Json::object()})), false},
      {"no term", affinity(Json::array()), false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    World world({a_node("a", {{"disk", "ssd"}, {"cores", "8"}})});
    EXPECT_EQ(
        world.of(a_pod("p", c.spec)),
        c.fits ? "a" : refused("1 node(s) didn't match Pod's node affinity/selector", kNotHelpful));
  }
}

TEST(SchedulingFilters, TaintsAndCordons) {
  const auto tainted = [](const char* effect) {
    return a_node("a", {}, nullptr,
                  {{"taints", {{{"key", "gpu"}, {"value", "yes"}, {"effect", effect}}}}});
  };
  const PodPtr plain = a_pod("p");
  const PodPtr tolerant =
      a_pod("p", {{"tolerations", {{{"key", "gpu"}, {"operator", "Equal"}, {"value", "yes"}}}}});
  const PodPtr everywhere = a_pod("p", {{"tolerations", {{{"operator", "Exists"}}}}});
  for (const char* effect : {kNoSchedule, kNoExecute}) {
    EXPECT_EQ(World({tainted(effect)}).of(plain),
              refused("1 node(s) had untolerated taint {gpu: yes}", kNotHelpful));
    EXPECT_EQ(World({tainted(effect)}).of(tolerant), "a");
  }
  EXPECT_EQ(World({tainted(kPreferNoSchedule)}).of(plain), "a");
  const NodePtr cordoned = a_node("a", {}, nullptr, {{"unschedulable", true}});
  EXPECT_EQ(World({cordoned}).of(plain), refused("1 node(s) were unschedulable", kNotHelpful));
  EXPECT_EQ(World({cordoned}).of(everywhere), "a");
  auto silent = std::make_shared<Node>(*a_node("a"));
  silent->ready = false;
  silent->conditions["Ready"] = "Unknown";
  EXPECT_EQ(
      World({silent}).of(plain),
      refused("1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }", kNotHelpful));
  silent->conditions["Ready"] = "False";
  EXPECT_EQ(
      World({silent}).of(plain),
      refused("1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }", kNotHelpful));
  EXPECT_EQ(World({silent}).of(everywhere), "a");
}

TEST(SchedulingFilters, HostPorts) {
  const auto on = [](int port, const char* protocol, const char* ip) {
    Json one = container();
    one["ports"] = {{{"containerPort", 80}, {"hostPort", port}, {"protocol", protocol}}};
    if (*ip != '\0') one["ports"][0]["hostIP"] = ip;
    return Json{{"containers", Json::array({one})}};
  };
  struct Case {
    const char* name;
    Json there, wanted;
    bool fits;
  };
  const Case cases[] = {
      {"same", on(80, "TCP", ""), on(80, "TCP", ""), false},
      {"another port", on(80, "TCP", ""), on(81, "TCP", ""), true},
      {"another protocol", on(80, "TCP", ""), on(80, "UDP", ""), true},
      {"another address", on(80, "TCP", "192.0.2.1"), on(80, "TCP", "192.0.2.2"), true},
      {"same address", on(80, "TCP", "192.0.2.1"), on(80, "TCP", "192.0.2.1"), false},
      {"every address there", on(80, "TCP", "0.0.0.0"), on(80, "TCP", "192.0.2.2"), false},
      {"every address wanted", on(80, "TCP", "192.0.2.1"), on(80, "TCP", ""), false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    World world({a_node("a")});
    world.with("a", a_pod("there", c.there));
    const PodPtr wanted = a_pod("p", c.wanted);
    EXPECT_EQ(world.of(wanted),
              c.fits ? "a"
                     : refused("1 node(s) didn't have free ports for the requested pod ports",
                               kNoVictims));
    (void)world.state.remove("there");
    EXPECT_EQ(world.of(wanted), "a");
  }
}

TEST(SchedulingFilters, ReasonsOfManyNodes) {
  World world({a_node("a", {{"disk", "ssd"}}, kSmall), a_node("b", {{"disk", "ssd"}}, kSmall),
               a_node("c"), a_node("d", {}, nullptr, {{"unschedulable", true}})});
  world.with("a", a_pod("x", requesting({{"cpu", "700m"}})));
  world.with("b", a_pod("y", requesting({{"cpu", "700m"}})));
  Json spec = requesting({{"cpu", "500m"}});
  spec["nodeSelector"] = {{"disk", "ssd"}};
  EXPECT_EQ(
      world.of(a_pod("p", spec)),
      "0/4 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) "
      "were unschedulable, 2 Insufficient cpu. preemption: 0/4 nodes are available: 2 No "
      "preemption victims found for incoming pod, 2 Preemption is not helpful for "
      "scheduling.");
  EXPECT_EQ(World({}).of(a_pod("p")), "no nodes available to schedule pods");
}

TEST(SchedulingState, AssumedPodsCountUntilTheyAreForgotten) {
  World world({a_node("a", {}, kSmall)});
  const PodPtr big = a_pod("big", requesting({{"cpu", "1"}}));
  world.state.place(big, "a", SchedulingState::Source::Assumed);
  EXPECT_TRUE(world.state.holds("big"));
  EXPECT_NE(world.of(a_pod("p", requesting({{"cpu", "1m"}}))), "a");
  EXPECT_EQ(world.state.forget("big"), "a");
  EXPECT_EQ(world.of(a_pod("p", requesting({{"cpu", "1m"}}))), "a");
  world.state.place(big, "a", SchedulingState::Source::Assumed);
  world.with("a", big);  // the API says so
  EXPECT_EQ(world.state.forget("big"), "");
  EXPECT_TRUE(world.state.holds("big"));
  EXPECT_EQ(world.state.nodes().at("a").requested.cpu, 1000) << "counted once";
  EXPECT_EQ(world.state.remove("big"), "a");
  EXPECT_EQ(world.state.nodes().at("a").requested, ResourceAmounts{});
  EXPECT_TRUE(world.state.groups().empty());
}

TEST(SchedulingState, PodsOfANodeThatIsNotThereAreKept) {
  World world({});
  world.with("a", a_pod("there", requesting({{"cpu", "1"}})));
  EXPECT_EQ(world.of(a_pod("p")), "no nodes available to schedule pods");
  world.state.set_node(a_node("a", {}, kSmall));
  EXPECT_EQ(world.of(a_pod("p", requesting({{"cpu", "1m"}}))),
            refused("1 Insufficient cpu", kNoVictims));
  world.state.remove_node("a");
  EXPECT_EQ(world.state.remove("there"), "a");
  EXPECT_TRUE(world.state.nodes().empty());
}

}  // namespace
}  // namespace coracle::test
