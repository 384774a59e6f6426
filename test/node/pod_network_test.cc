#include "node/pod_network.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "node/desired_state.h"
#include "support/fake_kernel.h"

namespace coracle {
namespace {

TEST(OwnChains, AreInstalledOnceAndRemovedWithTheirJumps) {
  const OwnChain chain{"nat", "MINE", "POSTROUTING", {"-s 10.0.0.0/8 -j MASQUERADE"}};
  const std::string jump = "-A POSTROUTING -m comment --comment coracle -j MINE\n";
  const std::string body = "*nat\n:MINE - [0:0]\n-A MINE -s 10.0.0.0/8 -j MASQUERADE\n";
  EXPECT_EQ(install_text(chain, ""), body + jump + "COMMIT\n");
  const std::string there = "*nat\n:MINE - [0:0]\n-A POSTROUTING -s 1.2.3.4/32 -j OTHER\n" + jump +
                            "-A MINE -s 10.0.0.0/8 -j MASQUERADE\nCOMMIT\n";
  EXPECT_EQ(install_text(chain, there), "");
  EXPECT_EQ(install_text(chain, there + jump), body + "-D" + jump.substr(2) + "COMMIT\n");
  EXPECT_EQ(remove_text(chain, there),
            "*nat\n:MINE - [0:0]\n-D" + jump.substr(2) + "-X MINE\nCOMMIT\n");
  EXPECT_EQ(remove_text(chain, "*nat\n:MINED - [0:0]\nCOMMIT\n"), "");
}

constexpr int kPod = 7;
constexpr int kOther = 8;

class PodNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/coracle-pods-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    dir_ = pattern;
    FakeNamespace& node = world_->namespaces[0];
    node.state.links.push_back(
        {.name = "eth0", .kind = "", .master = "", .mac = {}, .mtu = 1400, .up = true});
    node.state.addresses.push_back({"eth0", *Cidr::parse("192.0.2.6/24")});
    node.sysctls = {{"net/ipv4/ip_forward", "0"}, {"net/ipv4/conf/all/send_redirects", "1"}};
    for (const int fd : {kPod, kOther})
      world_->namespaces[fd].state.links.push_back({.name = "lo", .kind = "", .master = ""});
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::unique_ptr<PodNetwork> start(OverlayBackend backend = OverlayBackend::Vxlan) {
    auto network =
        PodNetwork::create({dir_, *Cidr::parse("10.42.0.0/24"), *Cidr::parse("10.42.0.0/16"),
                            *Ip::parse("192.0.2.6"), backend},
                           std::make_unique<test::FakeKernel>(world_, 0),
                           std::make_unique<test::FakeFirewall>(restored_));
    EXPECT_TRUE(network) << network.error().message;
    return network ? std::move(*network) : nullptr;
  }
  using FakeNamespace = test::FakeNamespace;
  KernelState& node() { return world_->namespaces[0].state; }

  std::shared_ptr<test::FakeWorld> world_ = std::make_shared<test::FakeWorld>();
  std::vector<std::string> restored_;
  std::string dir_;
};

TEST_F(PodNetworkTest, AddIsIdempotentAndSurvivesARestart) {
  const auto network = start();
  const auto first = network->add("a", kPod);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->ip.to_string(), "10.42.0.2");
  EXPECT_EQ(first->gateway.to_string(), "10.42.0.1");
  EXPECT_EQ(first->mtu, 1350U);
  const auto before = world_->namespaces[kPod].state;
  EXPECT_EQ(*network->add("a", kPod), *first);
  const auto restarted = start();
  EXPECT_EQ(*restarted->add("a", kPod), *first);
  EXPECT_EQ(world_->namespaces[kPod].state, before);
  EXPECT_TRUE(restarted->check("a", kPod));
}

TEST_F(PodNetworkTest, ANewSandboxOfTheSamePodKeepsTheAddress) {
  const auto network = start();
  const auto first = network->add("a", kPod);
  world_->namespaces[kPod].state.links.clear();  // the kernel removed it with the namespace
  const auto second = network->add("a", kOther);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(*second, *first);
  EXPECT_TRUE(network->check("a", kOther));
}

TEST_F(PodNetworkTest, AnAddThatFailsAnywhereLeavesNothing) {
  const auto network = start();
  const auto before = node();
  const std::string host = pod_link_name("a");
  for (const std::string& step :
       {"adding link " + host, std::string("changing link eth0"), std::string("adding address"),
        std::string("adding route 0.0.0.0/0")}) {
    SCOPED_TRACE(step);
    world_->fail_on = step;
    EXPECT_FALSE(network->add("a", kPod));
    EXPECT_EQ(node(), before);
    EXPECT_FALSE(network->check("a", kPod));
  }
  EXPECT_TRUE(network->add("a", kPod));
}

TEST_F(PodNetworkTest, DelIsIdempotentAndGcRemovesLeftovers) {
  const auto network = start();
  const auto before = node();
  ASSERT_TRUE(network->add("a", kPod));
  ASSERT_TRUE(network->add("b", kOther));
  ASSERT_TRUE(network->del("a"));
  ASSERT_TRUE(network->del("a"));
  ASSERT_TRUE(network->del("never seen"));
  node().links.push_back({.name = "cora0123456789", .kind = "veth", .master = "cora0"});
  ASSERT_TRUE(network->gc({"b"}));
  EXPECT_TRUE(network->check("b", kOther));
  EXPECT_EQ(node().find_link("cora0123456789"), nullptr);
  ASSERT_TRUE(network->gc({}));
  EXPECT_EQ(node(), before);
}

TEST_F(PodNetworkTest, EnsureRepairsABridgeThatWasDeleted) {
  const auto network = start();
  ASSERT_TRUE(network->add("a", kPod));
  test::FakeKernel kernel(world_, 0);
  ASSERT_TRUE(kernel.apply(RemoveLink{"cora0"}));
  EXPECT_FALSE(network->check("a", kPod));
  ASSERT_TRUE(network->ensure());
  EXPECT_TRUE(network->check("a", kPod));
  world_->log.clear();
  ASSERT_TRUE(network->ensure());
  EXPECT_TRUE(world_->log.empty());
}

TEST_F(PodNetworkTest, EnsurePutsTheRouteToThePodsBack) {
  const auto network = start();
  const auto before = node();
  test::FakeKernel kernel(world_, 0);
  ASSERT_TRUE(kernel.apply(RemoveRoute{{*Cidr::parse("10.42.0.0/24"), "cora0", {}, 2}}));
  ASSERT_TRUE(network->ensure());
  EXPECT_EQ(node(), before);
}

std::vector<RemoteNode> nodes(std::uint64_t count) {
  std::vector<RemoteNode> out;
  for (std::uint64_t i = 1; i <= count; ++i)
    out.push_back(
        {Cidr::parse("10.42.0.0/16")->subnet(24, i), Ip::parse("192.0.2.0")->plus(i + 6)});
  return out;
}

TEST_F(PodNetworkTest, TheHundredAndFirstNodeCostsThreeOperationsAndNoDump) {
  const auto network = start();
  ASSERT_TRUE(network->add("a", kPod));
  ASSERT_TRUE(network->set_remotes(nodes(100)));
  EXPECT_EQ(node().routes.size(), 102U);  // and those of the two addresses
  world_->log.clear();
  world_->dumps = 0;
  ASSERT_TRUE(network->set_remotes(nodes(101)));
  EXPECT_EQ(world_->log.size(), 3U);
  EXPECT_EQ(world_->dumps, 0);
  EXPECT_EQ(node().fdb.size(), 101U);
  world_->log.clear();
  ASSERT_TRUE(network->set_remotes(nodes(101)));
  EXPECT_TRUE(world_->log.empty());
  ASSERT_TRUE(network->set_remotes(nodes(100)));
  EXPECT_EQ(world_->log.size(), 3U);
  EXPECT_EQ(node().fdb.size(), 100U);
  EXPECT_TRUE(network->check("a", kPod));
}

TEST_F(PodNetworkTest, ARouteOverTheUnderlayCostsOneOperation) {
  const auto network = start(OverlayBackend::HostGateway);
  ASSERT_TRUE(network->set_remotes(nodes(1)));
  world_->log.clear();
  ASSERT_TRUE(network->set_remotes(nodes(2)));
  EXPECT_EQ(world_->log,
            std::vector<std::string>{"adding route 10.42.2.0/24 via 192.0.2.8 on eth0"});
}

TEST_F(PodNetworkTest, AfterAFailureEverythingIsLookedAt) {
  const auto network = start();
  world_->fail_on = "adding FDB entry 0a:58:0a:2a:05:00";
  EXPECT_FALSE(network->set_remotes(nodes(9)));
  EXPECT_EQ(network->applied(), nullptr);
  ASSERT_TRUE(network->set_remotes(nodes(9)));
  EXPECT_EQ(node().fdb.size(), 9U);
  EXPECT_NE(network->applied(), nullptr);
}

TEST_F(PodNetworkTest, AnotherMtuAndAnotherAddressAreFollowed) {
  const auto network = start();
  const auto first = network->add("a", kPod);
  ASSERT_TRUE(network->set_remotes(nodes(1)));
  node().links.front().mtu = 1200;
  node().addresses.front().address = *Cidr::parse("192.0.2.60/24");
  ASSERT_TRUE(network->set_node_ip(*Ip::parse("192.0.2.60")));
  for (const char* link : {"cora0", "cora.vx"}) EXPECT_EQ(node().find_link(link)->mtu, 1150U);
  EXPECT_EQ(node().find_link("cora.vx")->vxlan->local, *Ip::parse("192.0.2.60"));
  EXPECT_EQ(network->add("a", kPod)->ip, first->ip);
}

TEST_F(PodNetworkTest, TheOverlayComesBackWithItsUnderlay) {
  const auto network = start();
  ASSERT_TRUE(network->set_remotes(nodes(2)));
  const auto before = node();
  test::FakeKernel kernel(world_, 0);
  ASSERT_TRUE(kernel.apply(RemoveLink{"cora.vx"}));  // the kernel does so along with its device
  ASSERT_TRUE(kernel.apply(RemoveLink{"eth0"}));
  ASSERT_TRUE(network->ensure());
  EXPECT_EQ(node().find_link("cora.vx"), nullptr);
  EXPECT_EQ(node().find_link("cora0")->mtu, 1350U);
  node().links.insert(node().links.begin(), before.links.front());
  node().addresses.insert(node().addresses.begin(), before.addresses.front());
  ASSERT_TRUE(network->ensure());
  EXPECT_EQ(node().fdb, before.fdb);
  EXPECT_EQ(node().neighbors, before.neighbors);
}

TEST_F(PodNetworkTest, CleanupPutsEverythingBack) {
  const auto before = world_->namespaces[0];
  {
    const auto network = start();
    ASSERT_TRUE(network->add("a", kPod));
    ASSERT_TRUE(network->set_remotes(nodes(3)));
    EXPECT_EQ(world_->namespaces[0].sysctls.at("net/ipv4/ip_forward"), "1");
  }
  test::FakeKernel kernel(world_, 0);
  std::vector<std::unique_ptr<Firewall>> firewalls;
  firewalls.push_back(std::make_unique<test::FakeFirewall>(restored_));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(PodNetwork::cleanup(dir_, kernel, firewalls));
  EXPECT_EQ(world_->namespaces[0].state, before.state);
  EXPECT_EQ(world_->namespaces[0].sysctls, before.sysctls);
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

}  // namespace
}  // namespace coracle
