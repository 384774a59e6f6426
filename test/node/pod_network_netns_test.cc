// The Pod network on the real kernel: a node's, two Pods' and an outside namespace, with real
// packets.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "node/desired_state.h"
#include "node/netlink/linux_kernel.h"
#include "node/netns.h"
#include "node/pod_network.h"
#include "support/packets.h"

namespace coracle {
namespace {

using test::peer_seen;

class PodNetworkKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"node", "a", "b", "out"}) {
      auto ns = NetNs::create(dir_, name);
      ASSERT_TRUE(ns) << ns.error().message;
      ns_.emplace(name, std::move(*ns));
    }
    // The outside is one hop from the node and knows no way to the Pods.
    in_node([&]() -> Result<void> {
      auto kernel = TRY(LinuxKernel::open());
      Cable cable;
      cable.host = {
          .name = "up0", .kind = "veth", .master = "", .mac = {}, .mtu = 1400, .up = true};
      cable.peer = {"eth0", fd("out"), {}, 1400};
      cable.addresses = {{"eth0", *Cidr::parse("198.51.100.2/24")}};
      TRY(ensure_cable(*kernel, cable));
      TRY(kernel->apply(AddAddress{{"up0", *Cidr::parse("198.51.100.1/24")}}));
      Link lo;
      lo.name = "lo";
      lo.up = true;
      return kernel->apply(ChangeLink{lo});
    });
  }
  void TearDown() override {
    network_.reset();
    ns_.clear();
    for (const char* name : {"node", "a", "b", "out"}) EXPECT_TRUE(NetNs::remove(dir_, name));
    std::filesystem::remove_all(dir_);
  }
  int fd(const std::string& name) { return ns_.at(name).fd(); }
  void in_node(const std::function<Result<void>()>& f) {
    const auto done = run_in_netns(fd("node"), f);
    ASSERT_TRUE(done) << done.error().message;
  }
  void start() {
    in_node([&]() -> Result<void> {
      network_ =
          TRY(PodNetwork::create({dir_ + "/data", *Cidr::parse("10.42.0.0/24"),
                                  *Cidr::parse("10.42.0.0/16"), *Ip::parse("198.51.100.1")}));
      return {};
    });
  }
  void add_both() {
    in_node([&]() -> Result<void> {
      a_ = TRY(network_->add("uid-a", fd("a"))).ip.to_string();
      b_ = TRY(network_->add("uid-b", dir_ + "/b")).ip.to_string();
      return {};
    });
  }
  KernelState dump() {
    KernelState state;
    in_node([&]() -> Result<void> {
      state = TRY(TRY(LinuxKernel::open())->dump());
      return {};
    });
    return state;
  }
  // As text, so that a difference says what it is.
  static std::vector<std::string> texts(const KernelState& state) {
    std::vector<std::string> out;
    for (const Link& l : state.links)
      out.push_back(l.name + " " + l.kind + " " + l.master + " " +
                    (l.mac ? l.mac->to_string() : "") + " " + std::to_string(l.mtu) +
                    (l.up ? " up" : "") + (l.hairpin ? " hairpin" : ""));
    for (const Address& a : state.addresses) {
      // The kernel gives a bridge its own one when it first has a port.
      if (!a.address.ip.is_link_local()) out.push_back(to_string(AddAddress{a}));
    }
    for (const Route& r : state.routes) out.push_back(to_string(AddRoute{r}));
    for (const Neighbor& n : state.neighbors) out.push_back(to_string(AddNeighbor{n}));
    return out;
  }
  std::string rules() {
    std::string text;
    in_node([&]() -> Result<void> {
      const auto firewall = TRY(open_firewall());
      for (const char* table : {"nat", "filter"}) {
        const std::string saved = TRY(firewall->save(table));
        for (std::size_t at = 0; at < saved.size(); at = saved.find('\n', at) + 1) {
          const std::string line = saved.substr(at, saved.find('\n', at) - at);
          if (line.starts_with("-A") || (line.starts_with(":") && line.find(" - ") != line.npos))
            text += line + "\n";
        }
      }
      return {};
    });
    return text;
  }
  std::string sysctls() {
    std::string text;
    in_node([&]() -> Result<void> {
      auto kernel = TRY(LinuxKernel::open());
      for (const char* key : {"ip_forward", "conf/all/route_localnet", "conf/all/send_redirects",
                              "conf/all/accept_redirects"})
        text += TRY(kernel->read_sysctl(std::string("net/ipv4/") + key)) + " ";
      return {};
    });
    return text;
  }

  std::string dir_ = "/run/coracle-test-pods-" + std::to_string(getpid());
  std::map<std::string, NetNs> ns_;
  std::unique_ptr<PodNetwork> network_;
  std::string a_, b_;
};

TEST_F(PodNetworkKernelTest, PodsSeeEachOtherUnchanged) {
  start();
  add_both();
  EXPECT_EQ(peer_seen(fd("a"), fd("b"), b_), a_);
  EXPECT_EQ(peer_seen(fd("b"), fd("a"), a_), b_);
  EXPECT_EQ(peer_seen(fd("node"), fd("a"), a_), "10.42.0.1");
  EXPECT_EQ(peer_seen(fd("a"), fd("node"), "198.51.100.1"), a_);
}

TEST_F(PodNetworkKernelTest, OutsideSeesTheNode) {
  start();
  add_both();
  EXPECT_EQ(peer_seen(fd("a"), fd("out"), "198.51.100.2"), "198.51.100.1");
}

TEST_F(PodNetworkKernelTest, AServicesReplyOnTheSameBridgeIsTranslatedBackAndHairpinWorks) {
  start();
  add_both();
  for (const char* bridge_nf : {"0", "1"}) {
    SCOPED_TRACE(bridge_nf);
    in_node([&]() -> Result<void> {
      auto kernel = TRY(LinuxKernel::open());
      const auto set = kernel->write_sysctl("net/bridge/bridge-nf-call-iptables", bridge_nf);
      if (!set && !is_not_found(set.error())) return set;
      return TRY(open_firewall())
          ->restore(
              "*nat\n:SVC - [0:0]\n:SVCMASQ - [0:0]\n-A SVC -d 10.96.0.10/32 -p tcp -j DNAT "
              "--to-destination " +
              b_ + "\n-A SVCMASQ -s " + b_ + " -d " + b_ + " -j MASQUERADE\nCOMMIT\n" +
              (std::string(bridge_nf) == "0"
                   ? "*nat\n-A PREROUTING -j SVC\n-I POSTROUTING 1 -j SVCMASQ\nCOMMIT\n"
                   : ""));
    });
    EXPECT_EQ(peer_seen(fd("a"), fd("b"), "10.96.0.10"), a_);
    EXPECT_EQ(peer_seen(fd("b"), fd("b"), "10.96.0.10"), "10.42.0.1");
  }
}

TEST_F(PodNetworkKernelTest, AForwardPolicyOfDropLetsPodsThrough) {
  start();
  add_both();
  in_node([&]() -> Result<void> {
    return TRY(open_firewall())->restore("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n");
  });
  EXPECT_EQ(peer_seen(fd("a"), fd("b"), b_), a_);
  EXPECT_EQ(peer_seen(fd("a"), fd("out"), "198.51.100.2"), "198.51.100.1");
}

TEST_F(PodNetworkKernelTest, AddIsIdempotentAlsoAfterARestartAndTheDataPathStays) {
  start();
  add_both();
  const KernelState before = dump();
  const std::string rules_before = rules();
  const std::string a = a_;
  network_.reset();
  EXPECT_EQ(peer_seen(fd("a"), fd("b"), b_), a_);
  start();
  add_both();
  EXPECT_EQ(a_, a);
  EXPECT_EQ(texts(dump()), texts(before));
  EXPECT_EQ(rules(), rules_before);
  in_node([&] { return network_->check("uid-a", fd("a")); });
}

TEST_F(PodNetworkKernelTest, DelLeavesNothingOfThePod) {
  start();
  const KernelState before = dump();
  add_both();
  in_node([&]() -> Result<void> {
    TRY(network_->del("uid-a"));
    TRY(network_->del("uid-a"));
    EXPECT_FALSE(network_->check("uid-a", fd("a")));
    return network_->del("uid-b");
  });
  EXPECT_EQ(texts(dump()), texts(before));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_ + "/data/ipam"), {}), 1);
}

TEST_F(PodNetworkKernelTest, WhatACrashLeftIsCollected) {
  start();
  const KernelState before = dump();
  add_both();
  // Half an add: a record and a host end of Pods that nobody knows any more.
  in_node([&]() -> Result<void> {
    auto kernel = TRY(LinuxKernel::open());
    TRY(kernel->apply(AddLink{{.name = "coraffffffffff", .kind = "veth", .master = "cora0"},
                              VethPeer{"left", fd("out"), {}, 0}}));
    network_.reset();
    return {};
  });
  start();
  in_node([&] { return network_->gc({"uid-a"}); });
  EXPECT_EQ(dump().find_link("coraffffffffff"), nullptr);
  EXPECT_EQ(dump().find_link(pod_link_name("uid-b")), nullptr);
  in_node([&] { return network_->check("uid-a", fd("a")); });
  in_node([&] { return network_->gc({}); });
  EXPECT_EQ(texts(dump()), texts(before));
}

TEST_F(PodNetworkKernelTest, CleanupLeavesNoTrace) {
  in_node([&]() -> Result<void> {
    return TRY(open_firewall())
        ->restore(
            "*nat\n-A POSTROUTING -s 203.0.113.0/24 -j ACCEPT\nCOMMIT\n*filter\n-A FORWARD "
            "-s 203.0.113.0/24 -j DROP\nCOMMIT\n");
  });
  const KernelState before = dump();
  const std::string rules_before = rules();
  const std::string sysctls_before = sysctls();
  start();
  add_both();
  EXPECT_NE(sysctls(), sysctls_before);
  network_.reset();
  for (int i = 0; i < 2; ++i) in_node([&] { return PodNetwork::cleanup(dir_ + "/data"); });
  EXPECT_EQ(texts(dump()), texts(before));
  EXPECT_EQ(rules(), rules_before);
  EXPECT_EQ(sysctls(), sysctls_before);
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/data"));
}

}  // namespace
}  // namespace coracle
