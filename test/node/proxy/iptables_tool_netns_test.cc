// The tools that the rules go through: which of them is chosen, and what becomes of one that is no
// longer waited for.
#include <csignal>
#include <fstream>
#include <iterator>

#include "node/proxy/kernel_stage.h"
#include "node/proxy/proxier.h"

namespace coracle::proxy {
namespace {

// A child that ends as `end` does.
template <typename End>
pid_t child(End end) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    end();
    ::_exit(0);
  }
  return pid;
}

TEST(WaitForProcess, TellsHowItEnded) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const pid_t pid = child([&] {
    char byte = 0;
    (void)!::read(pipe[0], &byte, 1);
  });
  EXPECT_EQ(wait_for_process(pid, false), Ending::Running);
  ASSERT_EQ(::write(pipe[1], "x", 1), 1);
  EXPECT_EQ(wait_for_process(pid, true), Ending::Well);
  EXPECT_EQ(wait_for_process(child([] { ::_exit(4); }), true), Ending::Badly);
  EXPECT_EQ(wait_for_process(child([] { ::raise(SIGKILL); }), true), Ending::Badly);
  EXPECT_EQ(wait_for_process(child([] { ::raise(SIGPIPE); }), true), Ending::Well);
  for (const int fd : pipe) ::close(fd);
}

class Tools : public IptablesKernel {
 protected:
  static std::string legacy_tables() {
    std::string out;
    in_namespace(ns("node"), [&] {
      std::ifstream file("/proc/thread-self/net/ip_tables_names");
      out.assign(std::istreambuf_iterator<char>(file), {});
    });
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(Nft, Tools, ::testing::Values(IptablesVariant::Nft));

TEST_P(Tools, DetectionAndRemovalMakeNoTables) {
  EXPECT_EQ(legacy_tables(), "");
  in_namespace(ns("node"), [] {
    EXPECT_EQ(IptablesTool::detect().value().variant(), IptablesVariant::Nft);
    EXPECT_TRUE(remove_service_rules());
  });
  EXPECT_EQ(legacy_tables(), "");
  in_namespace(ns("node"), [] {
    run({"/usr/sbin/iptables-legacy", "-A", "FORWARD", "-j", "ACCEPT"});
    EXPECT_EQ(IptablesTool::detect().value().variant(), IptablesVariant::Legacy);
    EXPECT_TRUE(remove_service_rules());
  });
  EXPECT_EQ(legacy_tables(), "filter\n");
}

// The children of the calling thread.
std::vector<pid_t> children() {
  std::ifstream file("/proc/thread-self/children");
  return {std::istream_iterator<pid_t>(file), {}};
}

TEST_P(Tools, AToolThatEndsBadlyAfterwardsLeadsToAFullSync) {
  sync({web(3)});
  bool noticed = false;
  // It lives for some milliseconds after its changes are in force; should it be too quick, again.
  for (int i = 0; i < 50 && !noticed; ++i) {
    in_namespace(ns("node"), [&] {
      ASSERT_TRUE(backend_->sync({{web(1 + i % 3)}}));
      for (const pid_t pid : children()) ::kill(pid, SIGKILL);
      noticed = !backend_->intact().value();
    });
  }
  ASSERT_TRUE(noticed);
  // A full sync finds what a sync of changes does not look for.
  in_namespace(ns("node"), [] {
    run({"/usr/sbin/iptables-nft", "-t", "nat", "-N", "KUBE-SVC-STALE"});
  });
  sync({web(2)});
  EXPECT_TRUE(intact());
  EXPECT_EQ(saved().find("KUBE-SVC-STALE"), std::string::npos);
}

}  // namespace
}  // namespace coracle::proxy
