#include "node/runtime/cgroups.h"

#include <gtest/gtest.h>

#include <map>

namespace coracle::runtime {
namespace {

using Directories = std::vector<CgroupPlan::Directory>;
using Files = std::map<std::string, std::string>;

ReadFile reader(const Files& files) {
  return [files](const std::string& path) -> std::optional<std::string> {
    const auto it = files.find(path);
    return it == files.end() ? std::nullopt : std::optional(it->second);
  };
}

std::string mount_line(const std::string& root, const std::string& point, const std::string& type,
                       const std::string& options) {
  return "30 20 0:30 " + root + " " + point + " rw,relatime - " + type + " none " + options + "\n";
}

TEST(Cgroups, AreFoundInTheAgentsOwnOfEveryVersion1Hierarchy) {
  const CgroupHost host = find_cgroups(
      reader({{"/proc/self/mountinfo",
               mount_line("/", "/", "ext4", "rw") +
                   mount_line("/", "/sys/fs/cgroup/cpu", "cgroup", "rw,cpu,cpuacct") +
                   mount_line("/", "/sys/fs/cgroup/pids", "cgroup", "rw,pids") +
                   mount_line("/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory") +
                   mount_line("/", "/sys/fs/cgroup/unified", "cgroup2", "rw")},
              {"/proc/self/cgroup", "8:pids:/x\n4:memory:/some/job\n1:cpu,cpuacct:/\n0::/\n"},
              {"/sys/fs/cgroup/unified/cgroup.controllers", ""},
              {"/sys/fs/cgroup/unified/cgroup.subtree_control", ""}}));
  EXPECT_EQ(host.hierarchies, (std::vector<CgroupHost::Hierarchy>{
                                  {false, {"cpu"}, "/sys/fs/cgroup/cpu"},
                                  {false, {"pids"}, "/sys/fs/cgroup/pids/x"},
                                  {false, {"memory"}, "/sys/fs/cgroup/memory/some/job"}}));
}

TEST(Cgroups, AreFoundWhereAPartOfTheHierarchyIsMounted) {
  const CgroupHost host = find_cgroups(reader(
      {{"/proc/self/mountinfo", mount_line("/docker/c1", "/cg/memory", "cgroup", "rw,memory")},
       {"/proc/self/cgroup", "4:memory:/docker/c1/job\n"}}));
  ASSERT_EQ(host.hierarchies.size(), 1U);
  EXPECT_EQ(host.hierarchies[0].parent, "/cg/memory/job");
}

// Only a cgroup without processes hands on controllers, but for the root.
TEST(Cgroups, OfVersion2LieInTheNearestThatHandsOnControllers) {
  struct Case {
    const char* name;
    Files files;
    std::string parent;
    std::set<std::string> controllers;
  };
  const std::string own = "/cg/system.slice/coracle.service", slice = "/cg/system.slice";
  const Files root = {{"/cg/cgroup.controllers", "cpuset cpu io memory pids\n"},
                      {"/cg/cgroup.subtree_control", "cpu memory\n"},
                      {"/cg/cgroup.procs", "1\n"}};
  const auto with = [&](Files more) {
    more.insert(root.begin(), root.end());
    return more;
  };
  const Files busy = {{own + "/cgroup.controllers", "cpu memory\n"},
                      {own + "/cgroup.subtree_control", ""},
                      {own + "/cgroup.type", "domain\n"},
                      {own + "/cgroup.procs", "77\n"}};
  Files in_slice = busy;
  in_slice.insert({{slice + "/cgroup.controllers", "cpu memory\n"},
                   {slice + "/cgroup.subtree_control", "memory pids\n"},
                   {slice + "/cgroup.type", "domain\n"},
                   {slice + "/cgroup.procs", "5\n"}});
  Files delegated = busy;
  delegated[own + "/cgroup.procs"] = "";
  for (const Case& c : {Case{"the service's slice", with(in_slice), slice, {"memory", "pids"}},
                        Case{"one without processes", with(delegated), own, {"cpu", "memory"}},
                        Case{"the root", with(busy), "/cg", {"cpu", "memory", "pids"}}}) {
    SCOPED_TRACE(c.name);
    Files files = c.files;
    files["/proc/self/mountinfo"] = mount_line("/", "/cg", "cgroup2", "rw,nsdelegate");
    files["/proc/self/cgroup"] = "0::/system.slice/coracle.service\n";
    const CgroupHost host = find_cgroups(reader(files));
    EXPECT_EQ(host.hierarchies,
              (std::vector<CgroupHost::Hierarchy>{{true, c.controllers, c.parent}}));
  }
}

TEST(Cgroups, Version1GetsWhatTheKubeletWrites) {
  CgroupHost host{{{false, {"cpu"}, "/c"}, {false, {"memory"}, "/m"}}, 2};
  ResourceLimits limits{.cpu_millis = 250,
                        .memory_bytes = 64 << 20,
                        .cpu_request_millis = 100,
                        .pod_cpu_request_millis = 500};
  CgroupPlan plan = plan_cgroups(host, "u", "a", limits);
  EXPECT_EQ(
      plan.directories,
      (Directories{
          {"/c/coracle", {{"cpu.shares", "2048"}}},
          {"/c/coracle/u", {{"cpu.shares", "512"}}},
          {"/c/coracle/u/a",
           {{"cpu.shares", "102"}, {"cpu.cfs_period_us", "100000"}, {"cpu.cfs_quota_us", "25000"}}},
          {"/m/coracle", {}},
          {"/m/coracle/u", {}},
          {"/m/coracle/u/a",
           {{"memory.limit_in_bytes", "67108864"},
            {"memory.memsw.limit_in_bytes", "67108864", true}}}}));
  EXPECT_EQ(plan.joins, (std::vector<std::string>{"/c/coracle/u/a", "/m/coracle/u/a"}));
  EXPECT_EQ(plan.pod_dirs, (std::vector<std::string>{"/c/coracle/u", "/m/coracle/u"}));
  EXPECT_EQ(plan.memory, "/m/coracle/u/a");

  plan = plan_cgroups(host, "u", "a", {});
  EXPECT_EQ(plan.joins, std::vector<std::string>{"/c/coracle/u/a"}) << "no memory limit, no cgroup";
  EXPECT_EQ(plan.memory, "");
  EXPECT_EQ(plan.directories.back().writes,
            (std::vector<CgroupPlan::Write>{{"cpu.shares", "2"},
                                            {"cpu.cfs_period_us", "100000", true},
                                            {"cpu.cfs_quota_us", "-1", true}}));
  limits.cpu_millis = 1;
  plan = plan_cgroups(host, "u", "a", limits);
  EXPECT_EQ(plan.directories[2].writes[2].value, "1000") << "the kernel takes no less";
}

TEST(Cgroups, Version2GetsWhatTheKubeletWrites) {
  const CgroupHost host{{{true, {"cpu", "memory"}, "/g"}}, 4};
  const CgroupPlan plan = plan_cgroups(host, "u", "a",
                                       {.cpu_millis = 1500,
                                        .memory_bytes = 1000,
                                        .cpu_request_millis = 1000,
                                        .pod_cpu_request_millis = 1000});
  const CgroupPlan::Write hand_on{"cgroup.subtree_control", "+cpu +memory"};
  EXPECT_EQ(plan.directories, (Directories{{"/g", {hand_on}},
                                           {"/g/coracle", {hand_on, {"cpu.weight", "157"}}},
                                           {"/g/coracle/u", {hand_on, {"cpu.weight", "39"}}},
                                           {"/g/coracle/u/a",
                                            {{"cpu.weight", "39"},
                                             {"cpu.max", "150000 100000"},
                                             {"memory.max", "1000"},
                                             {"memory.swap.max", "0", true},
                                             {"memory.oom.group", "1", true}}}}));
  EXPECT_EQ(plan.joins, std::vector<std::string>{"/g/coracle/u/a"});
  EXPECT_EQ(plan_cgroups(host, "u", "a", {}).directories.back().writes[1].value, "max 100000");
  EXPECT_EQ(plan_cgroups({}, "u", "a", {.cpu_millis = 1}).directories, Directories{});
}

TEST(Cgroups, CountTheProcessesOfAPod) {
  const CgroupHost v1{{{false, {"pids"}, "/p"}}, 1};
  EXPECT_EQ(plan_cgroups(v1, "u", "a", {}).directories, Directories{}) << "no limit, no cgroup";
  CgroupPlan plan = plan_cgroups(v1, "u", "a", {.pod_pids = 100});
  EXPECT_EQ(plan.directories, (Directories{{"/p/coracle", {}},
                                           {"/p/coracle/u", {{"pids.max", "100"}}},
                                           {"/p/coracle/u/a", {}}}));
  EXPECT_EQ(plan.joins, std::vector<std::string>{"/p/coracle/u/a"});
  EXPECT_EQ(plan.pod_dirs, std::vector<std::string>{"/p/coracle/u"});
  const CgroupHost v2{{{true, {"memory", "pids"}, "/g"}}, 1};
  const CgroupPlan::Write hand_on{"cgroup.subtree_control", "+memory +pids"};
  plan = plan_cgroups(v2, "u", "a", {.pod_pids = 100});
  ASSERT_EQ(plan.directories.size(), 4U);
  EXPECT_EQ(plan.directories[2],
            (CgroupPlan::Directory{"/g/coracle/u", {hand_on, {"pids.max", "100"}}}));
  EXPECT_EQ(plan_cgroups(v2, "u", "a", {}).directories[2].writes.back().value, "max");
}

}  // namespace
}  // namespace coracle::runtime
