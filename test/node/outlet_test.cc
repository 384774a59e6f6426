// What an agent answers the server.
#include "node/outlet.h"

#include <coracle/metrics.h>
#include <coracle/process_metrics.h>
#include <gmock/gmock.h>

#include "support/fake_runtime.h"

namespace coracle {
namespace {

using State = TunnelSource::State;
using ::testing::HasSubstr;

class OutletTest : public testing::Test {
 protected:
  // The answer in portions of `room`.
  std::string ask(const std::string& path, std::size_t room = 1000) {
    auto source = answer_server(*logs_, {path, ""});
    EXPECT_TRUE(source) << path;
    if (!source) return "";
    (*source)->start([] {});
    std::string out;
    for (State state = State::More; state != State::End;) {
      const std::size_t before = out.size();
      state = (*source)->produce(out, room);
      EXPECT_NE(state, State::Waiting) << "it is all there";
      EXPECT_LE(out.size() - before, room);
      if (out.size() == before) break;
    }
    return out;
  }

  test::FakeRuntime runtime_{system_clock()};
  std::unique_ptr<logs::LogService> logs_ =
      std::move(*logs::LogService::create(runtime_, system_clock(), "/nonexistent/coracle"));
};

TEST_F(OutletTest, MetricsAsOfNow) {
  metrics::Counter counter("test_outlet_total", "Of a test.");
  counter.add(3);
  serve_process_metrics();
  const std::string text = ask("/v1/metrics");
  EXPECT_THAT(text, HasSubstr("\ntest_outlet_total 3\n"));
  for (const char* name : {"process_resident_memory_bytes", "process_cpu_seconds_total",
                           "process_open_fds", "process_start_time_seconds"})
    EXPECT_THAT(text, HasSubstr("\n" + std::string(name) + " "));
  auto source = answer_server(*logs_, {"/v1/metrics", ""});
  counter.add();
  std::string before;
  ASSERT_EQ((*source)->produce(before, 1 << 20), State::End);
  EXPECT_THAT(before, HasSubstr("\ntest_outlet_total 3\n")) << "one moment, however slowly read";
  EXPECT_THAT(ask("/v1/metrics", 1), HasSubstr("\ntest_outlet_total 4\n"));
}

TEST_F(OutletTest, HealthAndLogsAndNothingElse) {
  EXPECT_EQ(ask("/v1/healthz"), "ok");
  EXPECT_EQ(answer_server(*logs_, {"/v1/logs", ""}).error().code, Code::BadRequest);
  EXPECT_EQ(answer_server(*logs_, {"/v1/logs", R"({"uid":"u","container":"c"})"}).error().message,
            "no such container has started");
  for (const char* path : {"", "/", "/metrics", "/v1/metrics/", "/v1/pods"}) {
    const auto refused = answer_server(*logs_, {path, ""});
    ASSERT_FALSE(refused);
    EXPECT_TRUE(is_not_found(refused.error()));
    EXPECT_EQ(refused.error().message, "this agent knows no " + std::string(path));
  }
}

TEST_F(OutletTest, WithoutAConnectionNobodyAsks) {
  const auto outlet = make_outlet({}, runtime_, system_clock(), "/nonexistent/coracle");
  ASSERT_TRUE(outlet);
  outlet->start();
  outlet->stop();
  EXPECT_FALSE(outlet->tunnel);
}

}  // namespace
}  // namespace coracle
