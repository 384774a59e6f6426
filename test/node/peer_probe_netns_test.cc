// Nodes that test the way to each other through a real VXLAN, and what breaks on it. Needs root.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "node/masquerade.h"
#include "node/netlink/linux_kernel.h"
#include "node/peer_probe.h"
#include "node/pod_network.h"
#include "support/eventually.h"
#include "support/packets.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using Verdicts = std::map<std::string, std::optional<PeerVerdict>>;

constexpr RoundTimes kFast{
    .interval = 200ms, .settle = 20ms, .gap = 40ms, .attempts = 3, .patience = 250ms};

// What a probe has told, from its thread.
class Told {
 public:
  void report(const std::vector<PeerResult>& results) {
    const MutexLock lock(mutex_);
    verdicts_.clear();
    for (const PeerResult& result : results) verdicts_[result.name] = result.verdict;
    ++reports_;
  }
  void hear(const std::string& url) {
    const MutexLock lock(mutex_);
    heard_.push_back(url);
  }
  Verdicts verdicts() {
    const MutexLock lock(mutex_);
    return verdicts_;
  }
  std::vector<std::string> heard() {
    const MutexLock lock(mutex_);
    return heard_;
  }
  int reports() {
    const MutexLock lock(mutex_);
    return reports_;
  }

 private:
  Mutex mutex_;
  Verdicts verdicts_ CORACLE_GUARDED_BY(mutex_);
  std::vector<std::string> heard_ CORACLE_GUARDED_BY(mutex_);
  int reports_ CORACLE_GUARDED_BY(mutex_) = 0;
};

class PeerProbeTest : public testing::TestWithParam<OverlayBackend> {
 protected:
  struct NodeUnderTest {
    explicit NodeUnderTest(int n)
        : name("n" + std::to_string(n)),
          ip("192.0.2." + std::to_string(n)),
          cidr(*Cidr::parse("10.42." + std::to_string(n) + ".0/24")) {}
    std::string name, ip;
    Cidr cidr;
    std::unique_ptr<PodNetwork> network;
    std::optional<std::string> announces;
    Told told;
    std::unique_ptr<PeerProbe> probe;
  };

  void SetUp() override {
    for (const char* name : kNamespaces) {
      auto ns = NetNs::create(dir_, name);
      ASSERT_TRUE(ns) << ns.error().message;
      ns_.emplace(name, std::move(*ns));
    }
    in("lan", [&]() -> Result<void> {
      auto kernel = TRY(LinuxKernel::open());
      TRY(kernel->apply(AddLink{
          {.name = "lan0", .kind = "bridge", .master = "", .mac = {}, .mtu = 1500, .up = true}}));
      for (const auto& node : nodes_) {
        Cable cable;
        cable.host = lan_link(*node, 1500, true);
        cable.host.master = "lan0";
        cable.peer = {"eth0", fd(node->name), {}, 1500};
        cable.addresses = {{"eth0", *Cidr::parse(node->ip + "/24")}};
        TRY(ensure_cable(*kernel, cable));
      }
      return {};
    });
    for (const auto& node : nodes_) connect(*node);
  }
  void TearDown() override {
    for (const auto& node : nodes_) {
      node->probe.reset();
      node->network.reset();
    }
    ns_.clear();
    for (const char* name : kNamespaces) EXPECT_TRUE(NetNs::remove(dir_, name));
    std::filesystem::remove_all(dir_);
  }

  int fd(const std::string& name) { return ns_.at(name).fd(); }
  void in(const std::string& name, const std::function<Result<void>()>& f) {
    const auto done = run_in_netns(fd(name), f);
    ASSERT_TRUE(done) << done.error().message;
  }
  static Link lan_link(const NodeUnderTest& node, std::uint32_t mtu, bool up) {
    return {
        .name = "to-" + node.name, .kind = "veth", .master = "", .mac = {}, .mtu = mtu, .up = up};
  }
  void change_cable(const NodeUnderTest& node, std::uint32_t mtu, bool up) {
    in("lan", [&]() -> Result<void> {
      return TRY(LinuxKernel::open())->apply(ChangeLink{lan_link(node, mtu, up)});
    });
  }
  void connect(NodeUnderTest& node) {
    in(node.name, [&]() -> Result<void> {
      // As strict as a hardened machine is.
      auto kernel = TRY(LinuxKernel::open());
      for (const char* which : {"all", "default", "eth0"})
        TRY(kernel->write_sysctl(std::string("net/ipv4/conf/") + which + "/rp_filter", "1"));
      node.network = TRY(PodNetwork::create(
          {dir_ + "/data-" + node.name, node.cidr, kCluster, *Ip::parse(node.ip), GetParam()}));
      std::vector<RemoteNode> remotes;
      for (const auto& other : nodes_)
        if (other.get() != &node) remotes.push_back({other->cidr, *Ip::parse(other->ip)});
      return node.network->set_remotes(remotes);
    });
  }
  std::vector<ProbePeer> peers_of(const NodeUnderTest& node) {
    std::vector<ProbePeer> peers;
    for (const auto& other : nodes_)
      if (other.get() != &node)
        peers.push_back({other->name, bridge_address(other->cidr).ip, true});
    return peers;
  }
  // `unknown`: nobody has told it of the other nodes.
  void start_probe(NodeUnderTest& node, bool unknown = false, RoundTimes times = kFast) {
    node.probe = std::make_unique<PeerProbe>(
        PeerProbeOptions{.node_name = node.name,
                         .cluster_cidr = kCluster,
                         .times = times,
                         .report = [&node](const auto& results) { node.told.report(results); },
                         .announce = [&node] { return node.announces; },
                         .heard = [&node](const std::string& url) { node.told.hear(url); }});
    in(node.name, [&]() -> Result<void> {
      node.probe->follow(bridge_address(node.cidr).ip,
                         unknown ? std::nullopt : std::optional(peers_of(node)));
      return {};
    });
  }
  void start_all() {
    for (const auto& node : nodes_) start_probe(*node);
    expect_all_ok();
  }
  static bool sees(NodeUnderTest& node, const std::string& peer, PeerVerdict verdict) {
    return eventually([&] { return node.told.verdicts()[peer] == verdict; });
  }
  void expect_all_ok() {
    for (const auto& node : nodes_)
      for (const auto& other : nodes_)
        if (node != other) {
          EXPECT_TRUE(sees(*node, other->name, PeerVerdict::Ok)) << node->name << other->name;
        }
  }
  // One cable's ends see it as all others do; the rest is well.
  void expect_broken_at_three(PeerVerdict verdict) {
    EXPECT_TRUE(sees(*nodes_[0], "n3", verdict));
    EXPECT_TRUE(sees(*nodes_[1], "n3", verdict));
    EXPECT_TRUE(sees(*nodes_[2], "n1", verdict));
    EXPECT_TRUE(sees(*nodes_[2], "n2", verdict));
    EXPECT_EQ(nodes_[0]->told.verdicts()["n2"], PeerVerdict::Ok);
    EXPECT_EQ(nodes_[1]->told.verdicts()["n1"], PeerVerdict::Ok);
  }
  static void rules(const std::string& text) {
    const auto done = (*open_firewall())->restore(text);
    EXPECT_TRUE(done) << done.error().message;
  }

  static constexpr const char* kNamespaces[] = {"lan", "n1", "n2", "n3"};
  const Cidr kCluster = *Cidr::parse("10.42.0.0/16");
  std::string dir_ = "/run/coracle-test-probe-" + std::to_string(getpid());
  std::map<std::string, NetNs> ns_;
  std::vector<std::unique_ptr<NodeUnderTest>> nodes_ = [] {
    std::vector<std::unique_ptr<NodeUnderTest>> out;
    for (int i = 1; i <= 3; ++i) out.push_back(std::make_unique<NodeUnderTest>(i));
    return out;
  }();
};

TEST_P(PeerProbeTest, ACableThatIsCutMakesAPeerUnreachableUntilItIsBack) {
  start_all();
  change_cable(*nodes_[2], 1500, false);
  expect_broken_at_three(PeerVerdict::Unreachable);
  change_cable(*nodes_[2], 1500, true);
  expect_all_ok();
}

TEST_P(PeerProbeTest, AnUnderlayThatTakesSmallerPacketsThanAllBelieveIsFound) {
  start_all();
  change_cable(*nodes_[2], 1300, true);
  expect_broken_at_three(PeerVerdict::MtuTooSmall);
  change_cable(*nodes_[2], 1500, true);
  expect_all_ok();
}

TEST_P(PeerProbeTest, PacketsWithChecksumsThatGetLostAreFound) {
  start_all();
  // As where the card spoils what it should have computed: bytes 26 and 27, behind an IPv4 header.
  const std::string in_link = GetParam() == OverlayBackend::Vxlan ? "cora.vx" : "eth0";
  const std::string rule = "PREROUTING -i " + in_link + " -s 10.42.0.0/16 -p udp -m u32 --u32 \"" +
                           "24&0xFFFF=0x1:0xFFFF\" -j DROP\nCOMMIT\n";
  in("n3", [&]() -> Result<void> {
    rules("*raw\n-A " + rule);
    return {};
  });
  expect_broken_at_three(PeerVerdict::ChecksumOffloadBroken);
  in("n3", [&]() -> Result<void> {
    rules("*raw\n-D " + rule);
    return {};
  });
  expect_all_ok();
}

TEST_P(PeerProbeTest, ANodeWhoseFirewallDropsByDefaultIsReached) {
  for (const auto& node : nodes_) {
    in(node->name, [&]() -> Result<void> {
      rules("*filter\n:INPUT DROP [0:0]\n-A INPUT -p udp --dport 8472 -j ACCEPT\nCOMMIT\n");
      return {};
    });
  }
  start_all();
}

TEST_P(PeerProbeTest, WhatDoesNotChangeIsToldOnce) {
  start_all();
  std::vector<int> before;
  for (const auto& node : nodes_) before.push_back(node->told.reports());
  change_cable(*nodes_[2], 1500, false);
  ASSERT_TRUE(sees(*nodes_[0], "n3", PeerVerdict::Unreachable));
  EXPECT_EQ(nodes_[0]->told.reports(), before[0] + 1);
}

TEST_P(PeerProbeTest, AServersNodeIsHeardFromAnAddressThatNobodyKnows) {
  nodes_[0]->announces = "https://192.0.2.1:6443";
  start_all();
  const std::string old_url = *nodes_[0]->announces;
  for (int i : {1, 2})
    EXPECT_TRUE(eventually([&] { return !nodes_[i]->told.heard().empty(); })) << i;
  nodes_[0]->probe.reset();  // its options are read by its thread
  in("n1", [&]() -> Result<void> {
    auto kernel = TRY(LinuxKernel::open());
    TRY(kernel->apply(RemoveAddress{{"eth0", *Cidr::parse("192.0.2.1/24")}}));
    TRY(kernel->apply(AddAddress{{"eth0", *Cidr::parse("192.0.2.101/24")}}));
    return nodes_[0]->network->set_node_ip(*Ip::parse("192.0.2.101"));
  });
  nodes_[0]->announces = "https://192.0.2.101:6443";
  start_probe(*nodes_[0]);
  for (int i : {1, 2}) {
    EXPECT_TRUE(eventually([&] {
      const auto heard = nodes_[i]->told.heard();
      return heard.back() == "https://192.0.2.101:6443";
    })) << i;
    for (const std::string& url : nodes_[i]->told.heard())
      EXPECT_TRUE(url == old_url || url == "https://192.0.2.101:6443") << url;
  }
  EXPECT_TRUE(nodes_[0]->told.heard().empty());
  if (GetParam() != OverlayBackend::Vxlan) return;
  // Nothing comes back before the others know where it is.
  EXPECT_TRUE(sees(*nodes_[0], "n2", PeerVerdict::Unreachable));
}

TEST_P(PeerProbeTest, AServersNodeIsHeardBeforeTheApiHasToldOfIt) {
  nodes_[0]->announces = "https://[fd00::7]:6443";
  start_probe(*nodes_[1], true);
  start_probe(*nodes_[0]);
  EXPECT_TRUE(eventually([&] { return !nodes_[1]->told.heard().empty(); }));
  EXPECT_EQ(nodes_[1]->told.heard()[0], "https://[fd00::7]:6443");
  EXPECT_TRUE(sees(*nodes_[0], "n2", PeerVerdict::Ok));
  EXPECT_EQ(nodes_[1]->told.reports(), 0);
}

TEST_P(PeerProbeTest, ARoundAtOnceDoesNotWaitForTheNextOne) {
  start_all();
  change_cable(*nodes_[2], 1500, false);
  ASSERT_TRUE(sees(*nodes_[2], "n1", PeerVerdict::Unreachable));
  nodes_[0]->probe.reset();
  nodes_[0]->probe = std::make_unique<PeerProbe>(PeerProbeOptions{
      .node_name = "n1",
      .cluster_cidr = kCluster,
      .times = {.interval = 1h, .settle = 1h, .gap = 40ms, .attempts = 3, .patience = 0ms},
      .report = [&](const auto& results) { nodes_[0]->told.report(results); }});
  in("n1", [&]() -> Result<void> {
    nodes_[0]->probe->follow(bridge_address(nodes_[0]->cidr).ip, peers_of(*nodes_[0]));
    return {};
  });
  nodes_[0]->probe->probe_now();
  EXPECT_TRUE(sees(*nodes_[0], "n3", PeerVerdict::Unreachable));
  change_cable(*nodes_[2], 1500, true);
  ASSERT_TRUE(sees(*nodes_[2], "n2", PeerVerdict::Ok));
  nodes_[0]->probe->probe_now();
  EXPECT_TRUE(sees(*nodes_[0], "n3", PeerVerdict::Ok));
}

// A node's packets by hand.
class HandMade {
 public:
  HandMade(int netns, const std::string& ip) {
    EXPECT_TRUE(run_in_netns(netns, [&]() -> Result<void> {
      socket_.emplace(TRY(ProbeSocket::open({*Ip::parse(ip), kProbePort})));
      return {};
    }));
  }
  void send(const std::string& to, std::size_t size, std::uint64_t id,
            ProbePacket::Type type = ProbePacket::Type::Request) {
    const ProbePacket packet{.type = type, .kind = ProbeKind::Small, .id = id, .node = "n2"};
    socket_->send({*Ip::parse(to), kProbePort}, ProbeKind::Small, encode_probe(packet, size));
  }
  // The answer's size, 0 when none comes.
  std::size_t answer(std::uint64_t id, int patience = test::kPatience) {
    pollfd waiting{socket_->fd(), POLLIN, 0};
    while (poll(&waiting, 1, patience) == 1) {
      const auto received = socket_->receive();
      const auto packet = received ? decode_probe(received->bytes) : std::nullopt;
      if (packet && packet->type == ProbePacket::Type::Answer && packet->id == id)
        return received->bytes.size();
    }
    return 0;
  }

 private:
  std::optional<ProbeSocket> socket_;
};

TEST_P(PeerProbeTest, AnswersOnlyPeersAndNeverMoreThanWasAsked) {
  start_probe(*nodes_[0]);
  ASSERT_TRUE(eventually([&] { return nodes_[0]->told.reports() > 0; }));
  HandMade peer(fd("n2"), "10.42.2.1");
  for (const std::size_t size : {kSmallProbe, std::size_t{1000}}) {
    peer.send("10.42.1.1", size, size);
    EXPECT_EQ(peer.answer(size), size);
  }
  HandMade node(fd("n2"), "192.0.2.2");
  HandMade stranger(fd("n2"), GetParam() == OverlayBackend::Vxlan ? "10.42.2.0" : "127.0.0.1");
  node.send("10.42.1.1", kSmallProbe, 7);
  stranger.send("10.42.1.1", kSmallProbe, 8);
  peer.send("10.42.1.1", kSmallProbe, 9, ProbePacket::Type::Answer);
  peer.send("10.42.1.1", kSmallProbe, 10);
  EXPECT_EQ(peer.answer(10), kSmallProbe);  // what came before has been seen
  EXPECT_EQ(peer.answer(9, 1), 0U);
  EXPECT_EQ(node.answer(7, 1), 0U);
  EXPECT_EQ(stranger.answer(8, 1), 0U);
}

TEST_P(PeerProbeTest, AFloodIsNotAnsweredToTheLast) {
  start_probe(*nodes_[0], false, RoundTimes{.settle = 1ms, .gap = 1ms});
  ASSERT_TRUE(eventually([&] { return nodes_[0]->told.reports() > 0; }));
  HandMade peer(fd("n2"), "10.42.2.1");
  for (int i = 0; i < 500; ++i) peer.send("10.42.1.1", kSmallProbe, 1);
  int answers = 0;
  while (answers < 500 && peer.answer(1, 200) != 0) ++answers;
  EXPECT_GE(answers, 36);  // four rounds at once
  EXPECT_LE(answers, 150);
}

TEST_P(PeerProbeTest, WithoutPeersThereIsNoSocket) {
  start_all();
  in("n1", [&]() -> Result<void> {
    nodes_[0]->probe->follow(bridge_address(nodes_[0]->cidr).ip, std::vector<ProbePeer>{});
    return {};
  });
  EXPECT_TRUE(eventually([&] { return nodes_[0]->told.verdicts().empty(); }));
  // The address is free again.
  in("n1", [&]() -> Result<void> {
    TRY(ProbeSocket::open({bridge_address(nodes_[0]->cidr).ip, kProbePort}));
    return {};
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, PeerProbeTest,
                         ::testing::Values(OverlayBackend::Vxlan, OverlayBackend::HostGateway),
                         [](const auto& parameter) {
                           return parameter.param == OverlayBackend::Vxlan ? "vxlan" : "host_gw";
                         });

}  // namespace
}  // namespace coracle
