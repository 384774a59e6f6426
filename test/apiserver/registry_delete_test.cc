// Deletions: finalizers, propagation, preconditions, grace.
#include <limits>

#include "registry_fixture.h"

namespace coracle {
namespace {

using resources::kConfigMaps;
using resources::kPods;

class RegistryDeleteTest : public RegistryFixture {};

TEST_F(RegistryDeleteTest, FinalizersHoldTheObject) {
  Json body = config_map("a");
  body["metadata"]["finalizers"] = {"example.com/hold"};
  make(kConfigMaps, body);
  auto removed = remove(kConfigMaps, "a");
  ASSERT_TRUE(removed);
  EXPECT_FALSE(removed->gone);
  EXPECT_TRUE(removed->object["metadata"].contains("deletionTimestamp"));
  const std::string revision = revision_of(stored(kConfigMaps, "a"));
  removed = remove(kConfigMaps, "a");
  ASSERT_TRUE(removed);
  EXPECT_EQ(revision_of(stored(kConfigMaps, "a")), revision);
  const auto added = patch(
      kConfigMaps, "a", {{"metadata", {{"finalizers", {"example.com/hold", "example.com/more"}}}}});
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().causes.at(0).reason, "FieldValueForbidden");
  EXPECT_TRUE(patch(kConfigMaps, "a", {{"metadata", {{"finalizers", nullptr}}}}));
  EXPECT_TRUE(stored(kConfigMaps, "a").is_null());
}

TEST_F(RegistryDeleteTest, PropagationBecomesAFinalizer) {
  for (const auto& [policy, finalizer] :
       {std::pair{"Foreground", "foregroundDeletion"}, std::pair{"Orphan", "orphan"}}) {
    make(kConfigMaps, config_map(finalizer == std::string("orphan") ? "o" : "f"));
    DeleteOptions options;
    options.propagation_policy = policy;
    const auto removed =
        remove(kConfigMaps, finalizer == std::string("orphan") ? "o" : "f", options);
    ASSERT_TRUE(removed);
    EXPECT_FALSE(removed->gone);
    EXPECT_EQ(removed->object["metadata"]["finalizers"], Json::array({finalizer}));
  }
  make(kConfigMaps, config_map("x"));
  DeleteOptions options;
  options.propagation_policy = "Sideways";
  EXPECT_FALSE(remove(kConfigMaps, "x", options));
}

TEST_F(RegistryDeleteTest, DeletePreconditions) {
  const Json object = make(kConfigMaps, config_map("a"));
  DeleteOptions options;
  options.uid = "other";
  auto removed = remove(kConfigMaps, "a", options);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Code::Conflict);
  options = {};
  options.revision = 1;
  EXPECT_FALSE(remove(kConfigMaps, "a", options));
  options.revision = std::stoll(revision_of(object));
  options.uid = json_string(object, {"metadata", "uid"});
  removed = remove(kConfigMaps, "a", options);
  ASSERT_TRUE(removed);
  EXPECT_TRUE(removed->gone);
  EXPECT_GT(std::stoll(revision_of(removed->object)), std::stoll(revision_of(object)));
  EXPECT_FALSE(remove(kConfigMaps, "a"));
}

TEST_F(RegistryDeleteTest, NoGraceIsLongerThanTimestamps) {
  bound_pod("p");
  DeleteOptions forever;
  forever.grace_period_seconds = std::numeric_limits<std::int64_t>::max();
  const auto removed = remove(kPods, "p", forever);
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->object["metadata"]["deletionTimestamp"], "2125-12-09T03:04:05Z");
}

TEST_F(RegistryDeleteTest, BoundPodsGoGracefully) {
  const Json pod = bound_pod("p");
  EXPECT_EQ(pod["spec"]["nodeName"], "n1");
  EXPECT_EQ(pod["status"]["conditions"][0]["type"], "PodScheduled");
  auto removed = remove(kPods, "p");
  ASSERT_TRUE(removed);
  EXPECT_FALSE(removed->gone);
  EXPECT_EQ(removed->object["metadata"]["deletionTimestamp"], "2026-01-02T03:04:35Z");
  EXPECT_EQ(removed->object["metadata"]["deletionGracePeriodSeconds"], 30);
  DeleteOptions longer;
  longer.grace_period_seconds = 60;
  removed = remove(kPods, "p", longer);
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->object["metadata"]["deletionGracePeriodSeconds"], 30);
  DeleteOptions shorter;
  shorter.grace_period_seconds = 5;
  removed = remove(kPods, "p", shorter);
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->object["metadata"]["deletionTimestamp"], "2026-01-02T03:04:10Z");
  // A status write in between does not end it.
  EXPECT_TRUE(
      update(kPods, {{"metadata", {{"name", "p"}}}, {"status", {{"phase", "Running"}}}}, "status"));
  DeleteOptions now;
  now.grace_period_seconds = 0;
  removed = remove(kPods, "p", now);
  ASSERT_TRUE(removed);
  EXPECT_TRUE(removed->gone);
  EXPECT_TRUE(stored(kPods, "p").is_null());
}

TEST_F(RegistryDeleteTest, UnboundAndFinishedPodsGoAtOnce) {
  make(kPods, simple_pod("unbound"));
  auto removed = remove(kPods, "unbound");
  ASSERT_TRUE(removed);
  EXPECT_TRUE(removed->gone);
  bound_pod("done");
  ASSERT_TRUE(update(
      kPods, {{"metadata", {{"name", "done"}}}, {"status", {{"phase", "Succeeded"}}}}, "status"));
  removed = remove(kPods, "done");
  ASSERT_TRUE(removed);
  EXPECT_TRUE(removed->gone);
}

TEST_F(RegistryDeleteTest, PodsAreBoundOnce) {
  bound_pod("p");
  const Json again = {
      {"kind", "Binding"}, {"metadata", {{"name", "p"}}}, {"target", {{"name", "n2"}}}};
  const auto bound = create(kPods, again);
  ASSERT_FALSE(bound);
  EXPECT_EQ(
      bound.error().message,
      "Operation cannot be fulfilled on pods \"p\": pod p is already assigned to node \"n1\"");
  make(kPods, simple_pod("q"));
  EXPECT_FALSE(create(
      kPods, {{"kind", "Binding"}, {"metadata", {{"name", "q"}}}, {"target", Json::object()}}));
  EXPECT_FALSE(create(
      kPods,
      {{"kind", "Binding"}, {"metadata", {{"name", "nobody"}}}, {"target", {{"name", "n"}}}}));
  const auto created = create(
      kPods, {{"kind", "Binding"}, {"metadata", {{"name", "q"}}}, {"target", {{"name", "n2"}}}});
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(stored(kPods, "q")["spec"]["nodeName"], "n2");
}

}  // namespace
}  // namespace coracle
