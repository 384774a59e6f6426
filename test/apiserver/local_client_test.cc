// LocalClient and bootstrap, on a registry.
#include <apiserver/bootstrap.h>
#include <apiserver/local_client.h>

#include <thread>

#include "registry_fixture.h"

namespace coracle {
namespace {

using resources::kConfigMaps;
using resources::kPods;
using Type = WatchEvent::Type;

class LocalClientTest : public RegistryFixture {
 protected:
  void SetUp() override {
    RegistryFixture::SetUp();
    client_ = std::make_unique<LocalClient>(*registry_, clock_);
  }
  void boot(const BootstrapOptions& options) {
    const auto done = bootstrap(*registry_, options);
    ASSERT_TRUE(done) << done.error().message;
  }
  static Object labelled(const std::string& name, const std::string& app) {
    Json object = config_map(name);
    object["metadata"].update({{"namespace", "default"}, {"labels", {{"app", app}}}});
    return Object(object);
  }
  std::unique_ptr<LocalClient> client_;
};

TEST_F(LocalClientTest, DoesWhatTheApiDoes) {
  Json document = config_map("a");
  document["metadata"]["namespace"] = "default";
  document["unknown"] = 1;
  const auto created = client_->create(kConfigMaps, Object(document));
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_FALSE(created->json().contains("unknown"));
  EXPECT_GT(created->revision(), 0);
  document["data"] = 3;
  EXPECT_FALSE(client_->create(kConfigMaps, Object(document)));
  const auto got = client_->get(kConfigMaps, {"default", "a"});
  ASSERT_TRUE(got);
  EXPECT_EQ(got->json(), created->json());
  const auto patched = client_->patch(kConfigMaps, {"default", "a"}, PatchType::StrategicMerge,
                                      {{"data", {{"b", "2"}}}}, "");
  ASSERT_TRUE(patched) << patched.error().message;
  EXPECT_EQ(patched->json()["data"].size(), 2U);
  const auto stale = client_->update(kConfigMaps, *created, "");
  ASSERT_FALSE(stale);
  EXPECT_TRUE(is_conflict(stale.error()));
  EXPECT_TRUE(client_->remove(kConfigMaps, {"default", "a"}, {}));
  const auto gone = client_->remove(kConfigMaps, {"default", "a"}, {});
  ASSERT_FALSE(gone);
  EXPECT_TRUE(is_not_found(gone.error()));
  EXPECT_FALSE(client_->get({"x", "v1", "nopes", "Nope", true}, {"default", "a"}));
}

TEST_F(LocalClientTest, BindsPods) {
  make(kPods, simple_pod("p"));
  const auto bound =
      client_->create(kPods, Object({{"apiVersion", "v1"},
                                     {"kind", "Binding"},
                                     {"metadata", {{"name", "p"}, {"namespace", "default"}}},
                                     {"target", {{"kind", "Node"}, {"name", "n1"}}}}));
  ASSERT_TRUE(bound) << bound.error().message;
  EXPECT_EQ(stored(kPods, "p")["spec"]["nodeName"], "n1");
}

TEST_F(LocalClientTest, WatchTranslatesForItsSelector) {
  const ListOptions options{"default", "app=x", ""};
  const auto list = client_->list(kConfigMaps, options);
  ASSERT_TRUE(list);
  auto watch = client_->watch(kConfigMaps, options, list->revision);
  ASSERT_TRUE(watch) << watch.error().message;
  ASSERT_TRUE(client_->create(kConfigMaps, labelled("other", "y")));
  ASSERT_TRUE(client_->create(kConfigMaps, labelled("a", "y")));
  ASSERT_TRUE(client_->update(kConfigMaps, labelled("a", "x"), ""));
  Object more = labelled("a", "x");
  more.json()["data"]["b"] = "2";
  ASSERT_TRUE(client_->update(kConfigMaps, more, ""));
  const auto left = client_->update(kConfigMaps, labelled("a", "z"), "");
  ASSERT_TRUE(left);
  ASSERT_TRUE(client_->update(kConfigMaps, labelled("a", "x"), ""));
  ASSERT_TRUE(client_->remove(kConfigMaps, {"default", "a"}, {}));
  std::vector<WatchEvent> events;
  for (int i = 0; i < 10 && events.size() < 5; ++i) {
    auto batch = (*watch)->next({});
    ASSERT_TRUE(batch);
    events.insert(events.end(), batch->begin(), batch->end());
  }
  std::vector<Type> types;
  for (const WatchEvent& event : events) types.push_back(event.type);
  ASSERT_EQ(types, (std::vector<Type>{Type::Added, Type::Modified, Type::Deleted, Type::Added,
                                      Type::Deleted}));
  // The last state that matched, at the revision at which it stopped to.
  EXPECT_EQ(events[2].object.json()["metadata"]["labels"]["app"], "x");
  EXPECT_EQ(events[2].object.revision(), left->revision());
}

TEST_F(LocalClientTest, WatchEndsWhenAsked) {
  auto watch = client_->watch(kConfigMaps, {}, registry_->revision());
  ASSERT_TRUE(watch);
  std::jthread waiter([&](const std::stop_token& stop) {
    const auto events = (*watch)->next(stop);
    EXPECT_TRUE(events && events->empty());
  });
  waiter.request_stop();
}

TEST_F(LocalClientTest, BootstrapMakesTheClusterOnceAndFollowsTheServer) {
  BootstrapOptions options{*Ip::parse("192.0.2.5"), 6443, *Cidr::parse("10.96.0.0/16")};
  boot(options);
  const Revision once = registry_->revision();
  boot(options);
  EXPECT_EQ(registry_->revision(), once);
  for (const char* ns : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
    EXPECT_TRUE(client_->get(resources::kNamespaces, {"", ns}));
    EXPECT_TRUE(client_->get(resources::kServiceAccounts, {ns, "default"}));
  }
  const Json service = stored(resources::kServices, "kubernetes");
  EXPECT_EQ(service["spec"]["clusterIP"], "10.96.0.1");
  EXPECT_EQ(service["spec"]["ports"][0]["targetPort"], 6443);
  options.server_address = *Ip::parse("192.0.2.6");
  options.server_port = 7443;
  boot(options);
  EXPECT_EQ(stored(resources::kEndpoints, "kubernetes")["subsets"][0]["addresses"][0]["ip"],
            "192.0.2.6");
  EXPECT_EQ(stored(resources::kEndpointSlices, "kubernetes")["ports"][0]["port"], 7443);
  EXPECT_EQ(stored(resources::kServices, "kubernetes")["spec"]["ports"][0]["targetPort"], 7443);
  EXPECT_EQ(stored(resources::kServices, "kubernetes")["spec"]["clusterIP"], "10.96.0.1");
  // The restart that follows keeps the first address for it.
  open();
  boot(options);
}

}  // namespace
}  // namespace coracle
