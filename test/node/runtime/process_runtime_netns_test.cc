// The life of sandboxes and containers under the runtime "process", on the real kernel.
#include <coracle/supervisor.h>

#include "node/runtime/runtime_fixture.h"

namespace coracle {
namespace {

TEST_F(ProcessRuntimeTest, KnowsItsImages) {
  for (const char* image : {"coracle/echo", "coracle/host", "coracle/echo:1.2"})
    EXPECT_TRUE(runtime_->check_image(image)) << image;
  for (const char* image : {"nginx", "coracle/other", "coracle/echoes", ""}) {
    const auto checked = runtime_->check_image(image);
    ASSERT_FALSE(checked) << image;
    EXPECT_NE(checked.error().message.find(image), std::string::npos);
  }
  sandbox();
  EXPECT_EQ(start({}).error().code, Code::BadRequest);
}

TEST_F(ProcessRuntimeTest, KeepsExitCodesAndSignals) {
  sandbox();
  const auto first = shell("exit 7");
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->id.size(), 64U);
  ContainerState state = ended();
  EXPECT_EQ(state.exit_code, 7);
  EXPECT_EQ(state.signal, 0);
  EXPECT_EQ(state.pid, 0);
  EXPECT_GE(state.finished_at, state.started_at);
  const auto second = shell("kill -SEGV $$; sleep 100", 1);
  ASSERT_TRUE(second);
  EXPECT_NE(second->id, first->id);
  // Its first process ignores its own signals, as pid 1 does: from outside it dies.
  ASSERT_TRUE(runtime_->signal_container("pod-a", "c", SIGKILL));
  state = ended();
  EXPECT_EQ(state.restart_count, 1);
  EXPECT_EQ(state.exit_code, 137);
  EXPECT_EQ(state.signal, SIGKILL);
}

TEST_F(ProcessRuntimeTest, SaysWhyACommandCannotBeExecuted) {
  sandbox();
  const auto state = start({"no-such-program"});
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(state->status, ContainerState::Status::Exited);
  EXPECT_EQ(state->exit_code, 128);
  EXPECT_EQ(state->message, "exec: \"no-such-program\": executable file not found in $PATH");
}

TEST_F(ProcessRuntimeTest, OneContainerOfANameAtATime) {
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  EXPECT_EQ(start({"sleep", "1000"}, 1).error().code, Code::Unavailable);
  EXPECT_TRUE(start({"sleep", "1000"}, 0, "pod-a", "other"));
  EXPECT_EQ(runtime_->state("pod-a")->containers.size(), 2U);
}

TEST_F(ProcessRuntimeTest, EtcFilesFollowWhileItRuns) {
  sandbox();
  ASSERT_TRUE(runtime_->write_etc("pod-a", "10.0.0.1 one\n", "nameserver 10.0.0.53\n"));
  ASSERT_TRUE(start({"sleep", "1000"}));
  EXPECT_EQ(output("cat /etc/hosts /etc/resolv.conf"), "10.0.0.1 one\nnameserver 10.0.0.53\n");
  ASSERT_TRUE(runtime_->write_etc("pod-a", "10.0.0.2\n", ""));
  EXPECT_EQ(output("cat /etc/hosts /etc/resolv.conf"), "10.0.0.2\n");
}

std::set<std::string> files_below(const std::string& dir) {
  std::set<std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir))
    if (entry.is_regular_file()) out.insert(entry.path().filename());
  return out;
}

TEST_F(ProcessRuntimeTest, EtcFilesAreThePodsAndHaveABound) {
  sandbox();
  sandbox("pod-b");
  ASSERT_TRUE(start({"sleep", "1000"}));
  ASSERT_TRUE(start({"sleep", "1000"}, 0, "pod-a", "other"));
  ASSERT_TRUE(start({"sleep", "1000"}, 0, "pod-b", "c"));
  EXPECT_EQ(output("cat /etc/hostname; echo 10.0.0.9 mine >> /etc/hosts"), "pod-a\n");
  const auto seen = [this](const std::string& uid, const std::string& container) {
    return runtime_->exec(uid, container, {"cat", "/etc/hosts"}, kPatience)->output;
  };
  EXPECT_EQ(seen("pod-a", "other"), "10.0.0.9 mine\n");
  EXPECT_EQ(seen("pod-b", "c"), "");
  for (const char* name : {"hosts", "resolv.conf", "hostname"}) {
    const std::string file = std::string("/etc/") + name;
    EXPECT_NE(output("head -c 40000000 /dev/zero > " + file + " || echo -n full").find("full"),
              std::string::npos);
  }
  EXPECT_LE(std::stol(output("cat /etc/hosts /etc/resolv.conf /etc/hostname | wc -c")), 16 << 20);
  for (const char* name : {"hosts", "resolv.conf", "hostname"})
    EXPECT_EQ(files_below(dir_ + "/pods").count(name), 0U) << name;
  // What fills it does not keep the agent out.
  ASSERT_TRUE(runtime_->write_etc("pod-a", "10.0.0.1 one\n", "nameserver 10.0.0.53\n"));
  EXPECT_EQ(output("cat /etc/hosts /etc/resolv.conf /etc/hostname"),
            "10.0.0.1 one\nnameserver 10.0.0.53\npod-a\n");
}

TEST_F(ProcessRuntimeTest, EtcFilesGoWithTheSupervisor) {
  sandbox();
  ASSERT_TRUE(runtime_->write_etc("pod-a", "10.0.0.1 one\n", ""));
  const auto state = start({"sleep", "1000"});
  ASSERT_TRUE(state);
  open();  // another agent
  ASSERT_TRUE(runtime_->write_etc("pod-a", "10.0.0.2 two\n", ""));
  EXPECT_EQ(output("cat /etc/hosts"), "10.0.0.2 two\n");
  kill_supervisor_and_await(state->pid);
  EXPECT_EQ(runtime_->write_etc("pod-a", "10.0.0.3\n", "").error().code, Code::NotFound);
  EXPECT_EQ(runtime_->write_etc("no-pod", "10.0.0.3\n", "").error().code, Code::NotFound);
}

// The supervisor stays in the host's mount namespace; the Pod's holds nothing of the host's.
TEST_F(ProcessRuntimeTest, SupervisorsKeepNoMountsBusy) {
  sandbox();
  const auto all = supervisors();
  ASSERT_EQ(all.size(), 1U);
  const std::string process = "/proc/" + std::to_string(*all.begin());
  EXPECT_EQ(std::filesystem::read_symlink(process + "/ns/mnt"),
            std::filesystem::read_symlink("/proc/self/ns/mnt"));
  std::set<std::string> held;
  for (const auto& entry : std::filesystem::directory_iterator(process + "/fd")) {
    const std::string target = std::filesystem::read_symlink(entry.path());
    if (target.starts_with("mnt:")) held.insert(entry.path());
  }
  ASSERT_EQ(held.size(), 1U);
  const std::string mounts = in_child([&] {
    const int fd = ::open(held.begin()->c_str(), O_RDONLY | O_CLOEXEC);
    const int proc = ::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (setns(fd, CLONE_NEWNS) != 0) return std::string("not entered");
    const int file = ::openat(proc, "mountinfo", O_RDONLY | O_CLOEXEC);
    std::string text(65536, '\0');
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::read(file, text.data(), 65536))));
    return text;
  });
  EXPECT_EQ(std::count(mounts.begin(), mounts.end(), '\n'), 1) << mounts;
  EXPECT_NE(mounts.find(" - tmpfs "), std::string::npos) << mounts;
}

TEST_F(ProcessRuntimeTest, LogsHaveTimesStreamsAndLimits) {
  sandbox();
  ASSERT_TRUE(shell("echo out; echo err >&2; printf unfinished"));
  ended();
  std::istringstream lines(log());
  std::set<std::string> found;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_EQ(line[10], 'T');
    EXPECT_EQ(line.find("Z std"), 29U) << line;
    found.insert(line.substr(31));
  }
  EXPECT_EQ(found, (std::set<std::string>{"stdout F out", "stderr F err", "stdout F unfinished"}));
  ASSERT_TRUE(shell("yes 0123456789012345678901234567890123456789 | head -c 30000000", 1));
  ended();
  std::uintmax_t total = 0;
  for (const auto& file : std::filesystem::directory_iterator(dir_ + "/pods/pod-a/containers/c")) {
    if (file.path().string().find("/1.log") == std::string::npos) continue;
    EXPECT_LE(file.file_size(), 10U * 1024 * 1024);
    total += file.file_size();
  }
  EXPECT_GT(total, 10U * 1024 * 1024);
  EXPECT_NE(log(0), "") << "the log of the start before is kept";
}

TEST_F(ProcessRuntimeTest, AnotherRuntimeFindsEverythingAgain) {
  sandbox();
  const auto started = start({"sleep", "1000"});
  ASSERT_TRUE(started);
  ASSERT_TRUE(shell("exit 4", 0, "pod-a", "done"));
  ended("pod-a", "done");
  open();
  const auto all = runtime_->list();
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 1U);
  EXPECT_TRUE(all->front().alive);
  EXPECT_EQ(all->front().spec.name, "pod-a");
  ASSERT_EQ(all->front().containers.size(), 2U);
  EXPECT_EQ(all->front().containers[0], *started);
  EXPECT_EQ(all->front().containers[1].exit_code, 4);
  sandbox();  // again: nothing happens to it
  ASSERT_TRUE(runtime_->signal_container("pod-a", "c", SIGKILL));
  EXPECT_EQ(ended().exit_code, 137);
}

TEST_F(ProcessRuntimeTest, PodsOutliveAKilledAgent) {
  runtime_.reset();
  const pid_t agent = fork();
  if (agent == 0) {
    auto made = make_process_runtime({.data_dir = dir_}, system_clock());
    bool ok = made && (*made)->create_sandbox(
                          {.pod_uid = "pod-a", .ns = "d", .name = "n", .hostname = "h"});
    ContainerSpec spec;
    spec.name = "c";
    spec.image = "coracle/host";
    spec.command = {"sleep", "1000"};
    spec.env = {{"PATH", "/usr/bin:/bin"}};
    ok = ok && (*made)->start_container("pod-a", spec);
    if (!ok) _exit(1);
    (void)raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(agent, &status, 0), agent);
  ASSERT_TRUE(WIFSIGNALED(status));
  open();
  const auto all = runtime_->list();
  ASSERT_TRUE(all && all->size() == 1);
  EXPECT_TRUE(all->front().alive);
  ASSERT_EQ(all->front().containers.size(), 1U);
  EXPECT_EQ(all->front().containers[0].status, ContainerState::Status::Running);
  EXPECT_EQ(output("echo here"), "here\n");
}

TEST_F(ProcessRuntimeTest, RemovalLeavesNothing) {
  // Others mount and unmount on this machine, too.
  const auto mounts = [this] {
    std::istringstream lines(slurp("/proc/self/mountinfo"));
    std::string out;
    for (std::string line; std::getline(lines, line);)
      if (line.find(dir_) != std::string::npos) out += line + "\n";
    return out;
  };
  const std::string before = mounts();
  sandbox();
  ASSERT_TRUE(shell("sleep " + own_seconds(1) + " & sleep " + own_seconds(2) + " & setsid sleep " +
                    own_seconds(3) + " & wait"));
  ASSERT_FALSE(processes_of(dir_).empty());
  const auto netns = runtime_->network_namespace("pod-a");
  ASSERT_TRUE(netns);
  ASSERT_TRUE(runtime_->remove_sandbox("pod-a"));
  EXPECT_EQ(processes_of(dir_), std::set<pid_t>());
  for (const int number : {1, 2, 3})
    EXPECT_EQ(processes_of(own_seconds(number)), std::set<pid_t>()) << number;
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/pods/pod-a"));
  EXPECT_EQ(mounts(), before);
  EXPECT_EQ(runtime_->state("pod-a").error().code, Code::NotFound);
  EXPECT_TRUE(runtime_->remove_sandbox("pod-a"));
  // What a crash left half made.
  std::filesystem::create_directories(dir_ + "/pods/half/containers");
  ASSERT_EQ(runtime_->list()->size(), 1U);
  EXPECT_TRUE(runtime_->remove_sandbox("half"));
  EXPECT_EQ(runtime_->list()->size(), 0U);
}

TEST_F(ProcessRuntimeTest, EchoAnswersOnItsPorts) {
  sandbox();
  ContainerSpec spec;
  spec.name = "c";
  spec.image = "coracle/echo";
  spec.ports = {5000, 5001, 5000};  // one for TCP, one for UDP
  spec.env = {{"PATH", "/usr/bin:/bin"}, {"POD_NAME", "web"}};
  ASSERT_TRUE(runtime_->start_container("pod-a", spec));
  const std::string script =
      "import socket,time\n"
      "import fcntl,struct\n"
      "s=socket.socket(); fcntl.ioctl(s,0x8914,struct.pack('16sH14x',b'lo',1)); s.close()\n"  // lo
                                                                                              // up
      "deadline=time.monotonic()+60\n"
      "while True:\n"
      "  try: s=socket.create_connection(('127.0.0.1',5001),30); break\n"
      "  except ConnectionRefusedError:\n"
      "    if time.monotonic()>deadline: raise\n"
      "    time.sleep(0.01)\n"
      "s.sendall(b'GET /hostname HTTP/1.0\\r\\n\\r\\n'); d=b''\n"
      "while True:\n"
      "  x=s.recv(999)\n"
      "  if not x: break\n"
      "  d+=x\n"
      "print(d.decode().split('\\r\\n\\r\\n')[1].strip())\n"
      "s=socket.create_connection(('127.0.0.1',5000),30); s.sendall(b'plain'); "
      "print(s.recv(99).decode())\n"
      "u=socket.socket(type=socket.SOCK_DGRAM); u.settimeout(30); u.connect(('127.0.0.1',5000)); "
      "u.send(b'packet'); print(u.recv(99).decode())\n";
  // In the Pod's network namespace, with the host's rights, as loopback is down there.
  const auto netns = runtime_->network_namespace("pod-a");
  ASSERT_TRUE(netns);
  const std::string file = dir_ + "/script.py";
  std::ofstream(file) << script;
  const std::string command = "timeout 150 nsenter --net=/proc/" + std::to_string(getpid()) +
                              "/fd/" + std::to_string(netns->fd()) + " python3 " + file + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char text[1024] = {};
  const std::size_t size = fread(text, 1, sizeof(text) - 1, pipe);
  EXPECT_EQ(pclose(pipe), 0);
  EXPECT_EQ(std::string(text, size), "web\nplain\npacket\n");
}

TEST_F(ProcessRuntimeTest, EchoSaysThatAPortIsNone) {
  sandbox();
  for (const char* port : {"http", "0", "65536", "80x", "-1"}) {
    ContainerSpec spec;
    spec.name = std::string("c-") + (port[0] == '-' ? "minus" : port);
    spec.image = "coracle/echo";
    spec.env = {{"PORT", port}};
    ASSERT_TRUE(runtime_->start_container("pod-a", spec));
    EXPECT_NE(ended("pod-a", spec.name).exit_code, 0) << port;
    EXPECT_NE(log(0, spec.name).find(port), std::string::npos) << log(0, spec.name);
  }
}

}  // namespace
}  // namespace coracle

int main(int argc, char** argv) {
  if (coracle::is_supervisor(argc, argv)) return coracle::supervisor_main(argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
