// Pods of a node whose server is away: what was kept is started, what cannot be known waits.
#include <filesystem>

#include "pod_manager_fixture.h"

namespace coracle::pods {
namespace {

// The API behind a cable that the test pulls: open watches stay silent, everything else fails.
class CutClient final : public Client {
 public:
  explicit CutClient(Client& inner) : inner_(inner) {}
  void cut(bool away) { away_ = away; }
  bool was_written() const { return written_; }
  int services_refused() const { return services_refused_; }

  Result<Object> get(const Resource& resource, const ObjectKey& key) override {
    if (away_) return gone();
    return inner_.get(resource, key);
  }
  Result<ObjectList> list(const Resource& resource, const ListOptions& options) override {
    if (away_ && resource == resources::kServices) ++services_refused_;
    if (away_) return gone();
    return inner_.list(resource, options);
  }
  Result<std::unique_ptr<ClientWatch>> watch(const Resource& resource, const ListOptions& options,
                                             Revision from) override {
    if (away_) return gone();
    return inner_.watch(resource, options, from);
  }
  Result<Object> create(const Resource& resource, const Object& object) override {
    if (away_) return gone();
    return inner_.create(resource, object);
  }
  Result<Object> update(const Resource& resource, const Object& object,
                        const std::string& subresource) override {
    if (away_) written_ = true;
    if (away_) return gone();
    return inner_.update(resource, object, subresource);
  }
  Result<Object> patch(const Resource& resource, const ObjectKey& key, PatchType type,
                       const Json& patch, const std::string& subresource) override {
    if (away_) return gone();
    return inner_.patch(resource, key, type, patch, subresource);
  }
  Result<void> remove(const Resource& resource, const ObjectKey& key,
                      const DeleteOptions& options) override {
    if (away_) return gone();
    return inner_.remove(resource, key, options);
  }

 private:
  static Error gone() { return {Code::Unavailable, "the cable is pulled"}; }
  Client& inner_;
  std::atomic<bool> away_ = false, written_ = false;
  std::atomic<int> services_refused_ = 0;
};

class PodOffline : public PodManagerTest {
 protected:
  void SetUp() override {
    char path[] = "/tmp/coracle-offline-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override {
    manager_.reset();
    std::filesystem::remove_all(dir_);
  }
  // The next agent of this node.
  void begin() {
    manager_.reset();
    PodWorkerOptions options{"n1", *Ip::parse("192.0.2.6"), "cluster.local"};
    options.known_services = [this]() -> KnownServices {
      const auto service = [](const std::string& ns, const std::string& name) {
        Service out;
        out.meta.ns = ns;
        out.meta.name = name;
        out.cluster_ip = "10.96.0.7";
        out.ports.resize(1);
        out.ports[0].port = 80;
        return std::make_shared<const Service>(std::move(out));
      };
      if (!knows_services_) return std::nullopt;
      return {{service("default", "web"), service("other", "hidden")}};
    };
    options.kept_pods = dir_ + "/pods";
    manager_ = std::make_unique<PodManager>(cut_, clock_, runtime_, network_.connector(), events_,
                                            options);
    manager_->start();
  }
  bool adopts() { return manager_->wait_adopted(std::chrono::steady_clock::now() + 60s); }
  // The agent ends, and with it all that runs here.
  void power_cut() {
    manager_.reset();
    const auto all = runtime_.list();
    for (const SandboxState& sandbox : *all)
      ASSERT_TRUE(runtime_.remove_sandbox(sandbox.spec.pod_uid));
  }
  bool runs(const std::string& uid) {
    return test::eventually([&] {
      const auto state = runtime_.state(uid);
      return state && state->containers.size() == 1 &&
             state->containers[0].status == ContainerState::Status::Running;
    });
  }
  std::map<std::string, std::string> env(const std::string& uid) {
    const auto spec = runtime_.read(runtime_.specs)[uid + "/c"];
    return {spec.env.begin(), spec.env.end()};
  }

  CutClient cut_{*client_};
  std::atomic<bool> knows_services_ = true;
  std::string dir_;
};

TEST_F(PodOffline, KeptPodsRunAgainAndTheServerLearnsOfItLater) {
  begin();
  const std::string uid = make("p", one());
  const std::string deleted = make("deleted", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  ASSERT_TRUE(await_phase("deleted", "Running"));
  const Json before = get("p");
  const auto ips = network_.ips();
  power_cut();
  ASSERT_TRUE(client_->remove(kPods, {"default", "deleted"}, {.grace_period_seconds = 0}));
  cut_.cut(true);
  begin();
  ASSERT_TRUE(runs(uid));
  ASSERT_TRUE(runs(deleted)) << "nobody told us";
  EXPECT_EQ(network_.ips(), ips);
  EXPECT_EQ(env(uid).at("WEB_SERVICE_HOST"), "10.96.0.7");
  EXPECT_FALSE(env(uid).contains("HIDDEN_SERVICE_HOST"));
  EXPECT_FALSE(manager_->wait_adopted(std::chrono::steady_clock::now() + 100ms));
  EXPECT_FALSE(cut_.was_written()) << "in vain";
  EXPECT_EQ(cut_.services_refused(), 0) << "every wait for the server would delay a container";
  const auto starts = runtime_.read(runtime_.order).size();
  cut_.cut(false);
  ASSERT_TRUE(adopts());
  ASSERT_TRUE(await("p", [](const Json& pod) {
    return restarts_of(pod) == 1 && status_of(pod)["ready"] == true;
  }));
  EXPECT_EQ(get("p")["status"]["podIP"], before["status"]["podIP"]);
  EXPECT_TRUE(test::eventually([&] { return !runtime_.state(deleted); }));
  EXPECT_TRUE(test::eventually([&] { return network_.ips().size() == 1; }));
  // The usual life goes on.
  const std::string next = make("next", one());
  ASSERT_TRUE(await_phase("next", "Running"));
  EXPECT_EQ(runtime_.read(runtime_.order).size(), starts + 1) << "nothing was started again";
}

TEST_F(PodOffline, AServerThatAnswersIsAskedFirst) {
  begin();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  power_cut();
  ASSERT_TRUE(client_->remove(kPods, {"default", "p"}, {.grace_period_seconds = 0}));
  begin();
  ASSERT_TRUE(adopts());
  EXPECT_EQ(runtime_.read(runtime_.order).size(), 1U) << "what is deleted was started again";
  EXPECT_FALSE(runtime_.state(uid));
}

TEST_F(PodOffline, WhatRunsAndIsNotKeptStaysUntilTheServerHasTold) {
  begin();
  make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  manager_.reset();
  ASSERT_TRUE(runtime_.create_sandbox({"stranger", "default", "s", "s"}));
  network_.hold("stranger");
  cut_.cut(true);
  begin();
  // It has begun when it starts a container again.
  runtime_.end(get("p")["metadata"]["uid"], "c", 1);
  ASSERT_TRUE(test::eventually([&] { return runtime_.read(runtime_.order).size() == 2; }));
  EXPECT_TRUE(runtime_.state("stranger"));
  EXPECT_EQ(network_.ips().size(), 2U);
  cut_.cut(false);
  ASSERT_TRUE(adopts());
  EXPECT_TRUE(test::eventually([&] { return !runtime_.state("stranger"); }));
  EXPECT_TRUE(test::eventually([&] { return network_.ips().size() == 1; }));
}

TEST_F(PodOffline, WithoutAKeptListNothingChangesUntilTheServerHasTold) {
  cut_.cut(true);
  const std::string uid = make("p", one());
  begin();
  EXPECT_FALSE(manager_->wait_adopted(std::chrono::steady_clock::now() + 4s));
  EXPECT_FALSE(runtime_.state(uid));
  cut_.cut(false);
  ASSERT_TRUE(await_phase("p", "Running"));
}

TEST_F(PodOffline, AContainerThatNeedsAConfigMapWaitsBesideTheOthers) {
  ASSERT_TRUE(client_->create(resources::kConfigMaps,
                              Object(Json{{"metadata", {{"name", "m"}, {"namespace", "default"}}},
                                          {"data", {{"k", "from the map"}}}})));
  Json needs = one();
  needs["containers"][0]["env"] = Json::array(
      {{{"name", "K"}, {"valueFrom", {{"configMapKeyRef", {{"name", "m"}, {"key", "k"}}}}}}});
  begin();
  const std::string waits = make("waits", needs);
  const std::string starts = make("starts", one());
  ASSERT_TRUE(await_phase("waits", "Running"));
  ASSERT_TRUE(await_phase("starts", "Running"));
  power_cut();
  cut_.cut(true);
  begin();
  ASSERT_TRUE(runs(starts));
  ASSERT_TRUE(test::eventually([&] { return runtime_.state(waits).has_value(); }));
  EXPECT_TRUE(runtime_.state(waits)->containers.empty());
  cut_.cut(false);
  ASSERT_TRUE(adopts());
  advance(10s);
  ASSERT_TRUE(runs(waits));
  EXPECT_EQ(env(waits).at("K"), "from the map");
}

TEST_F(PodOffline, AContainerThatEndsIsStartedAgainWithTheServicesLastKnown) {
  begin();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  EXPECT_FALSE(env(uid).contains("WEB_SERVICE_HOST")) << "the API knows no such Service";
  cut_.cut(true);
  runtime_.end(uid, "c", 3);
  ASSERT_TRUE(test::eventually([&] { return runtime_.read(runtime_.order).size() == 2; }));
  EXPECT_EQ(env(uid).at("WEB_SERVICE_HOST"), "10.96.0.7");
  cut_.cut(false);
  // The status is made up for.
  ASSERT_TRUE(test::eventually([&] {
    advance(2s);
    return restarts_of(get("p")) == 1;
  }));
}

TEST_F(PodOffline, NobodyInventsServices) {
  knows_services_ = false;
  begin();
  const std::string uid = make("p", one());
  ASSERT_TRUE(await_phase("p", "Running"));
  cut_.cut(true);
  runtime_.end(uid, "c", 3);
  ASSERT_TRUE(test::eventually([&] { return cut_.was_written(); }));
  EXPECT_EQ(runtime_.read(runtime_.order).size(), 1U);
}

}  // namespace
}  // namespace coracle::pods
