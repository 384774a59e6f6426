#include "node/node_registration.h"

#include <atomic>

#include "support/eventually.h"
#include "support/registry_client.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;
using resources::kLeases;
using resources::kNodes;

const ObjectKey kNode{"", "n1"};
const ObjectKey kLease{"kube-node-lease", "n1"};

NodeFacts facts() {
  NodeFacts out;
  out.name = "n1";
  out.ip = *Ip::parse("192.0.2.6");
  out.architecture = "amd64";
  out.version = "v0";
  return out;
}

std::string ready_of(const Json& node) {
  const Json* conditions = json_find(node, {"status", "conditions"});
  if (conditions == nullptr) return "";
  for (const Json& c : *conditions)
    if (json_string(c, {"type"}) == "Ready")
      return json_string(c, {"status"}) + " " + json_string(c, {"reason"});
  return "";
}

auto soon() {
  return std::chrono::steady_clock::now() + 60s;
}

// The machine's, ahead by what the test says: the loops' small waits are real.
class ShiftedClock final : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override {
    return system_clock().now() + std::chrono::seconds(ahead_.load());
  }
  std::chrono::steady_clock::time_point steady_now() const override {
    return system_clock().steady_now() + std::chrono::seconds(ahead_.load());
  }
  void advance(std::chrono::seconds by) { ahead_ += by.count(); }

 private:
  std::atomic<std::int64_t> ahead_{0};
};

class NodeRegistrationTest : public testing::Test {
 protected:
  ShiftedClock clock_;
  test::RegistryClient client_{clock_};
  std::atomic<int> changes_{0};
  EventRecorder events_{*client_, clock_, "kubelet", "n1"};
  NodeRegistration registration_{*client_, clock_, facts(), events_, [this] { ++changes_; }};
};

TEST_F(NodeRegistrationTest, RegistersAtOnceAndSaysWhenItIsReady) {
  registration_.start();
  ASSERT_TRUE(client_.await(
      kNodes, kNode, [](const Json& node) { return ready_of(node) == "False NetworkNotReady"; }));
  EXPECT_FALSE(registration_.wait_ready(std::chrono::steady_clock::now()));
  registration_.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(registration_.wait_ready(soon()));
  EXPECT_EQ(ready_of(client_.get(kNodes, kNode)), "True KubeletReady");
}

// Once for each change, and not when an agent starts over under a node that is ready.
TEST_F(NodeRegistrationTest, AnEventTellsWhenItBecomesReadyOrCeasesToBe) {
  const auto told = [&] {
    events_.flush();
    std::string out;
    const auto list = client_->list(resources::kEvents, {.ns = "default"});
    for (const Object& event : list->items)
      out += json_string(event.json(), {"involvedObject", "name"}) + " " +
             json_string(event.json(), {"reason"}) + " x" +
             std::to_string(json_int(event.json(), {"count"})) + "; ";
    return out;
  };
  registration_.start();
  registration_.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(registration_.wait_ready(soon()));
  EXPECT_EQ(told(), "n1 NodeReady x1; ");
  registration_.stop();
  NodeRegistration next(*client_, clock_, facts(), events_, [] {});
  next.start();
  next.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(next.wait_ready(soon()));
  EXPECT_EQ(told(), "n1 NodeReady x1; ");
  next.set_condition(false, "NetworkNotReady", "down");
  ASSERT_TRUE(client_.await(
      kNodes, kNode, [](const Json& node) { return ready_of(node) == "False NetworkNotReady"; }));
  next.stop();  // what it was about to say has been said
  EXPECT_EQ(told(), "n1 NodeReady x1; n1 NodeNotReady x1; ");
}

TEST_F(NodeRegistrationTest, LearnsItsPodCidr) {
  registration_.start();
  ASSERT_TRUE(client_.await(kNodes, kNode, [](const Json& node) { return !node.is_null(); }));
  EXPECT_FALSE(registration_.pod_cidr());
  ASSERT_TRUE(client_->patch(kNodes, kNode, PatchType::JsonMerge,
                             {{"spec", {{"podCIDR", "10.42.3.0/24"}}}}, ""));
  // The change arrives at the informer, which wakes the listener.
  ASSERT_TRUE(test::eventually([&] { return registration_.pod_cidr().has_value(); }));
  EXPECT_EQ(registration_.pod_cidr(), *Cidr::parse("10.42.3.0/24"));
  EXPECT_GT(changes_.load(), 0);
}

TEST_F(NodeRegistrationTest, PublishesAnAddressThatHasChanged) {
  registration_.start();
  registration_.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(registration_.wait_ready(soon()));
  registration_.set_ip(*Ip::parse("192.0.2.60"));
  EXPECT_TRUE(client_.await(kNodes, kNode, [](const Json& node) {
    return node["status"]["addresses"][0]["address"] == "192.0.2.60";
  }));
}

TEST_F(NodeRegistrationTest, SaysOfItsPeersWhatHasChangedAndNothingTwice) {
  registration_.start();
  registration_.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(registration_.wait_ready(soon()));
  const PeerReport report{R"({"n2":"MtuTooSmall"})", PeerFinding{true, "MtuTooSmall", "of n2"}};
  registration_.set_peers(report);
  ASSERT_TRUE(client_.await(kNodes, kNode, [&](const Json& node) {
    return json_string(node, {"metadata", "annotations", "coracle.io/peers"}) ==
               report.annotation &&
           node["status"]["conditions"][0]["reason"] == "MtuTooSmall" &&
           node["status"]["conditions"][0]["status"] == "True";
  }));
  const Json before = client_.get(kNodes, kNode);
  clock_.advance(400s);  // a full run
  registration_.set_peers(report);
  // What comes later is written; had the above been written again, it would have been before.
  registration_.set_ip(*Ip::parse("192.0.2.60"));
  ASSERT_TRUE(client_.await(kNodes, kNode, [](const Json& node) {
    return node["status"]["addresses"][0]["address"] == "192.0.2.60";
  }));
  const Json after = client_.get(kNodes, kNode);
  EXPECT_EQ(after["status"]["conditions"], before["status"]["conditions"]);
  EXPECT_EQ(after["metadata"]["annotations"], before["metadata"]["annotations"]);
  registration_.set_peers({});
  EXPECT_TRUE(client_.await(kNodes, kNode, [&](const Json& node) {
    return json_string(node, {"metadata", "annotations", "coracle.io/peers"}).empty() &&
           node["status"]["conditions"][0]["reason"] == "PodNetworkReady";
  }));
}

TEST_F(NodeRegistrationTest, ComesBackWhenItIsDeleted) {
  registration_.start();
  registration_.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(registration_.wait_ready(soon()));
  const std::string uid = client_.get(kNodes, kNode)["metadata"]["uid"];
  ASSERT_TRUE(client_->remove(kNodes, kNode, {}));
  EXPECT_TRUE(client_.await(kNodes, kNode, [&](const Json& node) {
    return ready_of(node) == "True KubeletReady" && node["metadata"]["uid"] != uid;
  }));
}

TEST_F(NodeRegistrationTest, LeavesWhatOthersSetAndWritesNothingWithoutAChange) {
  ASSERT_TRUE(client_->create(
      kNodes,
      Object(Json{{"metadata", {{"name", "n1"}, {"labels", {{"zone", "a"}}}}},
                  {"spec", {{"unschedulable", true}}},
                  {"status", {{"daemonEndpoints", {{"kubeletEndpoint", {{"Port", 1}}}}}}}})));
  registration_.start();
  registration_.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(registration_.wait_ready(soon()));
  const Json node = client_.get(kNodes, kNode);
  EXPECT_EQ(node["metadata"]["labels"]["zone"], "a");
  EXPECT_EQ(node["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
  EXPECT_EQ(node["spec"]["unschedulable"], true);
  registration_.stop();
  clock_.advance(3600s);
  NodeRegistration next(*client_, clock_, facts(), events_, [] {});
  next.set_condition(true, "KubeletReady", "up");
  next.start();
  ASSERT_TRUE(next.wait_ready(soon()));
  EXPECT_EQ(client_.get(kNodes, kNode), node);
}

// A restart of the agent is no reason to take the node from its load balancers.
TEST_F(NodeRegistrationTest, StaysReadyWhileItStartsOver) {
  registration_.start();
  registration_.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(registration_.wait_ready(soon()));
  registration_.stop();
  ASSERT_TRUE(client_->patch(kNodes, kNode, PatchType::JsonMerge,
                             {{"status", {{"nodeInfo", {{"kubeletVersion", "old"}}}}}}, "status"));
  NodeRegistration next(*client_, clock_, facts(), events_, [] {});
  next.start();
  // That it wrote its facts shows that it had its say.
  ASSERT_TRUE(client_.await(kNodes, kNode, [](const Json& node) {
    return json_string(node, {"status", "nodeInfo", "kubeletVersion"}) == "v0";
  }));
  next.set_condition(false, "ServiceRulesNotReady", "starting");
  EXPECT_EQ(ready_of(client_.get(kNodes, kNode)), "True KubeletReady");
  EXPECT_FALSE(next.wait_ready(std::chrono::steady_clock::now()));
  // It has not found what was running: said again, it counts.
  clock_.advance(11s);
  next.set_condition(false, "ServiceRulesNotReady", "starting");
  EXPECT_TRUE(client_.await(kNodes, kNode, [](const Json& node) {
    return ready_of(node) == "False ServiceRulesNotReady";
  }));
}

TEST_F(NodeRegistrationTest, IsNotReadyAfterABootUntilItIs) {
  registration_.start();
  registration_.set_condition(true, "KubeletReady", "up");
  ASSERT_TRUE(registration_.wait_ready(soon()));
  registration_.stop();
  NodeFacts booted = facts();
  booted.boot_id = "another";
  NodeRegistration next(*client_, clock_, booted, events_, [] {});
  next.start();
  EXPECT_TRUE(client_.await(
      kNodes, kNode, [](const Json& node) { return ready_of(node) == "False NetworkNotReady"; }));
}

TEST_F(NodeRegistrationTest, BeatsByItsLease) {
  registration_.start();
  ASSERT_TRUE(client_.await(kLeases, kLease, [](const Json& lease) {
    return json_string(lease, {"spec", "holderIdentity"}) == "n1";
  }));
  const Json lease = client_.get(kLeases, kLease);
  EXPECT_EQ(lease["spec"]["leaseDurationSeconds"], 8);
  EXPECT_EQ(lease["metadata"]["ownerReferences"][0]["kind"], "Node");
  EXPECT_EQ(lease["metadata"]["ownerReferences"][0]["uid"],
            client_.get(kNodes, kNode)["metadata"]["uid"]);
}

TEST_F(NodeRegistrationTest, RenewsFourTimesInTheDurationThatTheServerWrote) {
  registration_.start();
  ASSERT_TRUE(client_.await(kLeases, kLease, [](const Json& lease) { return lease.is_object(); }));
  ASSERT_TRUE(client_->patch(kLeases, kLease, PatchType::JsonMerge,
                             {{"spec", {{"leaseDurationSeconds", 60}}}}, ""));
  const auto renewed = [&](std::chrono::seconds later) {
    const Json before = client_.get(kLeases, kLease);
    clock_.advance(later);
    return client_.await(kLeases, kLease, [&](const Json& lease) {
      return lease["spec"]["renewTime"] != before["spec"]["renewTime"] &&
             lease["spec"]["leaseDurationSeconds"] == 60;
    });
  };
  EXPECT_TRUE(renewed(std::chrono::seconds(3)));  // it cannot know yet; the lost race is no matter
  const Json before = client_.get(kLeases, kLease);
  clock_.advance(std::chrono::seconds(10));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // nothing is to happen
  EXPECT_EQ(client_.get(kLeases, kLease), before);
  EXPECT_TRUE(renewed(std::chrono::seconds(10)));
}

}  // namespace
}  // namespace coracle
