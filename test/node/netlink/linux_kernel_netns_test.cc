// The real Kernel in namespaces of its own: what apply() makes, dump() shows, and it all goes away.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "node/desired_state.h"
#include "node/diff.h"
#include "node/netlink/linux_kernel.h"
#include "node/sysctl.h"

namespace coracle {
namespace {

class LinuxKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    node_ = create("node");
    pod_ = create("pod");
    auto here = LinuxKernel::open();
    ASSERT_TRUE(here) << here.error().message;
    auto kernel = (*here)->inside(node_->fd());
    ASSERT_TRUE(kernel) << kernel.error().message;
    kernel_ = std::move(*kernel);
    auto in_pod = (*here)->inside(pod_->fd());
    ASSERT_TRUE(in_pod) << in_pod.error().message;
    pod_kernel_ = std::move(*in_pod);
  }
  void TearDown() override {
    EXPECT_TRUE(NetNs::remove(dir_, "node"));
    EXPECT_TRUE(NetNs::remove(dir_, "pod"));
    std::filesystem::remove_all(dir_);
  }
  std::unique_ptr<NetNs> create(const std::string& name) {
    auto ns = NetNs::create(dir_, name);
    EXPECT_TRUE(ns) << ns.error().message;
    return ns ? std::make_unique<NetNs>(std::move(*ns)) : nullptr;
  }
  KernelState dump() {
    auto state = kernel_->dump();
    EXPECT_TRUE(state) << state.error().message;
    return state ? *state : KernelState{};
  }

  NodeView view_{.pod_cidr = *Cidr::parse("10.42.0.0/24"),
                 .mtu = 1400,
                 .underlay = "",
                 .pod_links = {pod_link_name("a")},
                 .remotes = {},
                 .backend = OverlayBackend::HostGateway};
  std::string dir_ = "/run/coracle-test-" + std::to_string(getpid());
  std::unique_ptr<NetNs> node_, pod_;
  std::unique_ptr<Kernel> kernel_, pod_kernel_;
};

TEST_F(LinuxKernelTest, TheDesiredStateHoldsOnceAppliedAndGoesWithoutTrace) {
  const KernelState before = dump();
  const KernelState wanted = desired_state(view_);
  auto done = kernel_->apply_all(diff(wanted, before));
  ASSERT_TRUE(done) << done.error().message;

  AddLink veth{wanted.links.at(1),
               VethPeer{"eth0", pod_->fd(), mac_of(*Ip::parse("10.42.0.2")), 1400}};
  done = kernel_->apply(veth);
  ASSERT_TRUE(done) << done.error().message;
  done = kernel_->apply(veth);  // again: nothing changes
  ASSERT_TRUE(done) << done.error().message;

  const KernelState now = dump();
  EXPECT_TRUE(diff(wanted, now).empty()) << to_string(diff(wanted, now).at(0));
  const Link* host_end = now.find_link(pod_link_name("a"));
  ASSERT_NE(host_end, nullptr);
  EXPECT_TRUE(host_end->hairpin);
  EXPECT_EQ(host_end->master, "cora0");

  auto in_pod = pod_kernel_->dump();
  ASSERT_TRUE(in_pod);
  const Link* eth0 = in_pod->find_link("eth0");
  ASSERT_NE(eth0, nullptr);
  EXPECT_EQ(eth0->mac->to_string(), "0a:58:0a:2a:00:02");
  EXPECT_EQ(eth0->mtu, 1400U);

  // The bridge keeps its MTU when its last port leaves.
  ASSERT_TRUE(kernel_->apply(RemoveLink{pod_link_name("a")}));
  EXPECT_EQ(dump().find_link("cora0")->mtu, 1400U);

  done = kernel_->apply_all(diff({}, now));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(dump(), before);
  in_pod = pod_kernel_->dump();
  ASSERT_TRUE(in_pod);
  EXPECT_EQ(in_pod->find_link("eth0"), nullptr);
}

TEST_F(LinuxKernelTest, AddressesRoutesAndNeighborsComeBackAsGiven) {
  ASSERT_TRUE(kernel_->apply_all(diff(desired_state(view_), dump())));
  const Address address{"cora0", *Cidr::parse("10.77.0.9/24"), true};
  const Route route{*Cidr::parse("10.43.0.0/16"), "cora0", *Ip::parse("10.42.0.9")};
  const Neighbor neighbor{"cora0", *Ip::parse("10.42.0.9"), *Mac::parse("0a:58:0a:2a:00:09")};
  for (int i = 0; i < 2; ++i) {
    const auto done =
        kernel_->apply_all({AddAddress{address}, AddNeighbor{neighbor}, AddRoute{route}});
    ASSERT_TRUE(done) << done.error().message;
  }
  const KernelState now = dump();
  EXPECT_NE(std::find(now.addresses.begin(), now.addresses.end(), address), now.addresses.end());
  EXPECT_NE(std::find(now.routes.begin(), now.routes.end(), route), now.routes.end());
  EXPECT_EQ(now.neighbors, std::vector<Neighbor>{neighbor});
  for (int i = 0; i < 2; ++i) {
    const auto done =
        kernel_->apply_all({RemoveRoute{route}, RemoveNeighbor{neighbor}, RemoveAddress{address},
                            RemoveLink{"cora0"}, RemoveLink{"cora0"}});
    ASSERT_TRUE(done) << done.error().message;
  }
}

TEST_F(LinuxKernelTest, VxlanComesBackAsGivenAndChangesInPlaceWhereItCan) {
  const Link under{.name = "up0", .kind = "veth", .master = "", .mac = {}, .mtu = 1400, .up = true};
  ASSERT_TRUE(kernel_->apply(AddLink{under, VethPeer{"up1", pod_->fd(), {}, 1400}}));
  ASSERT_TRUE(kernel_->apply(AddAddress{{"up0", *Cidr::parse("192.0.2.6/24")}}));
  const KernelState before = dump();
  view_.backend = OverlayBackend::Auto;
  view_.underlay = "up0";
  view_.local = *Ip::parse("192.0.2.6");
  view_.segments = {*Cidr::parse("192.0.2.6/24")};
  view_.remotes = {{*Cidr::parse("10.42.1.0/24"), *Ip::parse("192.0.2.7")},
                   {*Cidr::parse("10.42.2.0/24"), *Ip::parse("198.51.100.7")}};
  const auto converge = [&](const KernelState& wanted) {
    const auto operations = diff(wanted, dump());
    const auto done = kernel_->apply_all(operations);
    EXPECT_TRUE(done) << done.error().message;
    const auto left = diff(wanted, dump());
    EXPECT_TRUE(left.empty()) << to_string(left.at(0));
    std::vector<std::string> texts;
    for (const Operation& o : operations) texts.push_back(to_string(o));
    return texts;
  };
  (void)converge(desired_state(view_));
  EXPECT_EQ(dump().fdb.size(), 1U);
  // Others meddle: an entry, learning, and a smaller MTU. All of it is put right in place.
  Link spoiled = *desired_state(view_).find_link("cora.vx");
  spoiled.vxlan->learning = true;
  spoiled.mtu = 1300;
  spoiled.mac.reset();  // else the neighbours would go, too
  const auto changed = kernel_->apply(ChangeLink{spoiled});
  ASSERT_TRUE(changed) << changed.error().message;
  ASSERT_TRUE(kernel_->apply(
      AddFdb{{"cora.vx", *Mac::parse("02:00:00:00:00:01"), *Ip::parse("192.0.2.99")}}));
  EXPECT_EQ(
      converge(desired_state(view_)),
      (std::vector<std::string>{"removing FDB entry 02:00:00:00:00:01 at 192.0.2.99 on cora.vx",
                                "changing link cora.vx"}));
  // A peer moves: one entry. We move: the link is made anew.
  view_.remotes[1].ip = *Ip::parse("198.51.100.8");
  EXPECT_EQ(
      converge(desired_state(view_)),
      std::vector<std::string>{"adding FDB entry 0a:58:0a:2a:02:00 at 198.51.100.8 on cora.vx"});
  view_.local = *Ip::parse("192.0.2.60");
  EXPECT_EQ(converge(desired_state(view_)).at(0), "removing link cora.vx");
  const auto done = kernel_->apply_all(diff({}, dump()));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(dump(), before);
}

TEST_F(LinuxKernelTest, ErrorsCarryTheKernelsWords) {
  const auto done =
      kernel_->apply(AddRoute{{*Cidr::parse("10.9.0.0/16"), "lo", *Ip::parse("10.1.1.1")}});
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("netlink"), std::string::npos) << done.error().message;
  EXPECT_NE(done.error().message.find('('), std::string::npos) << done.error().message;
}

TEST_F(LinuxKernelTest, SysctlsAreSetInTheirNamespaceOnlyAndPutBack) {
  // One that nothing else on the machine sets.
  const std::string key = "net/ipv4/ip_nonlocal_bind";
  auto here = LinuxKernel::open();
  ASSERT_TRUE(here);
  const std::string machine = *(*here)->read_sysctl(key);
  const std::string before = *kernel_->read_sysctl(key);
  const std::string ours = before == "1" ? "0" : "1";
  Sysctls sysctls(*kernel_, dir_ + "/sysctls");
  ASSERT_TRUE(sysctls.set(key, ours));
  ASSERT_TRUE(sysctls.set("net/no/such/key", "1"));
  EXPECT_EQ(*kernel_->read_sysctl(key), ours);
  EXPECT_EQ(*(*here)->read_sysctl(key), machine);
  Sysctls after_restart(*kernel_, dir_ + "/sysctls");
  ASSERT_TRUE(after_restart.set(key, ours));
  ASSERT_TRUE(after_restart.restore());
  EXPECT_EQ(*kernel_->read_sysctl(key), before);
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/sysctls"));
}

TEST_F(LinuxKernelTest, LinksThatForwardedBeforeDoSoAfterwards) {
  ASSERT_TRUE(
      kernel_->apply(AddLink{{.name = "own0", .kind = "bridge", .master = "", .up = true}}));
  const std::string own = "net/ipv4/conf/own0/forwarding";
  const std::string loopback = "net/ipv4/conf/lo/forwarding";
  ASSERT_TRUE(kernel_->write_sysctl("net/ipv4/ip_forward", "0"));
  ASSERT_TRUE(kernel_->write_sysctl(own, "1"));
  Sysctls sysctls(*kernel_, dir_ + "/sysctls");
  ASSERT_TRUE(sysctls.set("net/ipv4/ip_forward", "1"));
  EXPECT_EQ(*kernel_->read_sysctl(loopback), "1");
  ASSERT_TRUE(sysctls.restore());
  EXPECT_EQ(*kernel_->read_sysctl("net/ipv4/ip_forward"), "0");
  EXPECT_EQ(*kernel_->read_sysctl(own), "1");
  EXPECT_EQ(*kernel_->read_sysctl(loopback), "0");
}

TEST_F(LinuxKernelTest, ANamespaceIsMadeOnceAndRemovedTwice) {
  EXPECT_TRUE(is_already_exists(NetNs::create(dir_, "pod").error()));
  EXPECT_TRUE(NetNs::remove(dir_, "pod"));
  EXPECT_TRUE(NetNs::remove(dir_, "pod"));
  EXPECT_TRUE(is_not_found(NetNs::open(dir_ + "/pod").error()));
}

}  // namespace
}  // namespace coracle
