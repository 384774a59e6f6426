// The Pod network between nodes on the real kernel: nodes on a segment of their own, each with a
// Pod, and real packets between them. Needs root.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "node/desired_state.h"
#include "node/netlink/linux_kernel.h"
#include "node/netns.h"
#include "node/pod_network.h"
#include "node/pod_network_watch.h"
#include "support/packets.h"

namespace coracle {
namespace {

using test::datagram_seen;
using test::peer_seen;

constexpr std::size_t kHeaders = 28;  // IPv4, UDP

class OverlayTest : public testing::TestWithParam<OverlayBackend> {
 protected:
  struct NodeUnderTest {
    std::string name, pod, cidr, ip;
    std::unique_ptr<PodNetwork> network;
    std::string pod_ip;
    std::uint32_t mtu = 0;
  };
  void SetUp() override {
    for (const char* name : {"lan", "n1", "n2", "p1", "p2"}) {
      auto ns = NetNs::create(dir_, name);
      ASSERT_TRUE(ns) << ns.error().message;
      ns_.emplace(name, std::move(*ns));
    }
    in("lan", [&]() -> Result<void> {
      auto kernel = TRY(LinuxKernel::open());
      TRY(kernel->apply(AddLink{
          {.name = "lan0", .kind = "bridge", .master = "", .mac = {}, .mtu = 1500, .up = true}}));
      for (const NodeUnderTest* node : {&one_, &two_}) {
        Cable cable;
        cable.host = {.name = "to-" + node->name,
                      .kind = "veth",
                      .master = "lan0",
                      .mac = {},
                      .mtu = 1500,
                      .up = true};
        cable.peer = {"eth0", fd(node->name), {}, 1500};
        cable.addresses = {{"eth0", *Cidr::parse(node->ip + "/24")}};
        TRY(ensure_cable(*kernel, cable));
      }
      return {};
    });
    for (NodeUnderTest* node : {&one_, &two_}) start(*node);
    know_each_other();
  }
  void TearDown() override {
    one_.network.reset();
    two_.network.reset();
    ns_.clear();
    for (const char* name : {"lan", "n1", "n2", "p1", "p2"}) EXPECT_TRUE(NetNs::remove(dir_, name));
    std::filesystem::remove_all(dir_);
  }
  int fd(const std::string& name) { return ns_.at(name).fd(); }
  void in(const std::string& name, const std::function<Result<void>()>& f) {
    const auto done = run_in_netns(fd(name), f);
    ASSERT_TRUE(done) << done.error().message;
  }
  std::string data_of(const NodeUnderTest& node) { return dir_ + "/data-" + node.name; }
  void start(NodeUnderTest& node) {
    in(node.name, [&]() -> Result<void> {
      // As strict as a hardened machine is.
      auto kernel = TRY(LinuxKernel::open());
      for (const char* which : {"all", "default", "eth0"})
        TRY(kernel->write_sysctl(std::string("net/ipv4/conf/") + which + "/rp_filter", "1"));
      node.network =
          TRY(PodNetwork::create({data_of(node), *Cidr::parse(node.cidr),
                                  *Cidr::parse("10.42.0.0/16"), *Ip::parse(node.ip), GetParam()}));
      const auto pod = TRY(node.network->add("uid-" + node.pod, fd(node.pod)));
      node.pod_ip = pod.ip.to_string();
      node.mtu = pod.mtu;
      return {};
    });
  }
  static RemoteNode as_remote(const NodeUnderTest& node) {
    return {*Cidr::parse(node.cidr), *Ip::parse(node.ip)};
  }
  void know_each_other() {
    in("n1", [&] { return one_.network->set_remotes({as_remote(two_)}); });
    in("n2", [&] { return two_.network->set_remotes({as_remote(one_)}); });
  }
  void expect_everything_works() {
    EXPECT_EQ(peer_seen(fd("p1"), fd("p2"), two_.pod_ip), one_.pod_ip);
    EXPECT_EQ(peer_seen(fd("p2"), fd("p1"), one_.pod_ip), two_.pod_ip);
    for (const std::size_t size : {std::size_t{1}, two_.mtu - kHeaders})
      EXPECT_EQ(datagram_seen(fd("p1"), fd("p2"), two_.pod_ip, size), one_.pod_ip);
    EXPECT_EQ(datagram_seen(fd("p1"), fd("p2"), two_.pod_ip, two_.mtu - kHeaders + 1, 200), "");
  }

  std::string dir_ = "/run/coracle-test-overlay-" + std::to_string(getpid());
  std::map<std::string, NetNs> ns_;
  NodeUnderTest one_{"n1", "p1", "10.42.1.0/24", "192.0.2.1", nullptr, "", 0};
  NodeUnderTest two_{"n2", "p2", "10.42.2.0/24", "192.0.2.2", nullptr, "", 0};
};

TEST_P(OverlayTest, PodsOfTwoNodesSeeEachOtherUnchangedUpToTheMtu) {
  EXPECT_EQ(one_.mtu, GetParam() == OverlayBackend::HostGateway ? 1500U : 1450U);
  expect_everything_works();
}

TEST_P(OverlayTest, NodesAndRemotePodsReachEachOther) {
  const bool vxlan = GetParam() == OverlayBackend::Vxlan;
  EXPECT_EQ(peer_seen(fd("n1"), fd("p2"), two_.pod_ip), vxlan ? "10.42.1.0" : one_.ip);
  EXPECT_EQ(datagram_seen(fd("n1"), fd("p2"), two_.pod_ip, two_.mtu - kHeaders),
            vxlan ? "10.42.1.0" : one_.ip);
  // Outside the Pod network a Pod is its node.
  EXPECT_EQ(peer_seen(fd("p1"), fd("n2"), two_.ip), one_.ip);
  EXPECT_EQ(peer_seen(fd("p1"), fd("n2"), "10.42.2.1"), one_.pod_ip);
}

TEST_P(OverlayTest, ANodePortOfOneNodeLeadsToAPodOfAnotherAndItsSegmentsFit) {
  in("n1", [&]() -> Result<void> {
    return TRY(open_firewall())
        ->restore("*nat\n-A PREROUTING -p tcp -d " + one_.ip +
                  " --dport 8080 -j DNAT --to-destination " + two_.pod_ip +
                  "\n-I POSTROUTING 1 -d " + two_.pod_ip + " -j MASQUERADE\nCOMMIT\n");
  });
  in("lan", [&]() -> Result<void> {
    return TRY(LinuxKernel::open())->apply(AddAddress{{"lan0", *Cidr::parse("192.0.2.254/24")}});
  });
  EXPECT_EQ(peer_seen(fd("lan"), fd("p2"), one_.ip),
            GetParam() == OverlayBackend::Vxlan ? "10.42.1.0" : one_.ip);
}

TEST_P(OverlayTest, ARestartWithoutTheServerKeepsTheOverlay) {
  one_.network.reset();
  start(one_);  // nobody has told it of the other node
  expect_everything_works();
}

TEST_P(OverlayTest, APeerThatMovesIsFollowedAndPodsKeepTheirAddresses) {
  const std::string pod = one_.pod_ip;
  in("n1", [&]() -> Result<void> {
    auto kernel = TRY(LinuxKernel::open());
    // The other way round the kernel would take both: a secondary address goes with its primary.
    TRY(kernel->apply(RemoveAddress{{"eth0", *Cidr::parse("192.0.2.1/24")}}));
    TRY(kernel->apply(AddAddress{{"eth0", *Cidr::parse("192.0.2.101/24")}}));
    one_.ip = "192.0.2.101";
    return one_.network->set_node_ip(*Ip::parse(one_.ip));
  });
  know_each_other();
  EXPECT_EQ(one_.pod_ip, pod);
  expect_everything_works();
}

TEST_P(OverlayTest, TheUnderlaysMtuIsFollowedIntoThePods) {
  for (const char* name : {"n1", "n2"}) {
    in(name, [&]() -> Result<void> {
      Link link;
      link.name = "eth0";
      link.mtu = 1300;
      link.up = true;
      return TRY(LinuxKernel::open())->apply(ChangeLink{link});
    });
  }
  in("n1", [&] { return one_.network->ensure(); });
  in("n2", [&] { return two_.network->ensure(); });
  for (NodeUnderTest* node : {&one_, &two_})
    node->mtu = GetParam() == OverlayBackend::HostGateway ? 1300 : 1250;
  expect_everything_works();
}

TEST_P(OverlayTest, WhatOthersRemoveIsSeenAndPutBackButOurOwnChangesAreNoNews) {
  in("n1", [&]() -> Result<void> {
    const auto kernel = TRY(LinuxKernel::open());
    const auto watch = TRY(PodNetworkWatch::open(IptablesVariant::Nft));
    (void)watch->take();
    watch->ensured({});
    watch->expect(one_.network->applied());
    const RemoteNode third{*Cidr::parse("10.42.3.0/24"), *Ip::parse("192.0.2.3")};
    TRY(one_.network->set_remotes({as_remote(two_), third}));
    watch->expect(one_.network->applied());
    EXPECT_FALSE(watch->take().links);
    const auto applied = one_.network->applied();
    std::vector<Operation> damage;
    for (const Route& r : applied->routes) damage.emplace_back(RemoveRoute{r});
    for (const Neighbor& n : applied->neighbors) damage.emplace_back(RemoveNeighbor{n});
    for (const FdbEntry& e : applied->fdb) damage.emplace_back(RemoveFdb{e});
    EXPECT_FALSE(damage.empty());
    for (const Operation& operation : damage) {
      TRY(kernel->apply(operation));
      EXPECT_TRUE(watch->take().links) << to_string(operation);
      TRY(one_.network->ensure());
      watch->expect(one_.network->applied());
      EXPECT_FALSE(watch->take().links) << to_string(operation);
    }
    return {};
  });
  expect_everything_works();
}

TEST_P(OverlayTest, CleanupLeavesNothingOfIt) {
  one_.network.reset();
  in("n1", [&] { return PodNetwork::cleanup(data_of(one_)); });
  in("n1", [&]() -> Result<void> {
    const KernelState state = TRY(TRY(LinuxKernel::open())->dump());
    for (const Link& link : state.links) EXPECT_FALSE(link.name.starts_with("cora")) << link.name;
    for (const Route& route : state.routes) EXPECT_NE(route.protocol, kRouteProtocol);
    EXPECT_TRUE(state.fdb.empty());
    for (const char* table : {"nat", "filter", "mangle"})
      EXPECT_EQ(TRY(TRY(open_firewall())->save(table)).find("CORACLE"), std::string::npos);
    return {};
  });
  EXPECT_TRUE(std::filesystem::is_empty(data_of(one_)));
}

INSTANTIATE_TEST_SUITE_P(Backends, OverlayTest,
                         ::testing::Values(OverlayBackend::Vxlan, OverlayBackend::HostGateway,
                                           OverlayBackend::Auto),
                         [](const auto& parameter) {
                           switch (parameter.param) {
                             case OverlayBackend::Vxlan:
                               return "vxlan";
                             case OverlayBackend::HostGateway:
                               return "host_gw";
                             case OverlayBackend::Auto:
                               return "auto";
                           }
                           return "";
                         });

}  // namespace
}  // namespace coracle
