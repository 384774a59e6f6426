// Volumes in containers on the real kernel: who sees what, what lasts how long, what stays inside.
#include <sys/mount.h>
#include <sys/stat.h>

#include <regex>

#include "node/runtime/runtime_fixture.h"

namespace coracle {
namespace {

namespace fs = std::filesystem;
using Kind = Volume::Kind;

class VolumesTest : public ProcessRuntimeTest {
 protected:
  void SetUp() override {
    ProcessRuntimeTest::SetUp();
    host_ = "/var/tmp/coracle-volumes-test-" + std::to_string(getpid());
    fs::create_directories(host_);
  }
  void TearDown() override {
    ProcessRuntimeTest::TearDown();
    std::error_code error;
    fs::remove_all(host_, error);
  }
  void with(std::vector<Volume> volumes) {
    for (const Volume& v : volumes) {
      const auto ready = runtime_->prepare_volume("pod-a", v);
      ASSERT_TRUE(ready) << ready.error().message;
    }
    const auto made = runtime_->create_sandbox({.pod_uid = "pod-a",
                                                .ns = "default",
                                                .name = "pod-a",
                                                .hostname = "pod-a",
                                                .host_network = false,
                                                .volumes = std::move(volumes)});
    ASSERT_TRUE(made) << made.error().message;
  }
  Result<ContainerState> mounted(const std::vector<VolumeMount>& mounts, int restart = 0,
                                 const std::string& name = "c") {
    ContainerSpec spec;
    spec.name = name;
    spec.image = "coracle/host";
    spec.command = {"sleep", "100000"};
    spec.env = {{"PATH", "/usr/bin:/bin"}};
    spec.restart_count = restart;
    spec.mounts = mounts;
    return runtime_->start_container("pod-a", spec);
  }
  // Starts it and expects it to run.
  void run(const std::vector<VolumeMount>& mounts, int restart = 0, const std::string& name = "c") {
    const auto state = mounted(mounts, restart, name);
    ASSERT_TRUE(state) << state.error().message;
    ASSERT_EQ(state->message, "");
  }
  void stop(const std::string& name = "c") {
    ASSERT_TRUE(runtime_->signal_container("pod-a", name, SIGKILL));
    (void)ended("pod-a", name);
  }
  std::string in(const std::string& name, const std::string& script) {
    const auto ran = runtime_->exec("pod-a", name, {"sh", "-c", script}, kPatience);
    EXPECT_TRUE(ran) << ran.error().message;
    return ran ? ran->output : "";
  }
  void write(const VolumeFiles& files, const std::string& volume = "files") {
    const auto done = runtime_->write_volume("pod-a", volume, files);
    ASSERT_TRUE(done) << done.error().message;
  }
  std::string disk(const std::string& volume) const { return dir_ + "/volumes/pod-a/" + volume; }

  std::string host_;
};

TEST_F(VolumesTest, ContainersShareADirectoryThatOutlivesThem) {
  with({{.name = "data"}});
  run({{.volume = "data", .target = "/opt/made/for/it"}});
  run({{.volume = "data", .target = "/data/"}}, 0, "other");
  EXPECT_EQ(output("umask 0; stat -c '%a %u %g' /opt/made/for/it; echo one > /opt/made/for/it/a"),
            "777 0 0\n");
  EXPECT_EQ(in("other", "cat /data/a"), "one\n");
  stop();
  run({{.volume = "data", .target = "/data"}}, 1);
  EXPECT_EQ(output("cat /data/a"), "one\n");
  // Neither the agent's end nor the sandbox's takes it away, only the Pod's.
  open();
  EXPECT_EQ(output("cat /data/a"), "one\n");
  ASSERT_TRUE(runtime_->reset_sandbox("pod-a"));
  with({{.name = "data"}});
  run({{.volume = "data", .target = "/data"}});
  EXPECT_EQ(output("cat /data/a"), "one\n");
  ASSERT_TRUE(runtime_->remove_sandbox("pod-a"));
  EXPECT_FALSE(fs::exists(dir_ + "/volumes/pod-a"));
  EXPECT_FALSE(fs::exists(dir_ + "/pods/pod-a"));
}

TEST_F(VolumesTest, WhatHasOnlyVolumesIsListedAndRemoved) {
  ASSERT_TRUE(runtime_->prepare_volume("pod-a", {.name = "data"}));
  ASSERT_TRUE(is_not_found(runtime_->state("pod-a").error()));
  const auto all = runtime_->list();
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 1U);
  EXPECT_EQ(all->front().spec.pod_uid, "pod-a");
  EXPECT_FALSE(all->front().alive);
  ASSERT_TRUE(runtime_->remove_sandbox("pod-a"));
  EXPECT_TRUE(runtime_->list()->empty());
}

TEST_F(VolumesTest, MemoryHasItsSizeAndShowsNowhereElse) {
  with({{.name = "fast", .kind = Kind::Memory, .size = 1U << 20U}});
  run({{.volume = "fast", .target = "/dev/shm"}});
  EXPECT_EQ(output("stat -f -c %T /dev/shm; stat -c %a /dev/shm"), "tmpfs\n1777\n");
  EXPECT_EQ(
      output("head -c 2000000 /dev/zero > /dev/shm/big 2>/dev/null || stat -c %s /dev/shm/big"),
      "1048576\n");
  EXPECT_EQ(slurp("/proc/self/mountinfo").find("pod-a"), std::string::npos);
  stop();
  run({{.volume = "fast", .target = "/cache"}}, 1);
  EXPECT_EQ(output("stat -c %s /cache/big"), "1048576\n");
}

TEST_F(VolumesTest, AGroupOwnsVolumes) {
  with({{.name = "data", .group = 2000},
        {.name = "fast", .kind = Kind::Memory, .group = 2000},
        {.name = "files", .kind = Kind::Memory, .group = 2000}});
  write({{"a", {"x", 0600}}, {"d/b", {"y", 0640}}});
  run({{.volume = "data", .target = "/data"},
       {.volume = "fast", .target = "/fast"},
       {.volume = "files", .target = "/files", .read_only = true}});
  EXPECT_EQ(output("stat -c '%a %g' /data /fast"), "2777 2000\n3777 2000\n");
  EXPECT_EQ(output("touch /data/new; stat -c %g /data/new"), "2000\n");
  EXPECT_EQ(output("stat -L -c '%a %g' /files/a /files/d/b /files/d"),
            "640 2000\n640 2000\n2755 2000\n");
}

TEST_F(VolumesTest, FilesAreReadOnlyAndReplacedInOneStep) {
  with({{.name = "files", .kind = Kind::Memory}});
  EXPECT_FALSE(runtime_->volume_written("pod-a", "files"));
  write({{"a", {"one", 0644}}, {"gone", {"x", 0400}}, {"d/e/f", {"deep", 0755}}});
  EXPECT_TRUE(runtime_->volume_written("pod-a", "files"));
  run({{.volume = "files", .target = "/etc/app", .read_only = true},
       {.volume = "files", .target = "/single", .sub_path = "a", .read_only = true}});
  EXPECT_EQ(output("cat /etc/app/a /etc/app/d/e/f /single; cd /etc/app; ls; readlink a ..data | "
                   "sed 's/[0-9].*/N/'; stat -L -c %a a gone d/e/f"),
            "onedeeponea\nd\ngone\n..data/a\n..N\n644\n400\n755\n");
  EXPECT_EQ(output("(echo x > /etc/app/a) 2>&1 | grep -o Read-only; rm /etc/app/a 2>&1 | "
                   "grep -o Read-only; (echo x > /single) 2>&1 | grep -o Read-only"),
            "Read-only\nRead-only\nRead-only\n");
  const std::string before = output("readlink /etc/app/..data");
  write({{"a", {"one", 0644}}, {"gone", {"x", 0400}}, {"d/e/f", {"deep", 0755}}});
  EXPECT_EQ(output("readlink /etc/app/..data"), before) << "the same is not written again";
  // By another agent, too.
  open();
  write({{"a", {"two", 0600}}, {"new", {"n", 0644}}});
  EXPECT_NE(output("readlink /etc/app/..data"), before);
  EXPECT_EQ(
      output("cat /etc/app/a; stat -L -c %a /etc/app/a; ls -A /etc/app | grep -vc '^[.][.]2'"),
      "two600\n3\n");
  EXPECT_EQ(output("ls -A /etc/app | grep -c '^[.][.]2'"), "1\n") << "earlier contents are gone";
  EXPECT_EQ(output("cat /single"), "one") << "a file by itself does not follow";
  EXPECT_TRUE(is_not_found(runtime_->write_volume("pod-a", "other", {}).error()));
}

// A reader in a container never meets half of an update, nor a name that is missing.
TEST_F(VolumesTest, AnUpdateIsSeenWholeOrNotAtAll) {
  with({{.name = "files", .kind = Kind::Memory}, {.name = "data"}});
  write({{"a", {"0", 0644}}, {"b", {"0", 0644}}});
  run({{.volume = "files", .target = "/files", .read_only = true},
       {.volume = "data", .target = "/data"}});
  EXPECT_EQ(
      output(
          "cd /data; (while [ ! -e stop ]; do d=$(readlink /files/..data); "
          "a=$(cat /files/$d/a 2>/dev/null) && b=$(cat /files/$d/b 2>/dev/null) && "
          "{ [ \"$a\" = \"$b\" ] || echo torn >> bad; }; [ -L /files/a ] || echo missing >> bad; "
          "echo >> turns; done; touch done) >/dev/null 2>&1 &"),
      "");
  for (int i = 1; i <= 200; ++i)
    write({{"a", {std::to_string(i), 0644}}, {"b", {std::to_string(i), 0644}}});
  ASSERT_TRUE(test::eventually([&] { return fs::exists(disk("data") + "/turns"); }));
  std::ofstream(disk("data") + "/stop") << "";
  ASSERT_TRUE(test::eventually([&] { return fs::exists(disk("data") + "/done"); }));
  EXPECT_EQ(slurp(disk("data") + "/bad"), "");
}

TEST_F(VolumesTest, SubPathsAreMadeAndStayInTheirVolume) {
  with({{.name = "data"}, {.name = "host", .kind = Kind::Host, .path = host_}});
  run({{.volume = "data", .target = "/one", .sub_path = "a/b"},
       {.volume = "data", .target = "/all"}});
  EXPECT_EQ(output("echo x > /one/f; cat /all/a/b/f; stat -c %a /all/a /all/a/b"), "x\n777\n777\n");
  // What a container has made of its volume meets the next one.
  EXPECT_EQ(output("cd /all; ln -s /etc out; ln -s ../../.. up; ln -s a in; "
                   "ln -s /proc/self/root magic; mkdir d; ln -s /etc d/e"),
            "");
  for (const char* path :
       {"out", "up", "up/etc", "out/passwd", "magic", "magic/etc", "d/e/x", "up/new", "../data"}) {
    SCOPED_TRACE(path);
    const auto state =
        mounted({{.volume = "data", .target = "/x", .sub_path = path}}, 0, "escapes");
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_EQ(state->status, ContainerState::Status::Exited);
    EXPECT_NE(state->message.find("leads out of its volume"), std::string::npos) << state->message;
  }
  run({{.volume = "data", .target = "/x", .sub_path = "in/b"}}, 0, "inside");
  EXPECT_EQ(in("inside", "cat /x/f"), "x\n");
  EXPECT_FALSE(fs::exists(fs::path(dir_) / "volumes/pod-a/new"));
}

TEST_F(VolumesTest, TargetsStayInTheContainer) {
  with({{.name = "data"}});
  run({{.volume = "data", .target = "/data"}});
  EXPECT_EQ(output("ln -s ../../../../../../../../var/tmp /data/up"), "");
  const std::string leaf = "coracle-escape-" + std::to_string(getpid());
  run({{.volume = "data", .target = "/data"}, {.volume = "data", .target = "/data/up/" + leaf}}, 0,
      "deeper");
  EXPECT_FALSE(fs::exists("/var/tmp/" + leaf));
  EXPECT_EQ(in("deeper", "ls -A /var/tmp/" + leaf), "up\n");
  for (const char* target : {"/proc/sys", "/proc/1", "/proc", "/"}) {
    SCOPED_TRACE(target);
    const auto state = mounted({{.volume = "data", .target = target}}, 0, "bad");
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_EQ(state->status, ContainerState::Status::Exited);
    EXPECT_NE(state->message, "");
  }
  const auto unknown = mounted({{.volume = "none", .target = "/x"}}, 0, "unknown");
  EXPECT_FALSE(unknown);
}

// The longer target comes later, whatever the order they are given in; a file goes over a file.
TEST_F(VolumesTest, MountsLieInEachOther) {
  with({{.name = "outer"}, {.name = "inner"}, {.name = "files", .kind = Kind::Memory}});
  write({{"hosts", {"1.2.3.4 x\n", 0644}}});
  run({{.volume = "inner", .target = "/srv/data/inner"},
       {.volume = "outer", .target = "/srv/data"},
       {.volume = "files", .target = "/etc/hosts", .sub_path = "hosts", .read_only = true},
       {.volume = "inner", .target = "relative"}});
  EXPECT_EQ(output("echo i > /srv/data/inner/f; echo o > /srv/data/f; cat /etc/hosts /relative/f"),
            "1.2.3.4 x\ni\n");
  EXPECT_EQ(slurp(disk("inner") + "/f"), "i\n");
  EXPECT_EQ(slurp(disk("outer") + "/f"), "o\n");
}

TEST_F(VolumesTest, HostPathTypes) {
  std::ofstream(host_ + "/file") << "x";
  struct Case {
    const char *path, *type, *error;
  };
  for (const Case& c :
       {Case{"", "", ""}, Case{"/made", "", ""}, Case{"/dir/deep", "DirectoryOrCreate", ""},
        Case{"/dir", "Directory", ""}, Case{"/file", "File", ""}, Case{"/new", "FileOrCreate", ""},
        Case{"/file", "Directory", "is not a directory"},
        Case{"/file", "DirectoryOrCreate", "is not a directory"},
        Case{"/none", "Directory", "is not a directory"}, Case{"/none", "File", "is not a file"},
        Case{"/dir", "FileOrCreate", "is not a file"},
        Case{"/file", "Socket", "is not a socket file"},
        Case{"/file", "CharDevice", "is not a character device"},
        Case{"/file", "BlockDevice", "is not a block device"},
        Case{"/none/x", "FileOrCreate", "No such file"}}) {
    SCOPED_TRACE(std::string(c.path) + " " + c.type);
    const auto done = runtime_->prepare_volume(
        "pod-a", {.name = "h", .kind = Kind::Host, .path = host_ + c.path, .type = c.type});
    EXPECT_EQ(bool(done), *c.error == '\0');
    if (!done) {
      EXPECT_NE(done.error().message.find(c.error), std::string::npos) << done.error().message;
    }
  }
  EXPECT_TRUE(fs::is_directory(host_ + "/dir/deep"));
  EXPECT_TRUE(fs::is_directory(host_ + "/made"));
  EXPECT_TRUE(fs::is_regular_file(host_ + "/new"));
  EXPECT_FALSE(fs::exists(host_ + "/none"));
  EXPECT_TRUE(runtime_->prepare_volume(
      "pod-a", {.name = "h", .kind = Kind::Host, .path = "/dev/null", .type = "CharDevice"}));
}

TEST_F(VolumesTest, HostPathsAreTheNodesOwn) {
  std::ofstream(host_ + "/file") << "from the node\n";
  with({{.name = "rw", .kind = Kind::Host, .path = host_}});
  run({{.volume = "rw", .target = "/rw"},
       {.volume = "rw", .target = "/ro", .read_only = true},
       {.volume = "rw", .target = "/one", .sub_path = "file", .read_only = true}});
  EXPECT_EQ(output("cat /rw/file /one; echo new > /rw/new; cat /ro/new; (echo x > /ro/y) 2>&1 | "
                   "grep -o Read-only; echo x 2>/dev/null >/one || echo kept"),
            "from the node\nfrom the node\nnew\nRead-only\nkept\n");
  EXPECT_EQ(slurp(host_ + "/new"), "new\n");
  // A device file made there is dead, and a set-user bit has no effect.
  EXPECT_EQ(output("mknod /rw/disk c 1 3 && cat /rw/disk 2>&1 | grep -o 'Permission denied'"),
            "Permission denied\n");
}

TEST_F(VolumesTest, TheAgentsDataShowsInNoHostPath) {
  const std::string above = fs::path(dir_).parent_path();
  fs::create_symlink(dir_, host_ + "/link");
  with({{.name = "root", .kind = Kind::Host, .path = "/"},
        {.name = "above", .kind = Kind::Host, .path = above},
        {.name = "data", .kind = Kind::Host, .path = dir_},
        {.name = "below", .kind = Kind::Host, .path = dir_ + "/pods"},
        {.name = "link", .kind = Kind::Host, .path = host_ + "/link"}});
  run({{.volume = "root", .target = "/host"}, {.volume = "above", .target = "/above"}});
  EXPECT_EQ(output("ls -A /host" + dir_ +
                   "; ls -A /above/*; ls -A /host/var/lib/coracle "
                   "2>/dev/null; ls -d /host/etc"),
            "/host/etc\n");
  for (const char* volume : {"data", "below", "link"}) {
    const auto state = mounted({{.volume = volume, .target = "/x"}}, 0, "thief");
    ASSERT_TRUE(state);
    EXPECT_NE(state->message.find("no Pod may have it"), std::string::npos) << state->message;
  }
}

// kill -9 at any moment leaves nothing that remove_sandbox does not find.
TEST_F(VolumesTest, NothingIsLeftWhenTheSupervisorIsKilled) {
  with({{.name = "data"}, {.name = "files", .kind = Kind::Memory}});
  write({{"a", {"one", 0644}}});
  run({{.volume = "data", .target = "/data"}, {.volume = "files", .target = "/files"}});
  output("echo kept > /data/f");
  kill_supervisor_and_await(runtime_->state("pod-a")->containers[0].pid);
  EXPECT_TRUE(is_not_found(runtime_->write_volume("pod-a", "files", {}).error()));
  ASSERT_TRUE(runtime_->reset_sandbox("pod-a"));
  EXPECT_EQ(slurp(disk("data") + "/f"), "kept\n");
  with({{.name = "data"}, {.name = "files", .kind = Kind::Memory}});
  EXPECT_FALSE(runtime_->volume_written("pod-a", "files"));
  ASSERT_TRUE(runtime_->remove_sandbox("pod-a"));
  EXPECT_TRUE(fs::is_empty(dir_ + "/volumes"));
  EXPECT_TRUE(fs::is_empty(dir_ + "/pods"));
  EXPECT_EQ(slurp("/proc/self/mountinfo").find(dir_), std::string::npos);
}

}  // namespace
}  // namespace coracle
