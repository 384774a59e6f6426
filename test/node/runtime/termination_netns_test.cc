// Termination messages of real containers.
#include "node/runtime/runtime_fixture.h"

namespace coracle {
namespace {

class TerminationTest : public ProcessRuntimeTest {
 protected:
  void SetUp() override {
    ProcessRuntimeTest::SetUp();
    sandbox();
  }
  std::string message(const std::string& script, const std::string& path = "/dev/termination-log",
                      bool from_log = false) {
    ContainerSpec spec;
    spec.name = "c";
    spec.image = "coracle/host";
    spec.command = {"sh", "-c", script};
    spec.restart_count = starts_++;
    spec.termination_message_path = path;
    spec.message_from_log = from_log;
    const auto state = runtime_->start_container("pod-a", spec);
    EXPECT_TRUE(state) << state.error().message;
    if (state && !state->message.empty()) return "not started: " + state->message;
    const ContainerState end = ended();
    EXPECT_EQ(end.restart_count, spec.restart_count);
    return end.termination_message;
  }
  int starts_ = 0;
};

TEST_F(TerminationTest, IsWhatTheContainerWroteToItsFile) {
  EXPECT_EQ(message("printf done >/dev/termination-log"), "done");
  EXPECT_EQ(message("true"), "") << "every start has a file of its own";
  EXPECT_EQ(message("printf failed >/dev/termination-log; kill -KILL -1; exit 3"), "failed");
  EXPECT_EQ(message("yes x | head -c 9000 >/dev/termination-log; printf 'the end'"
                    " >>/dev/termination-log")
                .size(),
            4096U);
  EXPECT_EQ(message("ls -l /dev/termination-log | cut -c1-10 >/dev/termination-log"),
            "-rw-rw-rw-\n");
}

TEST_F(TerminationTest, ThePathIsThePodsChoice) {
  for (const char* path :
       {"/tmp/why", "/var/spool/coracle-none/deep/why", "/etc/motd", "/run/x/y", "relative"}) {
    SCOPED_TRACE(path);
    const std::string at = path[0] == '/' ? path : std::string("/") + path;
    EXPECT_EQ(message("printf here >" + at, path), "here");
    EXPECT_FALSE(std::filesystem::exists("/var/spool/coracle-none"));
  }
  EXPECT_NE(message("true", "/tmp").find("terminationMessagePath /tmp"), std::string::npos);
  EXPECT_NE(message("true", "/proc/no/such").find("not started"), std::string::npos);
}

// The way there is the container's to lay, by what the image and its path say: not out of it.
TEST_F(TerminationTest, NoPathLeadsOutOfTheContainer) {
  const std::string outside = dir_ + "/secret";
  EXPECT_EQ(message("printf x >'" + outside + "'", "/../../../../.." + outside), "x");
  EXPECT_EQ(slurp(outside), "the data directory's secret");
  EXPECT_EQ(message("readlink -f /dev/fd >/dev/termination-log; umount /dev/termination-log "
                    "2>/dev/null; rm -f /dev/termination-log 2>/dev/null; printf kept "
                    ">/dev/termination-log"),
            "kept");
}

TEST_F(TerminationTest, FallsBackToTheLogOfAFailure) {
  const std::string file = "/dev/termination-log";
  EXPECT_EQ(message("echo out; exit 1", file), "") << "not asked for";
  EXPECT_EQ(message("echo out; exit 0", file, true), "") << "no failure";
  EXPECT_EQ(message("printf mine >" + file + "; echo out; exit 1", file, true), "mine");
  EXPECT_EQ(message("echo out; exit 1", file, true), "out\n");
  EXPECT_EQ(message("echo err >&2; printf half >&2; exit 1", file, true), "err\nhalf\n");
  std::string expected;
  for (int i = 121; i <= 200; ++i) expected += std::to_string(i) + "\n";
  EXPECT_EQ(message("seq 200; exit 1", file, true), expected);
  EXPECT_EQ(message("yes 0123456 | head -n 1000; exit 1", file, true), [] {
    std::string out;
    for (int i = 0; i < 80; ++i) out += "0123456\n";
    return out;
  }());
  const std::string wide = message("head -c 50000 /dev/zero | tr '\\0' x; exit 1", file, true);
  EXPECT_EQ(wide, std::string(2047, 'x') + "\n");
}

TEST_F(TerminationTest, IsKeptForTheNextAgent) {
  EXPECT_EQ(message("printf 'for later' >/dev/termination-log; exit 9"), "for later");
  open();
  const auto all = runtime_->list();
  ASSERT_TRUE(all && all->size() == 1);
  EXPECT_EQ(all->front().containers.at(0).termination_message, "for later");
}

// A start that failed has no message of the program's, only the reason.
TEST_F(TerminationTest, AStartThatFailedTellsWhy) {
  const auto state = start({"no-such-program"});
  ASSERT_TRUE(state);
  EXPECT_EQ(state->termination_message, "");
  EXPECT_NE(state->message, "");
}

}  // namespace
}  // namespace coracle
