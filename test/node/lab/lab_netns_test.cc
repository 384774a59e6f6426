// Labs on the real kernel. A namespace plays the machine, so that the real one keeps its links,
// rules and sysctls, and labs that run on it are not met.
#include <arpa/inet.h>
#include <coracle/lab.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "node/cable.h"
#include "node/lab/lab_state.h"
#include "node/masquerade.h"
#include "node/netlink/linux_kernel.h"
#include "node/netns.h"
#include "node/sysctl.h"
#include "support/eventually.h"
#include "support/own_directories.h"

namespace coracle {
namespace {

constexpr std::uint16_t kPort = 8080;
constexpr int kPatience = 20'000;  // milliseconds, for what must come

class LabTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(std::filesystem::exists(lab::directory_of(one_)));
    for (const char* name : {"machine", "out"}) {
      auto ns = NetNs::create(dir_, name);
      ASSERT_TRUE(ns) << ns.error().message;
      ns_.emplace(name, std::move(*ns));
    }
    on_machine([&]() -> Result<void> {
      auto kernel = TRY(LinuxKernel::open());
      Cable cable;
      cable.host = {
          .name = "up0", .kind = "veth", .master = "", .mac = {}, .mtu = 1500, .up = true};
      cable.peer = {"eth0", ns_.at("out").fd(), {}, 1500};
      cable.addresses = {{"eth0", *Cidr::parse("198.51.100.2/24")}};
      TRY(ensure_cable(*kernel, cable));
      return kernel->apply(AddAddress{{"up0", *Cidr::parse("198.51.100.1/24")}});
    });
  }
  void TearDown() override {
    for (const std::string& name : {one_, two_}) {
      for (const std::string& node : lab_existing_nodes(name))
        EXPECT_TRUE(lab_stop_node(name, node));
      (void)run_in_netns(ns_.at("machine").fd(), [&] {
        return lab_network_down(name, [](const auto&) {});
      }).has_value();
      std::filesystem::remove_all(lab::directory_of(name));
    }
    ns_.clear();
    for (const char* name : {"machine", "out"}) EXPECT_TRUE(NetNs::remove(dir_, name));
    std::filesystem::remove_all(dir_);
  }
  void on_machine(const std::function<Result<void>()>& f) {
    const auto done = run_in_netns(ns_.at("machine").fd(), f);
    ASSERT_TRUE(done) << done.error().message;
  }
  LabPlan up(const std::string& name, int nodes) {
    LabPlan plan;
    on_machine([&]() -> Result<void> {
      plan = TRY(lab_plan(name, nodes));
      return lab_network_up(plan, [](const auto&) {});
    });
    return plan;
  }
  void down(const std::string& name) {
    on_machine([&] { return lab_network_down(name, [](const auto&) {}); });
  }
  // Links, addresses, routes, own chains and forwarding of the machine.
  std::vector<std::string> picture() {
    std::vector<std::string> out;
    on_machine([&]() -> Result<void> {
      auto kernel = TRY(LinuxKernel::open());
      const KernelState state = TRY(kernel->dump());
      for (const Link& l : state.links) out.push_back(l.name + " " + l.kind + " " + l.master);
      for (const Address& a : state.addresses) {
        if (!a.address.ip.is_link_local()) out.push_back(to_string(AddAddress{a}));
      }
      for (const Route& r : state.routes) out.push_back(to_string(AddRoute{r}));
      for (const char* key : {"ip_forward", "conf/all/accept_redirects"})
        out.push_back(TRY(kernel->read_sysctl(std::string("net/ipv4/") + key)));
      const auto mounts = TRY(read_small_file("/proc/thread-self/mountinfo"));
      if (mounts.find(" /run/netns ") != std::string::npos) out.emplace_back("/run/netns");
      const auto firewall = TRY(open_firewall());
      for (const char* table : {"nat", "filter"}) {
        const std::string saved = TRY(firewall->save(table));
        for (std::size_t at = 0; at < saved.size(); at = saved.find('\n', at) + 1) {
          const std::string line = saved.substr(at, saved.find('\n', at) - at);
          if (line.starts_with("-A") || (line.starts_with(":") && line.find(" - ") != line.npos))
            out.push_back(line);
        }
      }
      return {};
    });
    return out;
  }
  // Who a listener in `at` sees when `from` connects to it.
  static std::string peer_seen(const NetNs& from, const NetNs& at, const std::string& ip) {
    const auto open_socket = [](const NetNs& ns) {
      int fd = -1;
      EXPECT_TRUE(run_in_netns(ns.fd(), [&]() -> Result<void> {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return {};
      }));
      return fd;
    };
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kPort);
    const int listener = open_socket(at);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    EXPECT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener, 4), 0);
    const int client = open_socket(from);
    inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
    (void)connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    pollfd waiting{listener, POLLIN, 0};
    std::string seen = "nobody";
    if (poll(&waiting, 1, kPatience) == 1) {
      sockaddr_in peer{};
      socklen_t size = sizeof(peer);
      close(accept(listener, reinterpret_cast<sockaddr*>(&peer), &size));
      char text[INET_ADDRSTRLEN] = "";
      seen = inet_ntop(AF_INET, &peer.sin_addr, text, sizeof(text));
    }
    close(client);
    close(listener);
    return seen;
  }
  static NetNs node(const std::string& name) {
    auto ns = NetNs::open("/run/netns/" + name);
    EXPECT_TRUE(ns) << ns.error().message;
    return std::move(*ns);
  }

  const test::OwnDirectories own_{"/run", "/var/lib"};
  std::string id_ = std::to_string(getpid() % 100000);
  std::string one_ = "t" + id_, two_ = "u" + id_;
  std::string dir_ = "/run/coracle-test-lab-" + std::to_string(getpid());
  std::map<std::string, NetNs> ns_;
};

TEST_F(LabTest, NodesReachEachOtherTheMachineAndOutside) {
  const LabPlan plan = up(one_, 2);
  ASSERT_EQ(plan.nodes.size(), 2U);
  const NetNs first = node(plan.nodes[0].name);
  const NetNs second = node(plan.nodes[1].name);
  EXPECT_EQ(peer_seen(first, second, plan.nodes[1].ip.to_string()), plan.nodes[0].ip.to_string());
  EXPECT_EQ(peer_seen(ns_.at("machine"), first, plan.nodes[0].ip.to_string()),
            plan.gateway.to_string());
  EXPECT_EQ(peer_seen(first, ns_.at("out"), "198.51.100.2"), "198.51.100.1");
  EXPECT_EQ(lab_existing_nodes(one_),
            (std::vector<std::string>{plan.nodes[0].name, plan.nodes[1].name}));
}

TEST_F(LabTest, UpIsRepeatableAndMakesWhatIsMissing) {
  const LabPlan plan = up(one_, 1);
  const auto before = picture();
  EXPECT_EQ(up(one_, 1), plan);
  EXPECT_EQ(picture(), before);
  on_machine([&]() -> Result<void> {
    auto kernel = TRY(LinuxKernel::open());
    TRY(remove_chains(*TRY(open_firewall()), lab::chains_of(one_, plan.subnet)));
    return kernel->apply_all({RemoveLink{plan.bridge}, RemoveLink{plan.nodes[0].veth}});
  });
  EXPECT_EQ(up(one_, 1), plan);
  EXPECT_EQ(peer_seen(ns_.at("machine"), node(plan.nodes[0].name), plan.nodes[0].ip.to_string()),
            plan.gateway.to_string());
  EXPECT_EQ(peer_seen(node(plan.nodes[0].name), ns_.at("out"), "198.51.100.2"), "198.51.100.1");
}

TEST_F(LabTest, TwoLabsAtOnceAndTheLastPutsTheMachineBack) {
  const auto before = picture();
  const LabPlan one = up(one_, 1);
  const LabPlan two = up(two_, 1);
  EXPECT_FALSE(one.subnet.overlaps(two.subnet));
  down(one_);
  EXPECT_EQ(peer_seen(node(two.nodes[0].name), ns_.at("out"), "198.51.100.2"), "198.51.100.1");
  down(two_);
  EXPECT_EQ(picture(), before);
  EXPECT_FALSE(std::filesystem::exists(lab::directory_of(one_)));
  EXPECT_FALSE(std::filesystem::exists(lab::directory_of(two_)));
  EXPECT_TRUE(lab_existing_nodes(one_).empty());
}

TEST_F(LabTest, DownWorksOnWhatACrashLeftAndTwice) {
  const auto before = picture();
  const LabPlan plan = up(one_, 2);
  on_machine(
      [&]() -> Result<void> { return TRY(LinuxKernel::open())->apply(RemoveLink{plan.bridge}); });
  ASSERT_TRUE(NetNs::remove("/run/netns", plan.nodes[0].name));
  down(one_);
  down(one_);
  EXPECT_EQ(picture(), before);
}

TEST_F(LabTest, ExecRunsInTheNodeAndPassesTheExitCodeOn) {
  const LabPlan plan = up(one_, 1);
  const std::string name = plan.nodes[0].name;
  const auto code = [&](const std::vector<std::string>& argv) {
    const auto result = lab_exec(name, argv);
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : -1;
  };
  EXPECT_EQ(code({"sh", "-c", "exit 7"}), 7);
  EXPECT_EQ(code({"sh", "-c", "kill -TERM $$"}), 128 + SIGTERM);
  EXPECT_EQ(code({"/no/such/program"}), 127);
  EXPECT_EQ(code({"sh", "-c", "test -e /sys/class/net/eth0 && ! test -e /sys/class/net/up0"}), 0);
  EXPECT_TRUE(is_not_found(lab_exec(one_ + "-node-9", {"true"}).error()));
  EXPECT_EQ(lab_exec("../x", {"true"}).error().code, Code::BadRequest);
  EXPECT_EQ(lab_exec(name, {}).error().code, Code::BadRequest);
}

TEST_F(LabTest, ANodesProcessIsStartedOnceFoundAgainAndStopped) {
  const LabPlan plan = up(one_, 1);
  const LabNode& n = plan.nodes[0];
  const std::string log = dir_ + "/log";
  EXPECT_FALSE(lab_start_node(plan, n, {"/no/such/program"}, log));
  EXPECT_FALSE(lab_node_running(plan, n));
  const auto pid = lab_start_node(plan, n, {"/bin/sh", "-c", "echo started; exec sleep 300"}, log);
  ASSERT_TRUE(pid) << pid.error().message;
  EXPECT_TRUE(lab_node_running(plan, n));
  EXPECT_TRUE(is_already_exists(lab_start_node(plan, n, {"/bin/true"}, log).error()));
  EXPECT_EQ(getsid(*pid), *pid);
  EXPECT_EQ(
      std::filesystem::read_symlink("/proc/" + std::to_string(*pid) + "/ns/net"),
      std::filesystem::path("net:[" + std::to_string([&] {
                              struct stat s {};
                              return stat(("/run/netns/" + n.name).c_str(), &s) == 0 ? s.st_ino : 0;
                            }()) +
                            "]"));
  // It is running from its execution on; what it says comes when it comes.
  EXPECT_TRUE(test::eventually([&] {
    std::string word;
    std::ifstream(log) >> word;
    return word == "started";
  }));
  EXPECT_TRUE(lab_stop_node(one_, n.name));
  EXPECT_FALSE(lab_node_running(plan, n));
  EXPECT_TRUE(lab_stop_node(one_, n.name));
}

// As after a `lab up` that was killed before it could note what it had started.
TEST_F(LabTest, WhatElseRunsOnANodeEndsWithIt) {
  const LabPlan plan = up(one_, 1);
  const LabNode& n = plan.nodes[0];
  const auto pid = lab_start_node(plan, n, {"/bin/sleep", "300"}, dir_ + "/log");
  ASSERT_TRUE(pid) << pid.error().message;
  ASSERT_TRUE(std::filesystem::remove(lab::pid_file(one_, n.name)));
  EXPECT_TRUE(lab_stop_node(one_, n.name));
  int status = 0;
  EXPECT_EQ(waitpid(*pid, &status, WNOHANG), *pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(LabTest, AReusedPidIsNotTheNodes) {
  const LabPlan plan = up(one_, 1);
  // This very process, but not from when it started.
  std::ofstream(lab::pid_file(one_, plan.nodes[0].name)) << getpid() << " 1\n";
  EXPECT_FALSE(lab_node_running(plan, plan.nodes[0]));
  EXPECT_TRUE(lab_stop_node(one_, plan.nodes[0].name));
  EXPECT_FALSE(std::filesystem::exists(lab::pid_file(one_, plan.nodes[0].name)));
}

}  // namespace
}  // namespace coracle
