// What a root process in a Pod can see and change of its host: nothing it should not.
#include <sched.h>
#include <sys/mount.h>

#include "node/runtime/runtime_fixture.h"

namespace coracle {
namespace {

TEST_F(ProcessRuntimeTest, ARootProcessSeesNothingOfTheHost) {
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  EXPECT_EQ(output("cat " + dir_ +
                   "/secret /etc/shadow /etc/gshadow 2>/dev/null; "
                   "for d in /root /home /var/lib/coracle; do ls -A $d 2>/dev/null; done"),
            "");
  // The kernel lays the arguments out a moment after the execution counts as begun.
  EXPECT_EQ(output("until grep -q . /proc/1/cmdline; do :; done; tr '\\0' ' ' </proc/1/cmdline"),
            "sleep 1000 ");
  EXPECT_EQ(output("grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status"),
            "CapEff:\t00000000a80425fb\nNoNewPrivs:\t1\n");
  for (const char* escape :
       {"mount -t tmpfs none /mnt", "unshare -Ur true", "unshare -m true", "umount /proc/keys",
        "mknod /tmp/disk b 8 0 && cat /tmp/disk", "nsenter -t 1 -m true",
        "echo x > /proc/sys/kernel/hostname", "echo b > /proc/sysrq-trigger",
        "chroot /proc/1/root mount -t proc p /mnt", "echo x >> /proc/1/exe"}) {
    const auto ran = runtime_->exec("pod-a", "c", {"sh", "-c", escape}, kPatience);
    ASSERT_TRUE(ran) << escape;
    EXPECT_NE(ran->exit_code, 0) << escape;
  }
  EXPECT_EQ(output("hostname; cat /etc/hostname; ls /run | grep -v mount; ls /tmp | grep -v disk"),
            "pod-a\npod-a\n");
  // Its own network only: loopback, down.
  EXPECT_EQ(output("ls /sys/class/net"), "lo\n");
}

TEST_F(ProcessRuntimeTest, WritesVanishAndStayPrivate) {
  sandbox("pod-a");
  sandbox("pod-b");
  ASSERT_TRUE(start({"sleep", "1000"}));
  ASSERT_TRUE(start({"sleep", "1000"}, 0, "pod-b"));
  output("echo private > /opt/coracle-test; echo private > /tmp/coracle-test");
  const auto seen = runtime_->exec(
      "pod-b", "c", {"sh", "-c", "cat /opt/coracle-test /tmp/coracle-test 2>/dev/null"}, kPatience);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->output, "");
  EXPECT_FALSE(std::filesystem::exists("/opt/coracle-test"));
  EXPECT_FALSE(std::filesystem::exists("/tmp/coracle-test"));
}

// The device files are the host's own: their modes are not the Pod's to change.
TEST_F(ProcessRuntimeTest, DevicesWorkAndCannotBeChanged) {
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  for (const char* change : {"chmod 0666 /dev/null", "chown 0 /dev/zero", "rm /dev/null",
                             "chmod 0666 /proc/timer_list", "chmod 0666 /dev/urandom"}) {
    const auto ran = runtime_->exec("pod-a", "c", {"sh", "-c", change}, kPatience);
    ASSERT_TRUE(ran) << change;
    EXPECT_NE(ran->exit_code, 0) << change;
  }
  EXPECT_EQ(output("echo gone > /dev/null && cat /dev/null && head -c 3 /dev/zero | wc -c && "
                   "head -c 5 /dev/urandom | wc -c && echo x > /dev/shm/a && cat /dev/shm/a"),
            "3\n5\nx\n");
  EXPECT_EQ(output("cat /proc/timer_list /proc/keys | wc -c"), "0\n");
}

TEST_F(ProcessRuntimeTest, WhatIsMadeLaterIsHiddenToo) {
  const std::string later = "/var/tmp/coracle-later-" + std::to_string(getpid());
  auto made = make_process_runtime({.data_dir = dir_, .hidden_paths = {later}}, system_clock());
  ASSERT_TRUE(made);
  runtime_ = std::move(*made);
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  std::filesystem::create_directories(later);
  std::ofstream(later + "/secret") << "made later";
  EXPECT_EQ(output("cat " + later + "/secret 2>/dev/null"), "");
  std::filesystem::remove_all(later);
}

// An overlay shows nothing of file systems mounted below its lower layer: those are bound, and what
// is to be hidden in them must not come along.
TEST_F(ProcessRuntimeTest, NothingHiddenShowsOnFileSystemsOfTheirOwn) {
  runtime_.reset();
  const std::string seen = in_child([] {
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) ||
        mount("tmpfs", "/opt", "tmpfs", 0, nullptr) != 0)
      return std::string("no mounts");
    std::filesystem::create_directories("/opt/a file system/data");
    if (mount("tmpfs", "/opt/a file system", "tmpfs", 0, nullptr) != 0) return std::string("none");
    std::filesystem::create_directories("/opt/a file system/data");
    std::ofstream("/opt/a file system/data/secret") << "secret";
    std::ofstream("/opt/a file system/key") << "key";
    std::ofstream("/opt/a file system/program") << "program";
    std::ofstream("/opt/shown") << "shown";
    auto made = make_process_runtime(
        {.data_dir = "/opt/a file system/data", .hidden_paths = {"/opt/a file system/key"}},
        system_clock());
    if (!made ||
        !(*made)->create_sandbox({.pod_uid = "p", .ns = "d", .name = "n", .hostname = "h"}))
      return std::string("no sandbox");
    ContainerSpec spec;
    spec.name = "c";
    spec.image = "coracle/host";
    spec.command = {"/bin/sleep", "1000"};
    const auto started = (*made)->start_container("p", spec);
    const std::string dir = "'/opt/a file system'";
    const auto ran = (*made)->exec(
        "p", "c",
        {"sh", "-c",
         "cd " + dir +
             "; exec 2>/dev/null; cat /opt/shown program key data/secret; ls -A data; "
             "(echo x > /opt/new) || echo -n ' read-only'"},
        kPatience);
    const auto removed = (*made)->remove_sandbox("p");
    if (!started || !ran || !removed) return std::string("failed");
    return ran->output;
  });
  EXPECT_EQ(seen, "shownprogram read-only");
}

TEST_F(ProcessRuntimeTest, EtcMayBeAFileSystemOfItsOwn) {
  runtime_.reset();
  const std::string data = dir_;
  const std::string seen = in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) ||
        mount("tmpfs", "/mnt", "tmpfs", 0, nullptr) != 0 ||
        std::system("cp -a /etc/passwd /etc/group /etc/ld.so.cache /mnt/") != 0)
      return std::string("no mounts");
    std::ofstream("/mnt/shadow") << "secret";
    std::ofstream("/mnt/marker") << "marker";
    std::filesystem::create_symlink("/run/nowhere", "/mnt/resolv.conf");
    if (mount("/mnt", "/etc", nullptr, MS_BIND, nullptr) != 0) return std::string("no bind");
    auto made = make_process_runtime({.data_dir = data}, system_clock());
    if (!made ||
        !(*made)->create_sandbox({.pod_uid = "p", .ns = "d", .name = "n", .hostname = "h"}))
      return std::string("no sandbox");
    if (!(*made)->write_etc("p", "hosts", "resolver")) return std::string("no etc");
    ContainerSpec spec;
    spec.name = "c";
    spec.image = "coracle/host";
    spec.command = {"/bin/sleep", "1000"};
    const auto started = (*made)->start_container("p", spec);
    const auto ran =
        (*made)->exec("p", "c",
                      {"sh", "-c",
                       "cat /etc/marker /etc/hosts /etc/resolv.conf; "
                       "cat /etc/shadow 2>/dev/null; echo x > /etc/new && cat /etc/new"},
                      kPatience);
    const auto removed = (*made)->remove_sandbox("p");
    return !started ? started.error().message : !ran ? ran.error().message : ran->output;
  });
  EXPECT_EQ(seen, "markerhostsresolverx\n");
}

// An agent that the kernel is to spare does not hand that on to its Pods.
TEST_F(ProcessRuntimeTest, ContainersAndCommandsHaveTheirOwnOomScore) {
  sandbox();
  ContainerSpec spec;
  spec.name = "c";
  spec.image = "coracle/host";
  spec.command = {"sleep", "1000"};
  spec.oom_score_adj = 750;
  ASSERT_TRUE(runtime_->start_container("pod-a", spec));
  EXPECT_EQ(output("cat /proc/1/oom_score_adj /proc/self/oom_score_adj"), "750\n750\n");
}

// Typing into the terminal it was given would run commands on the host.
TEST_F(ProcessRuntimeTest, NobodyTypesIntoATerminal) {
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  const auto ran =
      runtime_->exec("pod-a", "c",
                     {"python3", "-c",
                      "import os,pty,fcntl,errno\n"
                      "pid,fd=pty.fork()\n"
                      "if pid==0:\n"
                      "  try: fcntl.ioctl(0,0x5412,b'x'); os._exit(1)\n"
                      "  except OSError as e: os._exit(0 if e.errno==errno.EPERM else 2)\n"
                      "print(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))\n"},
                     kPatience);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->output, "0\n");
}

}  // namespace
}  // namespace coracle
