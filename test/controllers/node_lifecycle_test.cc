// The life of nodes, with a clock that the test moves: each look is one call.
#include "node_lifecycle.h"

#include <coracle/events.h>

#include "controllers_fixture.h"
#include "node_ipam.h"
#include "taint_eviction.h"

namespace coracle::test {
namespace {

using namespace std::chrono_literals;

constexpr auto kGrace = 8s;

// "NoSchedule/node.kubernetes.io/unreachable" ..., joined.
std::string shown(const std::vector<Taint>& taints) {
  std::string out;
  for (const Taint& t : taints) {
    if (!out.empty()) out += " ";
    out += t.effect + "/" + t.key.substr(t.key.find('/') + 1);
  }
  return out;
}

class NodeLifecycleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    nodes_.start();
    leases_.start();
    pods_.start();
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    ASSERT_TRUE(nodes_.wait_synced(deadline) && leases_.wait_synced(deadline) &&
                pods_.wait_synced(deadline));
    restart();
  }
  void TearDown() override { lifecycle_.reset(); }
  void restart() {
    lifecycle_ = std::make_unique<NodeLifecycleController>(*api_, clock_, nodes_, leases_, pods_,
                                                           events_, kGrace);
    eviction_ =
        std::make_unique<TaintEvictionController>(*api_, clock_, pods_, nodes_, events_, kGrace);
  }
  void make(const Resource& resource, const Json& object) {
    const auto made = api_->create(resource, Object(object));
    ASSERT_TRUE(made) << made.error().message;
  }
  void node(const std::string& name) {
    make(resources::kNodes, {{"metadata", {{"name", name}}}});
    make(resources::kLeases, {{"metadata", {{"name", name}, {"namespace", kLeaseNamespace}}},
                              {"spec", {{"holderIdentity", name}}}});
    report(name, "True");
    renew(name);
  }
  void report(const std::string& name, const char* ready) {
    const Json status = {
        {"status",
         {{"conditions",
           Json::array({{{"type", "Ready"},
                         {"status", ready},
                         {"lastHeartbeatTime",
                          "2020-01-01T00:00:0" + std::to_string(++beat_ % 10) + "Z"}}})}}}};
    ASSERT_TRUE(
        api_->patch(resources::kNodes, {"", name}, PatchType::StrategicMerge, status, "status"));
  }
  // By a clock that is years off.
  void renew(const std::string& name) {
    const Json lease = {
        {"spec",
         {{"renewTime", "2001-01-01T00:00:00." + std::to_string(100'000 + ++beat_) + "Z"}}}};
    ASSERT_TRUE(
        api_->patch(resources::kLeases, {kLeaseNamespace, name}, PatchType::JsonMerge, lease, ""));
  }
  void pod(const std::string& name, const std::string& on, const Json& tolerations = nullptr) {
    Json object = pod_json(name, on);
    if (!tolerations.is_null()) object["spec"]["tolerations"] = tolerations;
    make(resources::kPods, object);
    const Json ready = Json::array({{{"type", "Ready"}, {"status", "True"}}});
    ASSERT_TRUE(api_->patch(resources::kPods, {"default", name}, PatchType::StrategicMerge,
                            {{"status", {{"phase", "Running"}, {"conditions", ready}}}}, "status"));
  }
  // The caches show what the API holds.
  template <typename T>
  void follow(const Informer<T>& cache, const Resource& resource) {
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    const auto same = [&] {
      const auto list = api_->list(resource, {});
      if (cache.list().size() != list->items.size()) return false;
      return std::all_of(list->items.begin(), list->items.end(), [&](const Object& object) {
        const auto cached = cache.get(object.key());
        return cached != nullptr && cached->meta.revision == object.revision();
      });
    };
    while (!same() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    ASSERT_TRUE(same());
  }
  // Until there is nothing more to do at this moment.
  void look() {
    for (int i = 0; i < 4; ++i) {
      follow(nodes_, resources::kNodes);
      follow(leases_, resources::kLeases);
      follow(pods_, resources::kPods);
      const auto again = lifecycle_->reconcile({"", "all"});
      ASSERT_TRUE(again) << again.error().message;
      follow(nodes_, resources::kNodes);
      follow(pods_, resources::kPods);
      for (const auto& pod : pods_.list()) ASSERT_TRUE(eviction_->reconcile(pod->meta.key()));
    }
  }
  // A second at a time, as the controllers do; `alive` give signs of life.
  void pass(int seconds, const std::vector<std::string>& alive = {}) {
    for (int i = 0; i < seconds; ++i) {
      clock_.advance(1s);
      for (const std::string& name : alive) renew(name);
      look();
    }
  }
  Node get(const std::string& name) {
    return *Node::decode(Object(api_.get(resources::kNodes, {"", name})));
  }
  Pod get_pod(const std::string& name) {
    return *Pod::decode(Object(api_.get(resources::kPods, {"default", name})));
  }
  bool has_pod(const std::string& name) {
    const Json pod = api_.get(resources::kPods, {"default", name});
    return pod.is_object() && json_string(pod, {"metadata", "deletionTimestamp"}).empty();
  }

  ManualClock clock_;
  RegistryClient api_{clock_};
  Informer<Node> nodes_{*api_, resources::kNodes};
  Informer<Lease> leases_{*api_, resources::kLeases};
  Informer<Pod> pods_{*api_, resources::kPods};
  EventRecorder events_{*api_, clock_, "test", ""};
  std::unique_ptr<NodeLifecycleController> lifecycle_;
  std::unique_ptr<TaintEvictionController> eviction_;
  int beat_ = 0;
};

TEST_F(NodeLifecycleTest, ASilentNodeIsUnknownWithinTenSecondsAndHeals) {
  node("a");
  node("b");
  pod("p", "b");
  look();
  EXPECT_TRUE(get("b").taints.empty());
  pass(7, {"a"});
  EXPECT_TRUE(get("b").ready);
  pass(2, {"a"});
  EXPECT_EQ(get("b").condition("Ready"), "Unknown");
  EXPECT_EQ(get("b").condition("MemoryPressure"), "Unknown");
  EXPECT_NE(api_.get(resources::kNodes, {"", "b"}).dump().find("NodeStatusUnknown"),
            std::string::npos);
  EXPECT_EQ(shown(get("b").taints), "NoSchedule/unreachable NoExecute/unreachable");
  EXPECT_TRUE(get("a").ready);
  EXPECT_FALSE(get_pod("p").ready());
  report("b", "True");
  renew("b");
  look();
  EXPECT_TRUE(get("b").taints.empty());
  EXPECT_TRUE(get("b").ready);
}

TEST_F(NodeLifecycleTest, AnEventTellsOfANodeThatIsNew) {
  node("a");
  look();  // the first look of a process: it may have been there for long
  node("b");
  pass(3, {"a", "b"});
  events_.flush();
  const auto list = api_->list(resources::kEvents, {.ns = "default"});
  std::string told;
  for (const Object& event : list->items)
    told += json_string(event.json(), {"involvedObject", "name"}) + " " +
            json_string(event.json(), {"reason"}) + "; ";
  EXPECT_EQ(told, "b RegisteredNode; ");
}

TEST_F(NodeLifecycleTest, PodsAreEvictedWhenTheirTolerationEnds) {
  node("a");
  node("b");
  const auto bears = [](int seconds) {
    return Json::array({{{"key", kTaintUnreachable},
                         {"operator", "Exists"},
                         {"effect", "NoExecute"},
                         {"tolerationSeconds", seconds}}});
  };
  pod("default", "b");
  pod("short", "b", bears(5));
  pod("ever", "b", Json::array({{{"operator", "Exists"}}}));
  look();
  pass(12, {"a"});
  EXPECT_TRUE(has_pod("short"));
  pass(3, {"a"});
  EXPECT_FALSE(has_pod("short"));
  pass(290, {"a"});
  EXPECT_TRUE(has_pod("default"));
  pass(10, {"a"});
  EXPECT_FALSE(has_pod("default"));
  EXPECT_TRUE(has_pod("ever"));
}

TEST_F(NodeLifecycleTest, WhenAllFallSilentNothingIsEvicted) {
  for (const char* name : {"a", "b"}) {
    node(name);
    pod(std::string("on-") + name, name,
        Json::array({{{"key", kTaintUnreachable},
                      {"operator", "Exists"},
                      {"effect", "NoExecute"},
                      {"tolerationSeconds", 0}}}));
  }
  look();
  pass(1, {"a", "b"});
  pass(1, {"b"});  // the last ones come in turn
  pass(30);
  for (const char* name : {"a", "b"}) {
    EXPECT_EQ(get(name).condition("Ready"), "Unknown");
    EXPECT_EQ(shown(get(name).taints), "NoSchedule/unreachable");
    EXPECT_TRUE(has_pod(std::string("on-") + name));
  }
  // The first that is back does not condemn the others at once.
  report("a", "True");
  pass(5, {"a"});
  EXPECT_TRUE(get("a").taints.empty());
}

TEST_F(NodeLifecycleTest, AfterAStartOrAPauseEachHasAFullGracePeriod) {
  node("a");
  look();
  pass(7);
  restart();
  pass(7);
  EXPECT_TRUE(get("a").ready);
  clock_.advance(3600s);  // the process was stopped
  look();
  EXPECT_TRUE(get("a").ready);
  pass(7);
  EXPECT_TRUE(get("a").ready);
  pass(2);
  EXPECT_FALSE(get("a").ready);
  restart();  // what was found is durable
  look();
  EXPECT_EQ(get("a").condition("Ready"), "Unknown");
}

TEST_F(NodeLifecycleTest, TaintsFollowConditionsAndCordons) {
  node("a");
  node("b");
  report("b", "False");
  ASSERT_TRUE(api_->patch(
      resources::kNodes, {"", "a"}, PatchType::JsonMerge,
      {{"spec",
        {{"unschedulable", true}, {"taints", {{{"key", "x/mine"}, {"effect", "NoExecute"}}}}}}},
      ""));
  look();
  EXPECT_EQ(shown(get("a").taints), "NoExecute/mine NoSchedule/unschedulable");
  EXPECT_EQ(shown(get("b").taints), "NoSchedule/not-ready NoExecute/not-ready");
  ASSERT_TRUE(api_->patch(resources::kNodes, {"", "a"}, PatchType::JsonMerge,
                          {{"spec", {{"unschedulable", nullptr}}}}, ""));
  report("b", "True");
  look();
  EXPECT_EQ(shown(get("a").taints), "NoExecute/mine");
  EXPECT_EQ(shown(get("b").taints), "");
}

TEST_F(NodeLifecycleTest, TheLeaseSaysHowLongASignOfLifeIsWaitedFor) {
  node("a");
  look();
  EXPECT_EQ(json_int(api_.get(resources::kLeases, {kLeaseNamespace, "a"}),
                     {"spec", "leaseDurationSeconds"}),
            8);
}

TEST_F(NodeLifecycleTest, AMissedEvictionGetsASecondLook) {
  node("a");
  node("b");
  pod("p", "b");
  look();
  pass(12, {"a"});
  ASSERT_EQ(shown(get("b").taints), "NoSchedule/unreachable NoExecute/unreachable");
  clock_.advance(1000s);
  renew("a");
  look();
  EXPECT_TRUE(has_pod("p"));
  report("b", "True");
  pass(12, {"a", "b"});
  EXPECT_TRUE(has_pod("p"));
}

TEST(Disruption, Table) {
  EXPECT_EQ(compute_disruption(0, 0), Disruption::None);
  EXPECT_EQ(compute_disruption(0, 1), Disruption::Full);
  EXPECT_EQ(compute_disruption(1, 3), Disruption::None);
  EXPECT_EQ(compute_disruption(1, 4), Disruption::Partial);
  EXPECT_EQ(compute_disruption(3, 6), Disruption::None);
  EXPECT_EQ(compute_disruption(0, 4), Disruption::Full);
}

TEST(Stay, TheShortestTimeCounts) {
  Pod pod;
  const Taint a{"a", "", kNoExecute, ""}, b{"b", "", kNoExecute, ""}, c{"c", "", kNoSchedule, ""};
  EXPECT_EQ(compute_stay(pod, {}), std::nullopt);
  EXPECT_EQ(compute_stay(pod, {c}), std::nullopt);
  EXPECT_EQ(compute_stay(pod, {a}), 0s);
  pod.tolerations = {{"a", "Exists", "", "", 30}, {"b", "Exists", "", "", {}}};
  EXPECT_EQ(compute_stay(pod, {a, b}), 30s);
  EXPECT_EQ(compute_stay(pod, {b}), std::nullopt);
  pod.tolerations[1].seconds = -5;
  EXPECT_EQ(compute_stay(pod, {a, b}), 0s);
}

TEST_F(ControllersTest, ARangeGoesToWhoeverWaitsForOne) {
  controllers_->stop();
  auto small = Controllers::create(*api_, clock_, {.pod_cidr = *Cidr::parse("10.42.0.0/24")});
  ASSERT_TRUE(small);
  (*small)->start();
  const auto has_range = [](const Json& n) {
    return json_string(n, {"spec", "podCIDR"}) == "10.42.0.0/24";
  };
  node("a");
  EXPECT_TRUE(api_.await(resources::kNodes, {"", "a"}, has_range));
  node("b");
  EXPECT_TRUE(api_.await(resources::kEvents, {"default", "none"}, [&](const Json&) {
    const auto events = api_->list(resources::kEvents, {});
    for (const Object& event : events->items)
      if (json_string(event.json(), {"reason"}) == "CIDRNotAvailable") return true;
    return false;
  }));
  ASSERT_TRUE(api_->remove(resources::kNodes, {"", "a"}, {}));
  EXPECT_TRUE(api_.await(resources::kNodes, {"", "b"}, has_range));
  (*small)->stop();
}

}  // namespace
}  // namespace coracle::test
