// Volumes in the life of a Pod: what it waits for, what is looked at again, and when.
#include "pod_manager_fixture.h"

namespace coracle::pods {
namespace {

class PodVolumesTest : public PodManagerTest {
 protected:
  static Json spec_with(const Json& source, const std::string& policy = "Always") {
    Json spec = one(policy);
    Json volume = source;
    volume["name"] = "v";
    spec["volumes"] = Json::array({volume});
    spec["containers"][0]["volumeMounts"] =
        Json::array({{{"name", "v"}, {"mountPath", "/etc/app"}}});
    return spec;
  }
  static Json config_map(const std::string& name) { return {{"configMap", {{"name", name}}}}; }
  void put_map(const std::string& name, const std::string& value) {
    Json map = {{"metadata", {{"name", name}, {"namespace", "default"}}},
                {"data", {{"key", value}}}};
    const auto old = client_->get(resources::kConfigMaps, {"default", name});
    const auto done = old ? client_->update(resources::kConfigMaps, Object(map), "")
                          : client_->create(resources::kConfigMaps, Object(map));
    ASSERT_TRUE(done) << done.error().message;
  }
  std::string content(const std::string& uid) {
    const auto all = runtime_.read(runtime_.volumes);
    const auto it = all.find(uid + "/v");
    return it == all.end() || !it->second.contains("key") ? "" : it->second.at("key").data;
  }
  bool told(const std::string& event) {
    return test::eventually([&] { return events().contains(event); });
  }
};

TEST_F(PodVolumesTest, AMissingConfigMapIsWaitedFor) {
  start();
  const std::string uid = make("p", spec_with(config_map("late")));
  ASSERT_TRUE(
      told("Warning FailedMount MountVolume.SetUp failed for volume \"v\" : configmap "
           "\"late\" not found"));
  ASSERT_TRUE(await_phase("p", "Pending"));
  EXPECT_TRUE(await("p", [](const Json& pod) {
    return json_string(status_of(pod), {"state", "waiting", "reason"}) == "ContainerCreating";
  }));
  EXPECT_TRUE(is_not_found(runtime_.state(uid).error())) << "nothing runs before";
  put_map("late", "one");
  advance(10s);
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_EQ(content(uid), "one");
  const auto specs = runtime_.read(runtime_.specs);
  EXPECT_EQ(specs.at(uid + "/c").mounts,
            (std::vector<VolumeMount>{{.volume = "v", .target = "/etc/app", .read_only = true}}));
}

TEST_F(PodVolumesTest, AVolumeThatCannotBeGivenKeepsThePodFromRunning) {
  start();
  const std::string uid = make("p", spec_with({{"nfs", {{"server", "s"}, {"path", "/p"}}}}));
  ASSERT_TRUE(
      told("Warning FailedMount MountVolume.SetUp failed for volume \"v\" : the runtime "
           "\"process\" does not support volumes of type nfs"));
  advance(60s);
  EXPECT_TRUE(await_phase("p", "Pending"));
  EXPECT_TRUE(runtime_.read(runtime_.specs).empty());
  EXPECT_TRUE(client_->remove(kPods, {"default", "p"}, {}));
  EXPECT_TRUE(await_gone("p"));
  EXPECT_TRUE(runtime_.read(runtime_.prepared).empty());
}

TEST_F(PodVolumesTest, AnUpdateIsSeenWithinAMinute) {
  start();
  put_map("map", "one");
  const std::string uid = make("p", spec_with(config_map("map")));
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_EQ(content(uid), "one");
  put_map("map", "two");
  advance(kVolumeRefresh);
  EXPECT_TRUE(test::eventually([&] { return content(uid) == "two"; }));
  // By the next agent as well, and at once.
  put_map("map", "three");
  start();
  EXPECT_TRUE(test::eventually([&] { return content(uid) == "three"; }));
  // One that is gone leaves its contents.
  ASSERT_TRUE(client_->remove(resources::kConfigMaps, {"default", "map"}, {}));
  advance(kVolumeRefresh);
  EXPECT_TRUE(
      told("Warning FailedMount MountVolume.SetUp failed for volume \"v\" : configmap "
           "\"map\" not found"));
  EXPECT_EQ(content(uid), "three");
  put_map("map", "four");
  advance(kVolumeRefresh);
  EXPECT_TRUE(test::eventually([&] { return content(uid) == "four"; }));
}

TEST_F(PodVolumesTest, DownwardFilesFollowLabelsAtOnce) {
  start();
  const std::string uid = make(
      "p",
      spec_with(
          {{"downwardAPI",
            {{"items", {{{"path", "key"}, {"fieldRef", {{"fieldPath", "metadata.labels"}}}}}}}}}));
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_EQ(content(uid), "");
  ASSERT_TRUE(client_->patch(kPods, {"default", "p"}, PatchType::JsonMerge,
                             {{"metadata", {{"labels", {{"app", "web"}}}}}}, ""));
  EXPECT_TRUE(test::eventually([&] { return content(uid) == "app=\"web\""; }));
}

TEST_F(PodVolumesTest, ADiskVolumeOutlivesItsSandboxAndNotItsPod) {
  start();
  const std::string uid = make("p", spec_with({{"emptyDir", Json::object()}}));
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_EQ(runtime_.read(runtime_.prepared), std::set<std::string>{uid + "/v"});
  runtime_.lose(uid);
  ASSERT_TRUE(await("p", [](const Json& pod) { return restarts_of(pod) == 1; }));
  EXPECT_EQ(runtime_.read(runtime_.prepared), std::set<std::string>{uid + "/v"});
  ASSERT_TRUE(client_->remove(kPods, {"default", "p"}, {.grace_period_seconds = 0}));
  ASSERT_TRUE(await_gone("p"));
  EXPECT_TRUE(test::eventually([&] { return runtime_.read(runtime_.prepared).empty(); }));
}

}  // namespace
}  // namespace coracle::pods
