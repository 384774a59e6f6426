#include "node/pods/prober.h"

#include <future>
#include <set>

#include "node/pods/pod_queue.h"
#include "scene.h"
#include "support/eventually.h"
#include "support/tcp_server.h"

namespace coracle::pods {
namespace {

using test::Closed;
using test::Server;

ProbeTarget target(const std::string& container, Probe::Kind kind, std::int64_t port) {
  ProbeTarget out;
  out.container = container;
  out.container_id = "id-" + container;
  out.probe.kind = kind;
  out.probe.path = "/healthz?x=1";
  out.probe.failure_threshold = 1;
  out.probe.timeout_seconds = 60;
  out.ip = *Ip::parse("127.0.0.1");
  out.port = port;
  return out;
}

// The result of one network probe.
ProbeResult probe_once(const ProbeTarget& what) {
  NetProbes probes;
  probes.start(1, what);
  for (int i = 0; i < 1000; ++i) {
    const auto done = probes.wait(60s);
    if (!done.empty()) return done.front().second;
  }
  return {false, "it never ended"};
}

TEST(NetProbes, JudgeHttpByItsStatus) {
  struct Case {
    const char *name, *answer;
    bool success;
    const char* message;
  };
  for (const Case& c :
       {Case{"ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, ""},
        Case{"no content", "HTTP/1.1 204 No Content\r\n\r\n", true, ""},
        Case{"elsewhere", "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n", true, ""},
        Case{"broken", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", false,
             "HTTP probe failed with statuscode: 500"},
        Case{"missing", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", false,
             "HTTP probe failed with statuscode: 404"}}) {
    SCOPED_TRACE(c.name);
    Server server(c.answer);
    const auto result = probe_once(target("c", Probe::Kind::HttpGet, server.port()));
    EXPECT_EQ(result.success, c.success);
    EXPECT_EQ(result.message, c.message);
  }
}

TEST(NetProbes, SendWhatTheKubeletSends) {
  Server server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  ProbeTarget what = target("c", Probe::Kind::HttpGet, server.port());
  what.probe.http_headers = {{"X-Probe", "yes"}, {"Host", "example.com"}};
  EXPECT_TRUE(probe_once(what).success);
  const std::string request = server.last_request();
  EXPECT_EQ(request.substr(0, request.find("\r\n")), "GET /healthz?x=1 HTTP/1.1");
  EXPECT_NE(request.find("User-Agent: kube-probe/"), std::string::npos);
  EXPECT_NE(request.find("X-Probe: yes\r\n"), std::string::npos);
  EXPECT_NE(request.find("Host: example.com\r\n"), std::string::npos);
  EXPECT_NE(request.find("Connection: close\r\n"), std::string::npos);
}

TEST(NetProbes, TellWhyNothingAnswered) {
  Server silent("");
  const Closed nobody;
  const std::int64_t closed = nobody.port();
  const std::string at = "127.0.0.1:" + std::to_string(closed);
  EXPECT_TRUE(probe_once(target("c", Probe::Kind::TcpSocket, silent.port())).success);
  EXPECT_EQ(probe_once(target("c", Probe::Kind::TcpSocket, closed)).message,
            "dial tcp " + at + ": connect: connection refused");
  EXPECT_EQ(
      probe_once(target("c", Probe::Kind::HttpGet, closed)).message,
      "Get \"http://" + at + "/healthz?x=1\": dial tcp " + at + ": connect: connection refused");
  ProbeTarget impatient = target("c", Probe::Kind::HttpGet, silent.port());
  impatient.probe.timeout_seconds = 1;
  const auto timed_out = probe_once(impatient);
  EXPECT_FALSE(timed_out.success);
  EXPECT_NE(timed_out.message.find("context deadline exceeded"), std::string::npos);
}

TEST(ProbeTracker, CountsInARow) {
  ProbeTarget what = target("c", Probe::Kind::TcpSocket, 80);
  what.probe.success_threshold = 2;
  what.probe.failure_threshold = 3;
  ProbeTracker tracker(what);
  struct Step {
    bool success, changes;
    Verdict verdict;
  };
  for (const Step& step :
       {Step{true, false, Verdict::Unknown}, Step{false, false, Verdict::Unknown},
        Step{true, false, Verdict::Unknown}, Step{true, true, Verdict::Success},
        Step{false, false, Verdict::Success}, Step{false, false, Verdict::Success},
        Step{true, false, Verdict::Success}, Step{false, false, Verdict::Success},
        Step{false, false, Verdict::Success}, Step{false, true, Verdict::Failure}}) {
    EXPECT_EQ(tracker.note(step.success, what.probe), step.changes);
    EXPECT_EQ(tracker.verdict(), step.verdict);
  }
}

TEST(ProbeTracker, StartsByItsKind) {
  ProbeTarget what;
  EXPECT_EQ(ProbeTracker(what).verdict(), Verdict::Unknown);
  what.assumed = true;
  EXPECT_EQ(ProbeTracker(what).verdict(), Verdict::Success);
  what.assumed = false;
  what.kind = ProbeKind::Liveness;
  EXPECT_EQ(ProbeTracker(what).verdict(), Verdict::Success);
}

TEST(ProbePort, IsANumberOrAName) {
  Container container;
  container.ports = {{"web", 8080, 0, "TCP"}};
  Probe probe;
  probe.port = 81;
  EXPECT_EQ(probe_port(probe, container), 81);
  probe.port_name = "web";
  EXPECT_EQ(probe_port(probe, container), 8080);
  probe.port_name = "9090";
  EXPECT_EQ(probe_port(probe, container), 9090);
  probe.port_name = "nobody";
  EXPECT_EQ(probe_port(probe, container), 0);
}

class ProberTest : public testing::Test {
 protected:
  void start(Prober::Exec exec = {}) {
    prober_ = std::make_unique<Prober>(
        system_clock(), std::move(exec),
        Prober::Listeners{
            [this](const std::string& uid) { queue_.mark(uid); },
            [this](const std::string&, const ProbeTarget& what, const ProbeResult& result) {
              const std::lock_guard lock(mutex_);
              failures_[what.container] = result.message;
            }});
    prober_->start();
  }
  // Waits until the Pod's outcomes satisfy `done`; each verdict wakes it.
  bool wait(const std::string& uid, const std::function<bool(const ProbeOutcomes&)>& done) {
    for (int i = 0; i < 50; ++i) {
      if (done(prober_->outcomes(uid))) return true;
      queue_.mark_at("time is over", std::chrono::steady_clock::now() + 60s);
      const auto woken = queue_.take();
      if (!woken || *woken == "time is over") return false;
      queue_.done(*woken);
    }
    return false;
  }
  PodQueue queue_{system_clock()};
  std::mutex mutex_;
  std::map<std::string, std::string> failures_;
  std::unique_ptr<Prober> prober_;
};

TEST_F(ProberTest, ASilentServerDelaysNobodyElse) {
  Server silent(""), good("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  start();
  for (int i = 0; i < 20; ++i) {
    ProbeTarget what = target("slow", Probe::Kind::HttpGet, silent.port());
    what.probe.timeout_seconds = 600;
    prober_->set("slow-" + std::to_string(i), {what});
  }
  prober_->set("u", {target("c", Probe::Kind::HttpGet, good.port())});
  EXPECT_TRUE(wait("u", [](const ProbeOutcomes& outcomes) {
    return outcomes.at("c").readiness == Verdict::Success;
  }));
  EXPECT_EQ(prober_->outcomes("slow-1").at("slow").readiness, Verdict::Unknown);
}

TEST_F(ProberTest, SlowCommandsRunSideBySide) {
  std::promise<void> all_there;
  std::mutex mutex;
  int there = 0;
  const auto everybody = all_there.get_future().share();
  start([&](const std::string&, const ProbeTarget&) -> std::optional<ProbeResult> {
    {
      const std::lock_guard lock(mutex);
      if (++there == 5) all_there.set_value();
    }
    // Each waits for the other four.
    const bool met = everybody.wait_for(60s) == std::future_status::ready;
    return ProbeResult{met, "alone"};
  });
  std::vector<ProbeTarget> targets;
  for (const char* name : {"a", "b", "c", "d", "e"})
    targets.push_back(target(name, Probe::Kind::Exec, 0));
  prober_->set("u", targets);
  EXPECT_TRUE(wait("u", [](const ProbeOutcomes& outcomes) {
    return std::all_of(outcomes.begin(), outcomes.end(),
                       [](const auto& o) { return o.second.readiness == Verdict::Success; });
  }));
}

TEST_F(ProberTest, TellsFailuresAndForgetsWhatIsRemoved) {
  start([](const std::string&, const ProbeTarget&) { return ProbeResult{false, "not yet"}; });
  ProbeTarget nowhere = target("nowhere", Probe::Kind::TcpSocket, 0);
  nowhere.probe.port_name = "web";
  prober_->set("u", {target("c", Probe::Kind::Exec, 0), nowhere});
  EXPECT_TRUE(wait("u", [](const ProbeOutcomes& outcomes) {
    return outcomes.at("c").readiness == Verdict::Failure;
  }));
  EXPECT_TRUE(test::eventually([this] {
    const std::lock_guard lock(mutex_);
    return failures_["c"] == "not yet" &&
           failures_["nowhere"] == "the container has no port \"web\"";
  }));
  // What could not be asked tells nothing of the container.
  EXPECT_EQ(prober_->outcomes("u").at("nowhere").readiness, Verdict::Unknown);
  // The same probe keeps its verdict, another container's starts anew.
  ProbeTarget other = target("c", Probe::Kind::Exec, 0);
  prober_->set("u", {other});
  EXPECT_EQ(prober_->outcomes("u").at("c").readiness, Verdict::Failure);
  other.container_id = "another";
  other.first = std::chrono::steady_clock::now() + 1h;
  prober_->set("u", {other});
  EXPECT_EQ(prober_->outcomes("u").at("c").readiness, Verdict::Unknown);
  prober_->remove("u");
  EXPECT_TRUE(prober_->outcomes("u").empty());
}

// One that has failed its liveness or startup probe is going to end: nobody asks it any more. One
// that is not ready may become so.
TEST_F(ProberTest, AFailureForGoodIsNotProbedAgain) {
  std::mutex mutex;
  std::map<std::string, int> asked;
  start([&](const std::string&, const ProbeTarget& what) {
    const std::lock_guard lock(mutex);
    ++asked[what.container];
    return ProbeResult{false, "no"};
  });
  std::vector<ProbeTarget> targets;
  for (const auto& [name, kind] : {std::pair{"ready", ProbeKind::Readiness},
                                   {"live", ProbeKind::Liveness},
                                   {"start", ProbeKind::Startup}}) {
    targets.push_back(target(name, Probe::Kind::Exec, 0));
    targets.back().kind = kind;
    targets.back().probe.period_seconds = 1;
    targets.back().probe.failure_threshold = 2;
  }
  prober_->set("u", targets);
  EXPECT_TRUE(test::eventually([&] {
    const std::lock_guard lock(mutex);
    return asked["ready"] >= 4;
  }));
  const std::lock_guard lock(mutex);
  EXPECT_EQ(asked["live"], 2);
  EXPECT_EQ(asked["start"], 2);
}

TEST(PodQueue, NeverGivesOnePodToTwo) {
  PodQueue queue(system_clock());
  queue.mark("a");
  queue.mark("a");
  EXPECT_EQ(queue.take(), "a");
  queue.mark("a");
  queue.mark("b");
  EXPECT_EQ(queue.take(), "b");
  queue.done("b");
  EXPECT_FALSE(queue.idle());
  queue.done("a");
  EXPECT_EQ(queue.take(), "a");
  queue.done("a");
  EXPECT_TRUE(queue.idle());
  queue.close();
  EXPECT_EQ(queue.take(), std::nullopt);
}

TEST(PodQueue, KeepsOneTimePerPod) {
  PodQueue queue(system_clock());
  const auto now = std::chrono::steady_clock::now();
  queue.mark_at("late", now + 1h);
  queue.mark_at("gone", now);
  queue.mark_at("gone", std::nullopt);
  queue.mark_at("soon", now + 1h);
  queue.mark_at("soon", now + 1ms);
  EXPECT_EQ(queue.take(), "soon");
}

}  // namespace
}  // namespace coracle::pods
