// Lifecycle hooks as they are run: HTTP servers that answer, fail or stay silent; commands.
#include "node/pods/hook_runner.h"

#include <future>

#include "pod_manager_fixture.h"
#include "support/tcp_server.h"

namespace coracle::pods {
namespace {

using test::Closed;
using test::Server;
using When = HookJob::When;

class HookRunnerTest : public testing::Test {
 protected:
  HookJob job(When when, Hook hook) {
    HookJob out;
    out.pod_uid = "u1";
    out.container = "c";
    out.container_id = "id-c";
    out.when = when;
    out.hook = std::move(hook);
    out.ip = *Ip::parse("127.0.0.1");
    out.timeout = std::chrono::seconds(60);
    out.about = {"v1", "Pod", "default", "p", "u1", "spec.containers{c}"};
    return out;
  }
  HookJob http(When when, std::int64_t port) {
    Hook hook = decode_hook(
        {{"lifecycle",
          {{"preStop",
            {{"httpGet",
              {{"path", "/bye?x=1"},
               {"port", "web"},
               {"httpHeaders", Json::array({{{"name", "X-Why"}, {"value", "end"}}})}}}}}}}},
        "preStop");
    HookJob out = job(when, std::move(hook));
    out.port = port;
    return out;
  }
  HookJob command(When when) {
    Hook hook;
    hook.kind = Hook::Kind::Exec;
    hook.action.command = {"drain"};
    return job(when, std::move(hook));
  }
  // How it ended.
  HookRun run(HookRunner& runner, HookJob what) {
    std::promise<std::string> done;
    runner.on_done([&](const std::string& uid) { done.set_value(uid); });
    const When when = what.when;
    runner.start(std::move(what));
    EXPECT_EQ(done.get_future().get(), "u1");
    PodMemory memory = waiting();
    runner.note("u1", memory);
    const ContainerMemory& own = memory.containers["c"];
    return when == When::PreStop ? *own.pre_stop : *own.post_start;
  }
  bool succeeds(HookJob what) {
    HookRunner runner(runtime_, events_);
    const HookRun ended = run(runner, std::move(what));
    EXPECT_TRUE(ended.done);
    return ended.success;
  }
  static PodMemory waiting() {
    PodMemory memory;
    memory.containers["c"].pre_stop = memory.containers["c"].post_start =
        HookRun{"id-c", false, false, {}};
    return memory;
  }
  // "TYPE REASON MESSAGE FIELD" of every Event.
  std::set<std::string> events() {
    events_.flush();
    std::set<std::string> out;
    const auto list = client_->list(resources::kEvents, {});
    for (const Object& e : list->items)
      out.insert(json_string(e.json(), {"type"}) + " " + json_string(e.json(), {"reason"}) + " " +
                 json_string(e.json(), {"message"}) + " " +
                 json_string(e.json(), {"involvedObject", "fieldPath"}));
    return out;
  }
  const std::set<std::string> kPreStopFailed = {
      "Warning FailedPreStopHook PreStopHook failed spec.containers{c}"};
  const std::set<std::string> kPostStartFailed = {
      "Warning FailedPostStartHook PostStartHook failed spec.containers{c}"};

  test::ManualClock clock_;
  test::RegistryClient client_{clock_};
  test::FakeRuntime runtime_{clock_};
  EventRecorder events_{*client_, clock_, "kubelet", "n1"};
};

TEST_F(HookRunnerTest, AskAServer) {
  Server server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(succeeds(http(When::PreStop, server.port())));
  const std::string request = server.last_request();
  EXPECT_TRUE(request.starts_with("GET /bye?x=1 HTTP/1.1\r\n")) << request;
  for (const std::string& header :
       {"Host: 127.0.0.1:" + std::to_string(server.port()), std::string("X-Why: end"),
        std::string("User-Agent: kube-lifecycle/1.33")})
    EXPECT_NE(request.find("\r\n" + header + "\r\n"), std::string::npos) << request;
  EXPECT_EQ(events(), std::set<std::string>{});
}

TEST_F(HookRunnerTest, AnyAnswerIsGood) {
  Server server("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(succeeds(http(When::PostStart, server.port())));
  EXPECT_EQ(events(), std::set<std::string>{});
}

TEST_F(HookRunnerTest, NoAnswerIsAFailure) {
  Closed closed;
  EXPECT_FALSE(succeeds(http(When::PostStart, closed.port())));
  EXPECT_EQ(events(), kPostStartFailed);
}

TEST_F(HookRunnerTest, AnAnswerThatIsNoneIsAFailure) {
  Server server("SSH-2.0-what\r\n");
  EXPECT_FALSE(succeeds(http(When::PreStop, server.port())));
  EXPECT_EQ(events(), kPreStopFailed);
}

TEST_F(HookRunnerTest, SilenceIsAFailureInTheEnd) {
  Server server("");
  HookJob what = http(When::PreStop, server.port());
  what.timeout = std::chrono::seconds(1);
  EXPECT_FALSE(succeeds(std::move(what)));
  EXPECT_EQ(events(), kPreStopFailed);
}

TEST_F(HookRunnerTest, APortThatTheContainerHasNotIsAFailure) {
  EXPECT_FALSE(succeeds(http(When::PreStop, 0)));
  EXPECT_EQ(events(), kPreStopFailed);
}

TEST_F(HookRunnerTest, Commands) {
  EXPECT_TRUE(succeeds(command(When::PostStart)));
  EXPECT_EQ(events(), std::set<std::string>{});
  EXPECT_EQ(runtime_.read(runtime_.commands), std::set<std::string>{"drain"});
  // What they print may be secret: it is in no Event.
  runtime_.change([](test::FakeRuntime& runtime) { runtime.exec_exit["c"] = 3; });
  EXPECT_FALSE(succeeds(command(When::PostStart)));
  EXPECT_EQ(events(), kPostStartFailed);
}

TEST_F(HookRunnerTest, AFailedCommandBeforeTheEnd) {
  runtime_.change([](test::FakeRuntime& runtime) { runtime.exec_exit["c"] = 137; });
  EXPECT_FALSE(succeeds(command(When::PreStop)));
  EXPECT_EQ(events(), kPreStopFailed);
}

// The next agent runs it again: nothing is said of it now.
TEST_F(HookRunnerTest, StoppingEndsOneThatWaits) {
  Server server("");
  HookRunner runner(runtime_, events_);
  runner.start(http(When::PreStop, server.port()));
  ASSERT_TRUE(test::eventually([&] { return server.connections() == 1; }));
  runner.stop();
  PodMemory memory = waiting();
  runner.note("u1", memory);
  EXPECT_FALSE(memory.containers["c"].pre_stop->done);
  EXPECT_EQ(events(), std::set<std::string>{});
}

}  // namespace
}  // namespace coracle::pods
