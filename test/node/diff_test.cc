#include "node/diff.h"

#include <gtest/gtest.h>

#include "node/desired_state.h"

namespace coracle {
namespace {

NodeView view() {
  NodeView v;
  v.pod_cidr = *Cidr::parse("10.42.0.0/24");
  v.mtu = 1400;
  v.underlay = "eth0";
  v.pod_links = {pod_link_name("a")};
  v.remotes = {{*Cidr::parse("10.42.1.0/24"), *Ip::parse("192.0.2.7")}};
  v.backend = OverlayBackend::HostGateway;
  v.segments = {*Cidr::parse("192.0.2.6/24")};
  return v;
}

KernelState machine() {
  KernelState state;
  state.links.push_back({.name = "eth0", .kind = "", .master = "", .mtu = 1400, .up = true});
  state.addresses.push_back({"eth0", *Cidr::parse("192.0.2.6/24")});
  state.routes.push_back({*Cidr::parse("0.0.0.0/0"), "eth0", *Ip::parse("192.0.2.1"), 3});
  return state;
}

std::vector<std::string> texts(const std::vector<Operation>& operations) {
  std::vector<std::string> out;
  for (const Operation& o : operations) out.push_back(to_string(o));
  return out;
}

TEST(Desired, BridgeHasTheFirstAddressAndPodsHairpin) {
  const KernelState state = desired_state(view());
  EXPECT_EQ(state.addresses.at(0).address.to_string(), "10.42.0.1/24");
  EXPECT_EQ(state.links.at(0).mac->to_string(), "0a:58:0a:2a:00:01");
  EXPECT_TRUE(state.links.at(1).hairpin);
  EXPECT_EQ(state.links.at(1).master, "cora0");
  EXPECT_EQ(state.routes.at(0).protocol, kRouteProtocol);
}

TEST(Desired, BridgeHasTheAddressOfTheDnsToo) {
  NodeView v = view();
  v.cluster_dns = *Ip::parse("10.96.0.10");
  const KernelState state = desired_state(v);
  ASSERT_EQ(state.addresses.size(), 2U);
  EXPECT_EQ(state.addresses[1].link, "cora0");
  EXPECT_EQ(state.addresses[1].address.to_string(), "10.96.0.10/32");
  KernelState damaged = state;
  damaged.addresses.pop_back();
  EXPECT_EQ(texts(diff(state, damaged)),
            std::vector<std::string>{"adding address 10.96.0.10/32 on cora0"});
  EXPECT_TRUE(diff(state, state).empty());
}

TEST(Desired, PodLinkNamesFitAndDiffer) {
  EXPECT_EQ(pod_link_name("a").size(), 14U);
  EXPECT_NE(pod_link_name("a"), pod_link_name("b"));
  EXPECT_EQ(pod_link_name("a"), pod_link_name("a"));
}

TEST(Desired, UnderlayIsTheNodeAddressesDeviceElseTheDefaultRoutes) {
  KernelState state = machine();
  state.links.push_back({.name = "wg0", .kind = "wireguard", .master = "", .mtu = 1380});
  state.addresses.push_back({"wg0", *Cidr::parse("10.9.0.1/24")});
  EXPECT_EQ(find_underlay(state, *Ip::parse("10.9.0.1")).mtu, 1380U);
  EXPECT_EQ(find_underlay(state, *Ip::parse("10.9.0.99")).link, "eth0");
  EXPECT_EQ(find_underlay({}, Ip()).mtu, 1500U);
}

NodeView overlay_view() {
  NodeView v = view();
  v.pod_links = {};
  v.backend = OverlayBackend::Vxlan;
  v.local = *Ip::parse("192.0.2.6");
  return v;
}

TEST(Desired, EachRemoteNodeIsOneRouteOneNeighbourAndOneFdbEntry) {
  const KernelState state = desired_state(overlay_view());
  const Link* link = state.find_link("cora.vx");
  ASSERT_NE(link, nullptr);
  EXPECT_EQ(link->mtu, 1350U);
  EXPECT_EQ(state.find_link("cora0")->mtu, 1350U);
  EXPECT_EQ(link->vxlan, (Vxlan{67, 8472, *Ip::parse("192.0.2.6"), "eth0", false}));
  const Ip vtep = *Ip::parse("10.42.1.0");
  const Mac mac = *Mac::parse("0a:58:0a:2a:01:00");
  EXPECT_EQ(
      state.routes,
      (std::vector<Route>{{*Cidr::parse("10.42.1.0/24"), "cora.vx", vtep, kRouteProtocol, true}}));
  EXPECT_EQ(state.neighbors, (std::vector<Neighbor>{{"cora.vx", vtep, mac}}));
  EXPECT_EQ(state.fdb, (std::vector<FdbEntry>{{"cora.vx", mac, *Ip::parse("192.0.2.7")}}));
  EXPECT_EQ(state.addresses.back(), (Address{"cora.vx", *Cidr::parse("10.42.0.0/32")}));
}

TEST(Desired, BackendsDecidePerPeer) {
  struct Case {
    OverlayBackend backend;
    const char* peer;
    const char* link;  // of the route; "": none
  };
  for (const Case& c : {Case{OverlayBackend::Vxlan, "192.0.2.7", "cora.vx"},
                        Case{OverlayBackend::HostGateway, "192.0.2.7", "eth0"},
                        Case{OverlayBackend::HostGateway, "198.51.100.7", ""},
                        Case{OverlayBackend::Auto, "192.0.2.7", "eth0"},
                        Case{OverlayBackend::Auto, "198.51.100.7", "cora.vx"}}) {
    SCOPED_TRACE(c.peer);
    NodeView v = overlay_view();
    v.backend = c.backend;
    v.remotes = {{*Cidr::parse("10.42.1.0/24"), *Ip::parse(c.peer)}};
    const KernelState state = desired_state(v);
    EXPECT_EQ(state.routes.empty() ? "" : state.routes[0].link, c.link);
    EXPECT_EQ(state.fdb.empty(), std::string(c.link) != "cora.vx");
    EXPECT_EQ(state.find_link("cora0")->mtu,
              c.backend == OverlayBackend::HostGateway ? 1400U : 1350U);
  }
}

TEST(Desired, WithoutPeersOrUnderlayThereIsNoOverlay) {
  NodeView v = overlay_view();
  v.underlay = "";
  EXPECT_EQ(desired_state(v).find_link("cora.vx"), nullptr);
  EXPECT_TRUE(desired_state(v).routes.empty());
  v = overlay_view();
  v.remotes = {};
  EXPECT_EQ(desired_state(v).find_link("cora.vx"), nullptr);
}

TEST(Diff, AVxlanLinkThatDiffersInMoreThanLearningIsMadeAnewWithAllThatIsOnIt) {
  NodeView v = overlay_view();
  const KernelState before = desired_state(v);
  v.local = *Ip::parse("192.0.2.60");
  EXPECT_EQ(texts(diff(desired_state(v), before)),
            (std::vector<std::string>{"removing link cora.vx", "adding link cora.vx",
                                      "adding address 10.42.0.0/32 on cora.vx",
                                      "adding neighbour 10.42.1.0 at 0a:58:0a:2a:01:00 on cora.vx",
                                      "adding FDB entry 0a:58:0a:2a:01:00 at 192.0.2.7 on cora.vx",
                                      "adding route 10.42.1.0/24 via 10.42.1.0 on cora.vx"}));
  KernelState learns = before;
  for (Link& link : learns.links) {
    if (link.vxlan) link.vxlan->learning = true;
  }
  EXPECT_EQ(texts(diff(before, learns)), std::vector<std::string>{"changing link cora.vx"});
}

TEST(Diff, APeerThatMovedIsOneFdbEntryReplaced) {
  NodeView v = overlay_view();
  const KernelState before = desired_state(v);
  v.remotes[0].ip = *Ip::parse("192.0.2.8");
  EXPECT_EQ(texts(diff(desired_state(v), before)),
            std::vector<std::string>{"adding FDB entry 0a:58:0a:2a:01:00 at 192.0.2.8 on cora.vx"});
}

TEST(Diff, FromNothingBuildsTheBridgeFirstAndLeavesMissingPodsOut) {
  EXPECT_EQ(texts(diff(desired_state(view()), machine())),
            (std::vector<std::string>{"adding link cora0", "adding address 10.42.0.1/24 on cora0",
                                      "adding route 10.42.1.0/24 via 192.0.2.7 on eth0"}));
}

TEST(Diff, ToNothingRemovesWhatIsOursOnly) {
  KernelState actual = machine();
  const KernelState ours = desired_state(view());
  actual.links.insert(actual.links.end(), ours.links.begin(), ours.links.end());
  actual.addresses.insert(actual.addresses.end(), ours.addresses.begin(), ours.addresses.end());
  actual.routes.insert(actual.routes.end(), ours.routes.begin(), ours.routes.end());
  EXPECT_TRUE(diff(ours, actual).empty());
  EXPECT_EQ(
      texts(diff({}, actual)),
      (std::vector<std::string>{"removing route 10.42.1.0/24 via 192.0.2.7 on eth0",
                                "removing link cora0", "removing link " + pod_link_name("a")}));
}

TEST(Diff, ARecreatedBridgeGetsItsPortsBack) {
  KernelState actual = machine();
  Link orphan = desired_state(view()).links.at(1);
  orphan.master = "";
  orphan.hairpin = false;
  actual.links.push_back(orphan);
  const auto operations = texts(diff(desired_state(view()), actual));
  ASSERT_GE(operations.size(), 2U);
  EXPECT_EQ(operations[0], "adding link cora0");
  EXPECT_EQ(operations[1], "changing link " + orphan.name);
}

TEST(Diff, AChangedRouteIsReplacedNotRemoved) {
  KernelState actual = machine();
  actual.routes.push_back({*Cidr::parse("10.42.1.0/24"), "eth0", *Ip::parse("192.0.2.99")});
  for (const std::string& text : texts(diff(desired_state(view()), actual)))
    EXPECT_FALSE(text.starts_with("removing")) << text;
}

TEST(Diff, AForeignAddressOnOurBridgeGoesButLinkLocalStays) {
  KernelState actual = machine();
  const KernelState wanted = desired_state(view());
  actual.links.insert(actual.links.end(), wanted.links.begin(), wanted.links.end());
  actual.addresses.push_back({"cora0", *Cidr::parse("10.99.0.1/24")});
  actual.addresses.push_back({"cora0", *Cidr::parse("fe80::1/64")});
  EXPECT_EQ(texts(diff(wanted, actual)).at(0), "removing address 10.99.0.1/24 on cora0");
}

}  // namespace
}  // namespace coracle
