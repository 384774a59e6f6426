// Commands run inside containers: the runtime's exec and `lab exec --pod`.
#include <coracle/pod_exec.h>

#include "node/runtime/runtime_fixture.h"

namespace coracle {
namespace {

TEST_F(ProcessRuntimeTest, ExecHasTheContainersEnvironmentAndATimeout) {
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  auto ran =
      runtime_->exec("pod-a", "", {"sh", "-c", "echo $GREETING; echo err >&2; exit 3"}, kPatience);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->exit_code, 3);
  EXPECT_EQ(ran->output, "hello\nerr\n");
  ran = runtime_->exec("pod-a", "c", {"sh", "-c", "head -c 100000 /dev/zero"}, kPatience);
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->output.size(), 10U * 1024);
  ran = runtime_->exec("pod-a", "c", {"nothing-like-it"}, kPatience);
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->exit_code, 127);
  EXPECT_EQ(runtime_->exec("pod-a", "c", {"sleep", own_seconds(1)}, 100ms).error().code,
            Code::Timeout);
  EXPECT_TRUE(await_no_process(own_seconds(1)));
  EXPECT_EQ(runtime_->exec("pod-a", "other", {"true"}, 1s).error().code, Code::NotFound);
  EXPECT_EQ(runtime_->exec("pod-z", "c", {"true"}, 1s).error().code, Code::NotFound);
}

TEST_F(ProcessRuntimeTest, ExecEndsWithItsCommand) {
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  const auto ran =
      runtime_->exec("pod-a", "c", {"sh", "-c", "echo done; sleep 1000 & exit 5"}, kPatience);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_EQ(ran->exit_code, 5);
  EXPECT_EQ(ran->output, "done\n");
}

TEST_F(ProcessRuntimeTest, ATimeoutEndsWhatTheCommandStarted) {
  sandbox();
  ASSERT_TRUE(start({"sleep", "1000"}));
  EXPECT_EQ(
      runtime_
          ->exec("pod-a", "c",
                 {"sh", "-c", "sleep " + own_seconds(1) + " & sleep " + own_seconds(2)}, 300ms)
          .error()
          .code,
      Code::Timeout);
  for (const int number : {1, 2}) EXPECT_TRUE(await_no_process(own_seconds(number)));
}

// `coracle lab exec --pod` in a process of its own.
class PodExecTest : public ProcessRuntimeTest {
 protected:
  void SetUp() override {
    ProcessRuntimeTest::SetUp();
    before_ = signal(SIGPIPE, SIG_IGN);
    sandbox();
    ASSERT_TRUE(start({"sleep", "1000"}));
  }
  void TearDown() override {
    (void)signal(SIGPIPE, before_);
    for (const int fd : {input_, output_})
      if (fd >= 0) close(fd);
    ProcessRuntimeTest::TearDown();
  }
  void run(const std::vector<std::string>& argv) {
    int in[2], out[2];
    ASSERT_EQ(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      dup2(out[1], 2);
      const auto ended = pod_exec(dir_ + "/pods", "pod-a", "", argv);
      _exit(ended ? *ended : 250);
    }
    close(in[0]);
    close(out[1]);
    input_ = in[1];
    output_ = out[0];
  }
  std::string read_line() const {
    std::string out;
    char c = 0;
    while (::read(output_, &c, 1) == 1 && c != '\n') out += c;
    return out;
  }
  int exit_code() const {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  sighandler_t before_ = SIG_DFL;
  pid_t pid_ = 0;
  int input_ = -1, output_ = -1;
};

TEST_F(PodExecTest, HandsOnInputOutputAndExitCode) {
  run({"sh", "-c", "read word; echo $GREETING $word; hostname; exit 42"});
  ASSERT_EQ(write(input_, "there\n", 6), 6);
  EXPECT_EQ(read_line(), "hello there");
  EXPECT_EQ(read_line(), "pod-a");
  EXPECT_EQ(exit_code(), 42);
}

TEST_F(PodExecTest, SaysThatThereIsNoSuchProgram) {
  run({"no-such-program"});
  EXPECT_EQ(exit_code(), 127);
}

TEST_F(PodExecTest, TheCommandGetsItsSignals) {
  for (const auto& [signal, name] : {std::pair{SIGTERM, "TERM"}, {SIGINT, "INT"}}) {
    run({"sh", "-c",
         std::string("trap 'echo caught; exit 9' ") + name +
             "; echo ready; while :; do read x; done"});
    EXPECT_EQ(read_line(), "ready");
    ASSERT_EQ(kill(pid_, signal), 0);
    // A shell may take the signal only when it has read its line, or be gone before it is written.
    (void)!write(input_, "\n", 1);
    EXPECT_EQ(read_line(), "caught") << name;
    EXPECT_EQ(exit_code(), 9) << name;
    close(input_);
    close(output_);
  }
}

TEST_F(PodExecTest, ACommandKilledByASignalIsToldAsShellsDo) {
  run({"sh", "-c", "kill -KILL $$"});
  EXPECT_EQ(exit_code(), 137);
}

TEST_F(PodExecTest, TheCommandEndsWithItsCaller) {
  run({"sh", "-c", "echo ready; exec sleep " + own_seconds(1)});
  EXPECT_EQ(read_line(), "ready");
  ASSERT_EQ(kill(pid_, SIGKILL), 0);
  EXPECT_EQ(exit_code(), -SIGKILL);
  EXPECT_EQ(read_line(), "") << "its output ends with it";
  EXPECT_TRUE(await_no_process(own_seconds(1)));
}

TEST_F(PodExecTest, APodThatDoesNotRunIsNotFound) {
  EXPECT_EQ(pod_exec(dir_ + "/pods", "pod-z", "", {"true"}).error().code, Code::NotFound);
  EXPECT_EQ(pod_exec(dir_ + "/pods", "pod-a", "other", {"true"}).error().code, Code::NotFound);
}

}  // namespace
}  // namespace coracle
