// The supervisor: what it costs, how it fails, and what it does not let go of.
#include "node/runtime/runtime_fixture.h"
#include "runtime/supervisor_client.h"

namespace coracle {
namespace {

TEST_F(ProcessRuntimeTest, ContainersDieWithTheirSupervisor) {
  sandbox();
  const auto started = start({"sleep", "1000"});
  ASSERT_TRUE(started);
  kill_supervisor_and_await(started->pid);
  const ContainerState state = ended();
  EXPECT_EQ(state.exit_code, 137);
  EXPECT_FALSE(runtime_->state("pod-a")->alive);
  sandbox();  // a new one in its place
  EXPECT_TRUE(runtime_->state("pod-a")->alive);
  EXPECT_TRUE(start({"sleep", "1000"}, 1));
}

// Changing its user makes the kernel forget that a process is to die with its parent.
TEST_F(ProcessRuntimeTest, ContainersOfOtherUsersDieWithTheirSupervisorToo) {
  sandbox();
  const auto started =
      start({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "1000"});
  ASSERT_TRUE(started);
  const std::string comm = "/proc/" + std::to_string(started->pid) + "/comm";
  ASSERT_TRUE(test::eventually([&] { return slurp(comm) == "sleep\n"; }));
  kill_supervisor_and_await(started->pid);
}

TEST_F(ProcessRuntimeTest, APodHasOneSupervisor) {
  sandbox();
  const auto dir = runtime::open_dir(dir_ + "/pods/pod-a");
  ASSERT_TRUE(dir);
  const runtime::Fd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const auto second =
      runtime::launch_supervisor(dir->get(), self.get(), "default/pod-a", dir_ + "/pods/pod-a");
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("has a supervisor"), std::string::npos);
  // It says so, then it ends.
  EXPECT_TRUE(test::eventually([this] { return supervisors().size() == 1; }));
  EXPECT_TRUE(start({"sleep", "1000"})) << "the first one is still heard";
}

TEST_F(ProcessRuntimeTest, ASupervisorIsSmall) {
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  ASSERT_TRUE(shell("head -c 3000000 /dev/zero | tr '\\0' 'a'; yes | head -c 3000000", 0, "pod-a",
                    "chatty"));
  ended("pod-a", "chatty");
  const auto all = supervisors();
  ASSERT_EQ(all.size(), 1U);
  std::istringstream lines(slurp("/proc/" + std::to_string(*all.begin()) + "/smaps_rollup"));
  int kilobytes = 0;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("Private_")) kilobytes += std::stoi(line.substr(line.find(':') + 1));
  EXPECT_GT(kilobytes, 0);
  EXPECT_LT(kilobytes, 1024);
}

TEST_F(ProcessRuntimeTest, AFloodOfOutputHoldsNobodyUp) {
  sandbox();
  ASSERT_TRUE(start({"yes"}, 0, "pod-a", "flood"));
  ASSERT_TRUE(shell("echo quick"));
  EXPECT_EQ(ended().exit_code, 0);
  EXPECT_NE(log().find("stdout F quick"), std::string::npos);
  ASSERT_TRUE(runtime_->signal_container("pod-a", "flood", SIGKILL));
  EXPECT_EQ(ended("pod-a", "flood").exit_code, 137);
}

// A container may hand its output to another, which then writes on after its end.
TEST_F(ProcessRuntimeTest, OutputThatOutlivesItsContainerHoldsNobodyUp) {
  sandbox();
  ASSERT_TRUE(start({"python3", "-c",
                     "import socket,os\n"
                     "s=socket.socket(socket.AF_UNIX); s.bind('\\0flood'); s.listen(1)\n"
                     "c,_=s.accept(); _,f,_,_=socket.recv_fds(c,1,1); c.close()\n"
                     "while True: os.write(f[0],b'x'*65535+b'\\n')\n"},
                    0, "pod-a", "writer"));
  ASSERT_TRUE(start({"python3", "-c",
                     "import socket,time\n"
                     "s=socket.socket(socket.AF_UNIX)\n"
                     "while True:\n"
                     "  try: s.connect('\\0flood'); break\n"
                     "  except OSError: time.sleep(0.01)\n"
                     "socket.send_fds(s,[b'x'],[1])\n"
                     "s.recv(1)\n"},
                    0, "pod-a", "giver"));
  EXPECT_EQ(ended("pod-a", "giver").exit_code, 0);
  EXPECT_TRUE(runtime_->signal_container("pod-a", "writer", SIGKILL));
  ended("pod-a", "writer");
}

}  // namespace
}  // namespace coracle
