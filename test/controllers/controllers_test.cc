// All controllers together over the real registry in memory.
#include <gtest/gtest.h>

#include "controllers_fixture.h"
#include "pod_gc.h"

namespace coracle {
namespace {

using test::ControllersTest;
using test::ManualClock;
using test::pod_json;
using test::RegistryClient;

TEST_F(ControllersTest, EndpointsFollowTheirPods) {
  service("web");
  expect_endpoints("web", "");
  make(resources::kPods, pod_json("a", "n"));
  make(resources::kPods, pod_json("b", "n"));
  run("a", "10.42.0.5", true);
  expect_endpoints("web", "10.42.0.5 ");
  run("b", "10.42.0.6", false);
  expect_endpoints("web", "10.42.0.5 10.42.0.6! ");
  run("b", "10.42.0.6", true);
  expect_endpoints("web", "10.42.0.5 10.42.0.6 ");
  EXPECT_TRUE(slices_are("web", "10.42.0.5 10.42.0.6 "));
  run("a", "10.42.0.9", true);  // a new address
  expect_endpoints("web", "10.42.0.6 10.42.0.9 ");
  ASSERT_TRUE(api_->remove(resources::kPods, {"default", "b"}, {.grace_period_seconds = 0}));
  expect_endpoints("web", "10.42.0.9 ");
  EXPECT_TRUE(slices_are("web", "10.42.0.9 "));
  const Json relabel = {{"metadata", {{"labels", {{"app", "other"}}}}}};
  ASSERT_TRUE(api_->patch(resources::kPods, {"default", "a"}, PatchType::JsonMerge, relabel, ""));
  expect_endpoints("web", "");
  ASSERT_TRUE(api_->remove(resources::kServices, {"default", "web"}, {}));
  EXPECT_TRUE(gone(resources::kEndpoints, {"default", "web"}));
  EXPECT_TRUE(api_.await(resources::kEndpointSlices, {"default", "none"}, [&](const Json&) {
    return api_->list(resources::kEndpointSlices, {.ns = "default"})->items.empty();
  }));
}

TEST_F(ControllersTest, WhatSomeoneChangesIsPutRight) {
  service("web");
  make(resources::kPods, pod_json("a", "n"));
  run("a", "10.42.0.5", true);
  expect_endpoints("web", "10.42.0.5 ");
  ASSERT_TRUE(api_->patch(resources::kEndpoints, {"default", "web"}, PatchType::JsonMerge,
                          {{"subsets", nullptr}}, ""));
  expect_endpoints("web", "10.42.0.5 ");
  ASSERT_TRUE(api_->remove(resources::kEndpoints, {"default", "web"}, {}));
  expect_endpoints("web", "10.42.0.5 ");
}

TEST_F(ControllersTest, ExternalNameHasNoEndpoints) {
  service("web");
  expect_endpoints("web", "");
  const Json change = {
      {"spec",
       {{"type", "ExternalName"}, {"externalName", "example.com"}, {"clusterIP", nullptr}}}};
  const auto changed =
      api_->patch(resources::kServices, {"default", "web"}, PatchType::JsonMerge, change, "");
  ASSERT_TRUE(changed) << changed.error().message;
  EXPECT_TRUE(gone(resources::kEndpoints, {"default", "web"}));
}

TEST_F(ControllersTest, HandMadeEndpointsAreMirrored) {
  service("outside", {{"selector", nullptr}});
  make(resources::kEndpoints,
       {{"metadata", {{"name", "outside"}, {"namespace", "default"}}},
        {"subsets", Json::array({{{"addresses", Json::array({{{"ip", "192.0.2.10"}}})},
                                  {"ports", Json::array({{{"port", 8080}}})}}})}});
  EXPECT_TRUE(slices_are("outside", "192.0.2.10 "));
  EXPECT_EQ(addresses(api_.get(resources::kEndpoints, {"default", "outside"})), "192.0.2.10 ");
  ASSERT_TRUE(api_->remove(resources::kEndpoints, {"default", "outside"}, {}));
  EXPECT_TRUE(slices_are("outside", ""));
}

TEST_F(ControllersTest, NodesGetRangesAndPodsNodes) {
  make(resources::kPods, pod_json("early"));
  EXPECT_TRUE(api_.await(resources::kPods, {"default", "early"}, [](const Json& p) {
    return p.dump().find("no nodes available to schedule pods") != std::string::npos;
  }));
  node("a", false);
  node("b", false);
  std::set<std::string> ranges;
  for (const char* name : {"a", "b"})
    EXPECT_TRUE(api_.await(resources::kNodes, {"", name}, [&](const Json& n) {
      const std::string cidr = json_string(n, {"spec", "podCIDR"});
      if (!cidr.empty()) ranges.insert(cidr);
      return !cidr.empty();
    }));
  EXPECT_EQ(ranges.size(), 2U);
  set_node_ready("a", true);
  set_node_ready("b", true);
  const auto bound = [](const Json& p) { return !json_string(p, {"spec", "nodeName"}).empty(); };
  EXPECT_TRUE(api_.await(resources::kPods, {"default", "early"}, bound));
  std::map<std::string, int> count;
  for (int i = 0; i < 19; ++i) make(resources::kPods, pod_json("p" + std::to_string(i)));
  for (int i = 0; i < 19; ++i)
    EXPECT_TRUE(
        api_.await(resources::kPods, {"default", "p" + std::to_string(i)}, [&](const Json& p) {
          if (bound(p)) ++count[json_string(p, {"spec", "nodeName"})];
          return bound(p);
        }));
  ++count[json_string(api_.get(resources::kPods, {"default", "early"}), {"spec", "nodeName"})];
  EXPECT_EQ(count["a"], 10);
  EXPECT_EQ(count["b"], 10);
}

// Nothing is asked periodically: each time something frees up that tells the scheduler.
TEST_F(ControllersTest, APodThatFitsNowhereFollowsWhatFreesUp) {
  node("a");
  const Json small = {
      {"status", {{"allocatable", {{"cpu", "1"}, {"memory", "1Gi"}, {"pods", "9"}}}}}};
  ASSERT_TRUE(api_->patch(resources::kNodes, {"", "a"}, PatchType::JsonMerge, small, "status"));
  const auto wanting = [](const std::string& name, const char* cpu) {
    Json pod = pod_json(name);
    pod["spec"]["containers"][0]["resources"] = {{"requests", {{"cpu", cpu}}}};
    return pod;
  };
  const auto bound = [&](const std::string& name) {
    return api_.await(resources::kPods, {"default", name}, [](const Json& p) {
      return json_string(p, {"spec", "nodeName"}) == "a";
    });
  };
  const auto waits = [&](const std::string& name) {
    return api_.await(resources::kPods, {"default", name}, [](const Json& p) {
      return p.dump().find("1 Insufficient cpu") != std::string::npos;
    });
  };
  make(resources::kPods, wanting("first", "900m"));
  EXPECT_TRUE(bound("first"));
  make(resources::kPods, wanting("second", "800m"));
  make(resources::kPods, wanting("third", "700m"));
  EXPECT_TRUE(waits("second"));
  EXPECT_TRUE(waits("third"));
  const Json ended = {{"status", {{"phase", "Succeeded"}}}};
  ASSERT_TRUE(
      api_->patch(resources::kPods, {"default", "first"}, PatchType::JsonMerge, ended, "status"));
  EXPECT_TRUE(bound("second"));
  EXPECT_TRUE(waits("third"));
  ASSERT_TRUE(api_->remove(resources::kPods, {"default", "second"}, {.grace_period_seconds = 0}));
  EXPECT_TRUE(bound("third"));
  make(resources::kPods, wanting("fourth", "600m"));
  EXPECT_TRUE(waits("fourth"));
  const Json large = {{"status", {{"allocatable", {{"cpu", "2"}}}}}};
  ASSERT_TRUE(api_->patch(resources::kNodes, {"", "a"}, PatchType::JsonMerge, large, "status"));
  EXPECT_TRUE(bound("fourth"));
}

TEST_F(ControllersTest, LoadBalancersGetTheNodesAddresses) {
  node("a");
  service("lb", {{"type", "LoadBalancer"}});
  const auto served = [](const Json& s) { return s.dump().find("192.0.2.7") != std::string::npos; };
  EXPECT_TRUE(api_.await(resources::kServices, {"default", "lb"}, served));
  service("lb2", {{"type", "LoadBalancer"}});
  ASSERT_TRUE(api_->remove(resources::kServices, {"default", "lb"}, {}));
  EXPECT_TRUE(api_.await(resources::kServices, {"default", "lb2"}, served));
  set_node_ready("a", false);
  EXPECT_TRUE(api_.await(resources::kServices, {"default", "lb2"},
                         [&](const Json& s) { return !served(s); }));
}

TEST_F(ControllersTest, NamespacesAreEmptiedAndKeepADefaultAccount) {
  make(resources::kNamespaces, {{"metadata", {{"name", "short"}}}});
  EXPECT_TRUE(api_.await(resources::kServiceAccounts, {"short", "default"},
                         [](const Json& a) { return a.is_object(); }));
  ASSERT_TRUE(api_->remove(resources::kServiceAccounts, {"short", "default"}, {}));
  EXPECT_TRUE(api_.await(resources::kServiceAccounts, {"short", "default"},
                         [](const Json& a) { return a.is_object(); }));
  for (const char* name : {"x", "y"})
    make(resources::kConfigMaps, {{"metadata", {{"name", name}, {"namespace", "short"}}}});
  Json pod = pod_json("p");
  pod["metadata"]["namespace"] = "short";
  make(resources::kPods, pod);
  ASSERT_TRUE(api_->remove(resources::kNamespaces, {"", "short"}, {}));
  // Looks again by the clock while something is left: keep it going.
  for (int i = 0; i < 100 && api_.get(resources::kNamespaces, {"", "short"}).is_object(); ++i) {
    clock_.advance(std::chrono::seconds(1));
    make(resources::kConfigMaps,
         {{"metadata", {{"name", "tick-" + std::to_string(i)}, {"namespace", "default"}}}});
    std::this_thread::yield();
    make(resources::kNamespaces, {{"metadata", {{"name", "wake-" + std::to_string(i)}}}});
  }
  EXPECT_TRUE(gone(resources::kNamespaces, {"", "short"}));
  EXPECT_TRUE(api_->list(resources::kConfigMaps, {.ns = "short"})->items.empty());
}

TEST_F(ControllersTest, DependentsGoWithTheirOwner) {
  const auto owned = [&](const std::string& name, const Json& owner, bool blocks) {
    Json object = {{"metadata",
                    {{"name", name},
                     {"namespace", "default"},
                     {"ownerReferences", Json::array({{{"apiVersion", "v1"},
                                                       {"kind", "ConfigMap"},
                                                       {"name", owner["metadata"]["name"]},
                                                       {"uid", owner["metadata"]["uid"]},
                                                       {"blockOwnerDeletion", blocks}}})}}}};
    make(resources::kConfigMaps, object);
  };
  const auto owner = [&](const std::string& name) {
    return make(resources::kConfigMaps, {{"metadata", {{"name", name}, {"namespace", "default"}}}});
  };
  owned("b-child", owner("background"), false);
  ASSERT_TRUE(api_->remove(resources::kConfigMaps, {"default", "background"}, {}));
  EXPECT_TRUE(gone(resources::kConfigMaps, {"default", "b-child"}));

  owned("f-child", owner("foreground"), true);
  ASSERT_TRUE(api_->remove(resources::kConfigMaps, {"default", "foreground"},
                           {.propagation_policy = "Foreground"}));
  EXPECT_TRUE(gone(resources::kConfigMaps, {"default", "foreground"}));
  EXPECT_TRUE(api_.get(resources::kConfigMaps, {"default", "f-child"}).is_null())
      << "the owner waits for it";

  owned("o-child", owner("orphan"), true);
  ASSERT_TRUE(api_->remove(resources::kConfigMaps, {"default", "orphan"},
                           {.propagation_policy = "Orphan"}));
  EXPECT_TRUE(gone(resources::kConfigMaps, {"default", "orphan"}));
  const Json child = api_.get(resources::kConfigMaps, {"default", "o-child"});
  ASSERT_TRUE(child.is_object());
  EXPECT_EQ(json_find(child, {"metadata", "ownerReferences"}), nullptr);

  // One that a controller adopted just as its owner left all others behind.
  const Json left = owner("left");
  ASSERT_TRUE(
      api_->remove(resources::kConfigMaps, {"default", "left"}, {.propagation_policy = "Orphan"}));
  EXPECT_TRUE(gone(resources::kConfigMaps, {"default", "left"}));
  owned("late-child", left, true);
  EXPECT_TRUE(api_.await(resources::kConfigMaps, {"default", "late-child"}, [](const Json& c) {
    return c.is_object() && json_find(c, {"metadata", "ownerReferences"}) == nullptr;
  }));

  Json absent = {{"metadata", {{"name", "never"}, {"uid", "never-was"}}}};
  owned("stray", absent, false);
  EXPECT_TRUE(gone(resources::kConfigMaps, {"default", "stray"}));
}

TEST(PodGarbageCollector, PodsOfAVanishedNodeGoAfterAWhile) {
  ManualClock clock;
  RegistryClient api(clock);
  Informer<Pod> pods(*api, resources::kPods);
  Informer<Node> nodes(*api, resources::kNodes);
  ASSERT_TRUE(api->create(resources::kPods, Object(pod_json("p", "vanished"))));
  pods.start();
  nodes.start();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  ASSERT_TRUE(pods.wait_synced(deadline) && nodes.wait_synced(deadline));
  PodGarbageCollector collector(*api, clock, pods, nodes);
  const auto first = collector.reconcile({"default", "p"});
  ASSERT_TRUE(first && *first);
  EXPECT_EQ(**first, kOrphanedPodGrace);
  EXPECT_TRUE(api.get(resources::kPods, {"default", "p"}).is_object());
  clock.advance(kOrphanedPodGrace);
  ASSERT_TRUE(collector.reconcile({"default", "p"}));
  EXPECT_TRUE(api.get(resources::kPods, {"default", "p"}).is_null());
}

}  // namespace
}  // namespace coracle
