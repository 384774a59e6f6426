// What a container's securityContext and limits become, by the real kernel.
#include <csignal>

#include "node/runtime/cgroups.h"
#include "runtime_fixture.h"

namespace coracle {
namespace {

class LimitsTest : public ProcessRuntimeTest {
 protected:
  ContainerSpec script(const std::string& text, const std::string& name = "c") {
    ContainerSpec spec;
    spec.name = name;
    spec.image = "coracle/host";
    spec.command = {"/bin/sh", "-c", text};
    spec.env = {{"PATH", "/usr/bin:/bin"}};
    return spec;
  }
  std::string said(const ContainerSpec& spec) {
    const auto started = runtime_->start_container("pod-a", spec);
    EXPECT_TRUE(started) << started.error().message;
    const ContainerState state = ended("pod-a", spec.name);
    EXPECT_EQ(state.message, "");
    std::string out;
    std::istringstream lines(log(0, spec.name));
    for (std::string line; std::getline(lines, line);) out += line.substr(40) + "\n";
    return out;
  }
  // The sandbox's cgroup directories, as it has written them down.
  std::vector<std::string> cgroups() const {
    std::vector<std::string> out;
    std::istringstream lines(slurp(dir_ + "/pods/pod-a/cgroups"));
    for (std::string line; std::getline(lines, line);) out.push_back(line);
    return out;
  }
};

TEST_F(LimitsTest, ItIsTheUserItWasToldToBe) {
  sandbox();
  ContainerSpec spec = script(
      "id -u; id -g; id -G; grep -E 'Cap(Prm|Eff|Bnd)|NoNewPrivs' /proc/self/status; "
      "echo through > /dev/stdout; touch /tmp/mine && ls -ln /tmp/mine | cut -d' ' -f3; "
      "touch /usr/mine 2>/dev/null || echo refused");
  spec.privileges.uid = 1234;
  spec.privileges.gid = 2345;
  spec.privileges.groups = {7, 3456};
  EXPECT_EQ(said(spec),
            "1234\n2345\n2345 7 3456\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
            "CapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nthrough\n1234\nrefused\n");
}

TEST_F(LimitsTest, ItHasTheCapabilitiesItWasGiven) {
  sandbox();
  ContainerSpec spec = script("grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status");
  spec.privileges.capabilities = 0x400;
  spec.privileges.no_new_privileges = false;
  EXPECT_EQ(said(spec), "CapEff:\t0000000000000400\nCapBnd:\t0000000000000400\nNoNewPrivs:\t0\n");
}

// What a filter refuses to others, the capability opens.
TEST_F(LimitsTest, AddedCapabilitiesWork) {
  sandbox();
  const std::string text = "mount -t tmpfs none /mnt 2>/dev/null && echo mounted || echo refused";
  EXPECT_EQ(said(script(text)), "refused\n");
  ContainerSpec spec = script(text, "b");
  spec.privileges.capabilities |= std::uint64_t{1} << 21;
  EXPECT_EQ(said(spec), "mounted\n");
}

TEST_F(LimitsTest, CommandsInItAreAsItIs) {
  sandbox();
  ContainerSpec spec = script("sleep 1000");
  spec.privileges = {1234, 2345, {}, 0, true, true};
  ASSERT_TRUE(runtime_->start_container("pod-a", spec));
  EXPECT_EQ(
      output("id -u; id -g; grep CapBnd /proc/self/status; touch /tmp/x 2>&1 | grep -o Read-o"),
      "1234\n2345\nCapBnd:\t0000000000000000\nRead-o\n");
}

TEST_F(LimitsTest, AReadOnlyRootIsSoEverywhere) {
  sandbox();
  ContainerSpec spec = script(
      "for d in / /etc /usr /tmp /run /var; do touch $d/x 2>/dev/null && echo $d; done; "
      "echo y > /dev/shm/y && cat /dev/shm/y; echo why > /dev/termination-log");
  spec.privileges.read_only_root = true;
  EXPECT_EQ(said(spec), "y\n");
  EXPECT_EQ(runtime_->state("pod-a")->containers[0].termination_message, "why\n");
}

TEST_F(LimitsTest, ContainersMayShareTheirProcesses) {
  const auto made = runtime_->create_sandbox({.pod_uid = "pod-a",
                                              .ns = "default",
                                              .name = "pod-a",
                                              .hostname = "pod-a",
                                              .host_network = false,
                                              .share_processes = true});
  ASSERT_TRUE(made) << made.error().message;
  const std::string mark = own_seconds(31), stray = own_seconds(32);
  ASSERT_TRUE(runtime_->start_container("pod-a", script("exec sleep " + mark, "other")));
  ASSERT_TRUE(runtime_->start_container(
      "pod-a", script("(trap '' TERM; sleep " + stray + ") & sleep 1000")));
  ASSERT_TRUE(test::eventually([&] { return !processes_of(stray).empty(); }));
  const std::string seen = output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
  EXPECT_NE(seen.find("sleep " + mark), std::string::npos) << seen;
  EXPECT_EQ(
      output("cat /proc/1/environ 2>&1 | grep -o denied; ls /proc/1/root 2>&1 | grep -o denied"),
      "denied\ndenied\n");
  // What a container leaves behind ends with it, what is the other's does not.
  ASSERT_TRUE(runtime_->signal_container("pod-a", "c", SIGKILL));
  EXPECT_EQ(ended().signal, SIGKILL);
  EXPECT_TRUE(await_no_process(stray));
  EXPECT_FALSE(processes_of(mark).empty());
}

TEST_F(LimitsTest, TheKernelEndsWhatIsBeyondItsMemory) {
  if (!runtime_->limit_problem("memory").empty()) GTEST_SKIP() << runtime_->limit_problem("memory");
  sandbox();
  ContainerSpec spec = script("head -c 200000000 /dev/zero | tail -c 190000000 > /dev/null");
  spec.limits.memory_bytes = 16 << 20;
  ASSERT_TRUE(runtime_->start_container("pod-a", spec));
  const ContainerState state = ended();
  EXPECT_EQ(state.exit_code, 137);
  EXPECT_TRUE(state.out_of_memory);
  // The next one starts with a clean slate.
  spec = script("exit 3");
  spec.limits.memory_bytes = 16 << 20;
  spec.restart_count = 1;
  ASSERT_TRUE(runtime_->start_container("pod-a", spec));
  ASSERT_TRUE(test::eventually([&] { return ended().restart_count == 1; }));
  EXPECT_FALSE(ended().out_of_memory);
  EXPECT_EQ(ended().exit_code, 3);
}

TEST_F(LimitsTest, ProcessesAreInTheirCgroupsAndNothingStays) {
  if (!runtime_->limit_problem("cpu").empty()) GTEST_SKIP() << runtime_->limit_problem("cpu");
  sandbox();
  ContainerSpec spec = script("cat /proc/self/cgroup; sleep 1000");
  spec.limits = {.cpu_millis = 250,
                 .memory_bytes = 64 << 20,
                 .cpu_request_millis = 100,
                 .pod_cpu_request_millis = 100};
  ASSERT_TRUE(runtime_->start_container("pod-a", spec));
  const auto dirs = cgroups();
  ASSERT_FALSE(dirs.empty());
  bool quota = false;
  for (const std::string& dir : dirs) {
    EXPECT_FALSE(slurp(dir + "/c/cgroup.procs").empty()) << dir;
    const std::string v1 = slurp(dir + "/c/cpu.cfs_quota_us"), v2 = slurp(dir + "/c/cpu.max");
    quota = quota || v1 == "25000\n" || v2 == "25000 100000\n";
  }
  EXPECT_TRUE(quota);
  EXPECT_NE(output("cat /proc/self/cgroup").find("/coracle/pod-a/c"), std::string::npos)
      << "a command in it counts as its own";
  ASSERT_TRUE(runtime_->remove_sandbox("pod-a"));
  for (const std::string& dir : dirs) {
    EXPECT_FALSE(std::filesystem::exists(dir)) << dir;
  }
}

TEST_F(LimitsTest, AForkBombEndsWithItsPod) {
  if (!runtime_->limit_problem("pids").empty()) GTEST_SKIP() << runtime_->limit_problem("pids");
  pod_max_pids_ = 30;
  open();
  sandbox();
  const std::string mark = own_seconds(33);
  ASSERT_TRUE(runtime_->start_container("pod-a", script("sleep 1000", "calm")));
  const ContainerSpec bomb = script("n=0; while [ $n -lt 200 ]; do n=$((n+1)); sleep " + mark +
                                    " & done; echo all of them");
  ASSERT_TRUE(runtime_->start_container("pod-a", bomb));
  EXPECT_NE(ended().exit_code, 0) << "a shell that cannot fork gives up";
  EXPECT_NE(log().find("fork"), std::string::npos) << log();
  EXPECT_EQ(log().find("all of them"), std::string::npos);
  // Another Pod has its own count.
  sandbox("pod-b");
  ASSERT_TRUE(shell("for n in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; exit 4", 0, "pod-b"));
  EXPECT_EQ(ended("pod-b").exit_code, 4);
}

// As after a kill between making them and the container's start.
TEST_F(LimitsTest, CgroupsOfAHalfMadeContainerGoToo) {
  sandbox();
  const auto plan = runtime::plan_cgroups(runtime::host_cgroups(), "pod-a", "c", {});
  if (plan.pod_dirs.empty()) GTEST_SKIP() << "no cgroups here";
  ASSERT_TRUE(runtime::make_cgroups(plan));
  std::ofstream(dir_ + "/pods/pod-a/cgroups") << plan.pod_dirs[0] << "\n";
  ASSERT_TRUE(runtime_->remove_sandbox("pod-a"));
  EXPECT_FALSE(std::filesystem::exists(plan.pod_dirs[0]));
}

}  // namespace
}  // namespace coracle
