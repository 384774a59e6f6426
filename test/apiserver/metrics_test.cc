#include <coracle/metrics.h>
#include <gmock/gmock.h>

#include "support/api_fixture.h"

namespace coracle {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Metrics, CountersHaveSeriesByTheirLabels) {
  metrics::Counter counter("test_total", "Of a test.");
  counter.add();
  counter.add(2, {{"name", "a\"b\\c\nd"}});
  const std::string text = metrics::Family::text();
  EXPECT_THAT(text, HasSubstr("# HELP test_total Of a test.\n# TYPE test_total counter\n"
                              "test_total 1\ntest_total{name=\"a\\\"b\\\\c\\nd\"} 2\n"));
}

TEST(Metrics, AFamilyThatIsGoneIsNotTold) {
  {
    const metrics::Gauge gauge("test_gone", "Of a test.", [] { return 1.5; });
  }
  EXPECT_THAT(metrics::Family::text(), Not(HasSubstr("test_gone")));
}

TEST(Metrics, BucketsAddUp) {
  metrics::Histogram histogram("test_seconds", "Of a test.", 1);
  for (const double value : {0.5, 1.0, 3.0, 1e9}) histogram.observe(value, {{"k", "v"}});
  const std::string text = metrics::Family::text();
  for (const char* line : {"test_seconds_bucket{k=\"v\",le=\"1\"} 2\n", "le=\"2\"} 2\n",
                           "le=\"4\"} 3\n", "le=\"+Inf\"} 4\n", "test_seconds_count{k=\"v\"} 4\n"})
    EXPECT_THAT(text, HasSubstr(line));
}

class MetricsHttp : public ClusterFixture {};

TEST_F(MetricsHttp, ServedToWhoIsKnown) {
  ASSERT_EQ(get("/api/v1/namespaces/default/configmaps").code, 200);
  ASSERT_EQ(get("/made/up").code, 404);
  const Reply reply = get("/metrics");
  ASSERT_EQ(reply.code, 200);
  EXPECT_THAT(reply.header("content-type"), HasSubstr("version=0.0.4"));
  EXPECT_THAT(
      reply.body,
      HasSubstr("apiserver_request_total{verb=\"GET\",resource=\"configmaps\",code=\"200\"}"));
  EXPECT_THAT(reply.body, HasSubstr("apiserver_request_duration_seconds_bucket{"));
  EXPECT_THAT(reply.body, HasSubstr("process_resident_memory_bytes "));
  EXPECT_THAT(reply.body, HasSubstr("apiserver_watchers 0\n"));
  EXPECT_THAT(reply.body, Not(HasSubstr("made")));
  CallOptions anonymous;
  anonymous.certificate = false;
  EXPECT_EQ(call("GET", "/metrics", "", anonymous).code, 401);
}

}  // namespace
}  // namespace coracle
