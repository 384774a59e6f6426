// Others remove and change what the Pod network consists of: noticed and repaired on the real
// kernel, with both variants of iptables. Needs root.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "node/desired_state.h"
#include "node/netlink/linux_kernel.h"
#include "node/netns.h"
#include "node/pod_network_watch.h"
#include "node/sync_loop.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;

class PodNetworkWatchTest : public testing::TestWithParam<IptablesVariant> {
 protected:
  void SetUp() override {
    for (const char* name : {"node", "a"}) {
      auto ns = NetNs::create(dir_, name);
      ASSERT_TRUE(ns) << ns.error().message;
      ns_.emplace(name, std::move(*ns));
    }
    in_node([&]() -> Result<void> {
      tool_ = std::make_unique<IptablesTool>(TRY(IptablesTool::open(GetParam())));
      kernel_ = TRY(LinuxKernel::open());
      Link lo;
      lo.name = "lo";
      lo.up = true;
      TRY(kernel_->apply(ChangeLink{lo}));
      watch_ = TRY(PodNetworkWatch::open(GetParam()));
      network_ = TRY(PodNetwork::create(
          {dir_ + "/data", *Cidr::parse("10.42.0.0/24"), *Cidr::parse("10.42.0.0/16"),
           *Ip::parse("198.51.100.1"), OverlayBackend::Vxlan, *Ip::parse("10.96.0.10")},
          TRY(LinuxKernel::open()), make_firewall(*tool_)));
      watch_->ensured({});
      TRY(network_->add("uid-a", ns_.at("a").fd()));
      // As the agent does it.
      loop_ = std::make_unique<SyncLoop>(
          "test", system_clock(), SyncLoopOptions{}, [this](bool) { return repair(); },
          [this] {
            if (watch_->look()) loop_->mark_dirty();
            return false;
          },
          [this] { return watch_->fd(); });
      loop_->start();
      loop_->mark_dirty();
      return {};
    });
    ASSERT_TRUE(loop_->wait_clean(std::chrono::steady_clock::now() + 60s));
    good_ = picture();
  }
  void TearDown() override {
    loop_.reset();
    network_.reset();
    watch_.reset();
    kernel_.reset();
    ns_.clear();
    for (const char* name : {"node", "a"}) EXPECT_TRUE(NetNs::remove(dir_, name));
    std::filesystem::remove_all(dir_);
  }

  Result<void> repair() {
    ++runs_;
    const PodNetworkParts parts = watch_->take();
    TRY(network_->ensure(parts));
    watch_->ensured(parts);
    return {};
  }
  void in_node(const std::function<Result<void>()>& f) {
    const auto done = run_in_netns(ns_.at("node").fd(), f);
    ASSERT_TRUE(done) << done.error().message;
  }
  // All that matters, as text; a new veth pair has another MAC at its host end.
  std::string picture() {
    std::string text;
    in_node([&]() -> Result<void> {
      const KernelState state = TRY(kernel_->dump());
      for (const Link& l : state.links)
        text += l.name + " " + l.kind + " " + l.master + (l.up ? " up" : "") +
                (l.hairpin ? " hairpin" : "") + " " + std::to_string(l.mtu) + "\n";
      for (const Address& a : state.addresses) {
        if (!a.address.ip.is_link_local()) text += to_string(AddAddress{a}) + "\n";
      }
      for (const Route& r : state.routes) text += to_string(AddRoute{r}) + "\n";
      for (const char* table : {"raw", "nat", "filter"}) {
        const std::string saved = TRY(tool_->save(table));
        for (std::size_t at = 0; at < saved.size(); at = saved.find('\n', at) + 1) {
          const std::string line = saved.substr(at, saved.find('\n', at) - at);
          if (line.starts_with("-A")) text += line + "\n";
        }
      }
      text += TRY(kernel_->read_sysctl("net/ipv4/ip_forward")) + "\n";
      const auto cable = network_->check("uid-a", ns_.at("a").fd());
      text += cable ? "cable\n" : cable.error().message + "\n";
      return {};
    });
    return text;
  }
  // Whether all is as it was, before a deadline for slow machines; prints the time.
  bool repaired(const char* what) {
    const auto began = std::chrono::steady_clock::now();
    for (;;) {
      const bool same = picture() == good_;
      const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::steady_clock::now() - began);
      if (same) std::printf("%s: repaired in %d ms\n", what, static_cast<int>(took.count()));
      if (same || took > 60s) return same;
    }
  }

  const std::string dir_ = "/run/coracle-test-watch-" + std::to_string(getpid());
  std::map<std::string, NetNs> ns_;
  std::unique_ptr<IptablesTool> tool_;
  std::unique_ptr<LinuxKernel> kernel_;
  std::unique_ptr<PodNetworkWatch> watch_;
  std::unique_ptr<PodNetwork> network_;
  std::atomic<int> runs_ = 0;
  std::unique_ptr<SyncLoop> loop_;
  std::string good_;
};

TEST_P(PodNetworkWatchTest, WhateverOthersDoToIt) {
  const auto apply = [this](const Operation& operation) {
    return [this, operation] { return kernel_->apply(operation); };
  };
  const auto rules = [this](const std::string& text) {
    return [this, text] { return tool_->restore(text); };
  };
  const std::string pod = pod_link_name("uid-a");
  Link down;
  down.name = kBridgeName;
  struct Case {
    const char* name;
    std::function<Result<void>()> damage;
  };
  const std::vector<Case> cases = {
      {"bridge deleted", apply(RemoveLink{kBridgeName})},
      {"bridge down", apply(ChangeLink{down})},
      {"bridge without its address",
       apply(RemoveAddress{{kBridgeName, *Cidr::parse("10.42.0.1/24")}})},
      {"bridge without the DNS's address",
       apply(RemoveAddress{{kBridgeName, *Cidr::parse("10.96.0.10/32")}})},
      {"route to the Pods deleted",
       apply(RemoveRoute{{*Cidr::parse("10.42.0.0/24"), kBridgeName, {}, 2}})},
      {"a Pod's link deleted", apply(RemoveLink{pod})},
      {"forwarding off", [this] { return kernel_->write_sysctl("net/ipv4/ip_forward", "0"); }},
      {"DNS tracked", rules("*raw\n-F CORACLE-PREROUTING\nCOMMIT\n")},
      {"DNS's jump deleted",
       rules("*raw\n-D OUTPUT -m comment --comment coracle -j CORACLE-OUTPUT\nCOMMIT\n")},
      {"DNS kept out", rules("*filter\n-F CORACLE-INPUT\nCOMMIT\n")},
      {"masquerading flushed", rules("*nat\n-F CORACLE-POSTROUTING\nCOMMIT\n")},
      {"a rule inserted", rules("*filter\n-I CORACLE-FORWARD 1 -j DROP\nCOMMIT\n")},
      {"a rule replaced by one as long",
       rules("*nat\n-R CORACLE-POSTROUTING 1 -s 10.42.0.0/24 -d 10.0.0.0/4 -j RETURN\nCOMMIT\n")},
      {"a jump deleted", rules("*filter\n-D FORWARD 1\nCOMMIT\n")},
      {"everything flushed", rules("*nat\n-F\nCOMMIT\n*filter\n-F\nCOMMIT\n")},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    in_node(c.damage);
    EXPECT_TRUE(repaired(c.name)) << picture() << "should be\n" << good_;
  }
}

TEST_P(PodNetworkWatchTest, WhatOthersDoElsewhereIsLeftAlone) {
  const int before = runs_;
  for (int i = 0; i < 10; ++i) {
    in_node([&]() -> Result<void> {
      TRY(tool_->restore("*nat\n:OTHERS - [0:0]\n-A OTHERS -j RETURN\nCOMMIT\n"));
      // Routes of other programs, as a routing daemon makes them by the thousand.
      return kernel_->apply(AddRoute{{*Cidr::parse("203.0.113.0/24"), "lo", {}, 186}});
    });
  }
  // What is seen last is seen after all that.
  in_node([&] { return kernel_->write_sysctl("net/ipv4/ip_forward", "0"); });
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  std::string forwarding;
  while (forwarding != "1" && std::chrono::steady_clock::now() < deadline) {
    in_node([&]() -> Result<void> {
      forwarding = TRY(kernel_->read_sysctl("net/ipv4/ip_forward"));
      return {};
    });
  }
  EXPECT_EQ(forwarding, "1");
  // The one that repaired, one for that repair's own event, and one for the set-up's.
  EXPECT_LE(runs_ - before, 3);
}

INSTANTIATE_TEST_SUITE_P(Variants, PodNetworkWatchTest,
                         ::testing::Values(IptablesVariant::Nft, IptablesVariant::Legacy),
                         [](const auto& parameter) {
                           return parameter.param == IptablesVariant::Nft ? "nft" : "legacy";
                         });

}  // namespace
}  // namespace coracle
