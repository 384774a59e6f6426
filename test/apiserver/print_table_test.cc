#include <apiserver/print_table.h>
#include <apiserver/resources/resources.h>
#include <gtest/gtest.h>

#include "registry_fixture.h"

namespace coracle {
namespace {

ResourceKind kind_of(const std::string& plural) {
  ResourceOptions options{};
  options.service_cidr = *Cidr::parse("10.96.0.0/16");
  for (ResourceKind& kind : all_kinds(options))
    if (kind.resource.plural == plural) return kind;
  return {};
}

Json cells(const std::string& plural, const Json& object) {
  return table_row(kind_of(plural), object, IncludeObject::None, FakeClock())["cells"];
}

TEST(HumanDuration, ReadsAsKubectlWritesIt) {
  struct Case {
    long long seconds;
    const char* text;
  };
  const long long minute = 60, hour = 3600, day = 86400, year = 365 * day;
  for (const Case& c : {Case{-5, "<invalid>"},
                        {-1, "0s"},
                        {0, "0s"},
                        {119, "119s"},
                        {120, "2m"},
                        {190, "3m10s"},
                        {599, "9m59s"},
                        {10 * minute, "10m"},
                        {179 * minute, "179m"},
                        {3 * hour, "3h"},
                        {3 * hour + 5 * minute, "3h5m"},
                        {8 * hour, "8h"},
                        {47 * hour, "47h"},
                        {48 * hour, "2d"},
                        {51 * hour, "2d3h"},
                        {8 * day, "8d"},
                        {729 * day, "729d"},
                        {2 * year, "2y"},
                        {2 * year + day, "2y1d"},
                        {8 * year + day, "8y"}})
    EXPECT_EQ(human_duration(std::chrono::seconds(c.seconds)), c.text) << c.seconds;
  EXPECT_EQ(age_of("", FakeClock()), "<unknown>");
  EXPECT_EQ(age_of("2026-01-02T03:04:00Z", FakeClock()), "5s");
}

Json status_of(const Json& state, bool ready = false, int restarts = 0) {
  return {{"name", "c"}, {"state", state}, {"ready", ready}, {"restartCount", restarts}};
}

TEST(SummarizePod, FollowsUpstreamsStatus) {
  const Json running = {{"running", Json::object()}};
  const auto waiting = [](const char* reason) { return Json{{"waiting", {{"reason", reason}}}}; };
  const auto ended = [](int code, const char* reason) {
    return Json{{"terminated", {{"exitCode", code}, {"reason", reason}}}};
  };
  struct Case {
    const char* name;
    Json pod;
    std::string status;
    int ready;
  };
  const auto pod = [](Json statuses, Json more = Json::object()) {
    Json out = {{"spec", {{"containers", {Json::object(), Json::object()}}}},
                {"status", {{"phase", "Running"}, {"containerStatuses", std::move(statuses)}}}};
    out.merge_patch(more);
    return out;
  };
  const Json ready_condition = {
      {"status", {{"conditions", {{{"type", "Ready"}, {"status", "True"}}}}}}};
  const Case cases[] = {
      {"pending", {{"status", {{"phase", "Pending"}}}}, "Pending", 0},
      {"reason", {{"status", {{"phase", "Failed"}, {"reason", "Evicted"}}}}, "Evicted", 0},
      {"gated",
       {{"status",
         {{"phase", "Pending"},
          {"conditions", {{{"type", "PodScheduled"}, {"reason", "SchedulingGated"}}}}}}},
       "SchedulingGated",
       0},
      {"running", pod({status_of(running, true), status_of(running, true)}), "Running", 2},
      {"crash loop", pod({status_of(waiting("CrashLoopBackOff")), status_of(running, true)}),
       "CrashLoopBackOff", 1},
      {"error", pod({status_of(ended(1, "Error"))}), "Error", 0},
      {"exit code", pod({status_of(ended(3, ""))}), "ExitCode:3", 0},
      {"signal", pod({status_of({{"terminated", {{"signal", 9}}}})}), "Signal:9", 0},
      {"completed", pod({status_of(ended(0, "Completed"))}), "Completed", 0},
      {"one completed, one runs",
       pod({status_of(ended(0, "Completed")), status_of(running, true)}, ready_condition),
       "Running", 1},
      {"one completed, one runs, not ready",
       pod({status_of(ended(0, "Completed")), status_of(running, true)}), "NotReady", 1},
      {"failure beats completion",
       pod({status_of(ended(0, "Completed")), status_of(ended(1, "Error"))}), "Error", 0},
      {"terminating",
       pod({status_of(running, true)},
           {{"metadata", {{"deletionTimestamp", "2026-01-01T00:00:00Z"}}}}),
       "Terminating", 1},
      {"node lost",
       pod({}, {{"metadata", {{"deletionTimestamp", "x"}}}, {"status", {{"reason", "NodeLost"}}}}),
       "Unknown", 0},
      {"init 0/2",
       {{"spec", {{"initContainers", {{{"name", "c"}}, {{"name", "d"}}}}}},
        {"status", {{"phase", "Pending"}, {"initContainerStatuses", {status_of(running)}}}}},
       "Init:0/2",
       0},
      {"init failed",
       {{"spec", {{"initContainers", {{{"name", "c"}}}}}},
        {"status", {{"phase", "Pending"}, {"initContainerStatuses", {status_of(ended(1, ""))}}}}},
       "Init:ExitCode:1",
       0},
      {"init waits",
       {{"spec", {{"initContainers", {{{"name", "c"}}}}}},
        {"status",
         {{"phase", "Pending"}, {"initContainerStatuses", {status_of(waiting("ErrImagePull"))}}}}},
       "Init:ErrImagePull",
       0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const PodSummary summary = summarize_pod(c.pod);
    EXPECT_EQ(summary.status, c.status);
    EXPECT_EQ(summary.ready, c.ready);
  }
}

TEST(Cells, Pods) {
  const Json pod = {
      {"metadata", {{"name", "p"}, {"creationTimestamp", "2026-01-02T03:00:05Z"}}},
      {"spec", {{"nodeName", "n"}, {"containers", {{{"name", "c"}}}}}},
      {"status",
       {{"phase", "Running"},
        {"podIPs", {{{"ip", "10.42.0.3"}}}},
        {"containerStatuses",
         {{{"name", "c"},
           {"ready", true},
           {"restartCount", 3},
           {"state", {{"running", Json::object()}}},
           {"lastState", {{"terminated", {{"finishedAt", "2026-01-02T02:59:05Z"}}}}}}}}}}};
  EXPECT_EQ(cells("pods", pod),
            Json::parse(
                R"x(["p","1/1","Running","3 (5m ago)","4m","10.42.0.3","n","<none>","<none>"])x"));
  const Json done = table_row(kind_of("pods"), {{"status", {{"phase", "Succeeded"}}}},
                              IncludeObject::Metadata, FakeClock());
  EXPECT_EQ(done["conditions"][0]["reason"], "Succeeded");
  EXPECT_EQ(done["object"]["kind"], "PartialObjectMetadata");
}

TEST(Cells, Services) {
  struct Case {
    const char* name;
    Json spec, status;
    const char* cells;
  };
  const Case cases[] = {
      {"cluster",
       Json::parse(
           R"({"type":"ClusterIP","clusterIPs":["10.96.0.9"],"ports":[{"port":80,"protocol":"TCP"}],"selector":{"b":"2","a":"1"}})"),
       {},
       R"(["s","ClusterIP","10.96.0.9","<none>","80/TCP","<unknown>","a=1,b=2"])"},
      {"headless",
       Json::parse(R"({"type":"ClusterIP","clusterIPs":["None"]})"),
       {},
       R"(["s","ClusterIP","None","<none>","<none>","<unknown>","<none>"])"},
      {"node port",
       Json::parse(
           R"({"type":"NodePort","clusterIPs":["10.96.0.9"],"externalIPs":["1.1.1.1","2.2.2.2"],"ports":[{"port":80,"nodePort":30080,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]})"),
       {},
       R"(["s","NodePort","10.96.0.9","1.1.1.1,2.2.2.2","80:30080/TCP,53/UDP","<unknown>","<none>"])"},
      {"pending",
       Json::parse(R"({"type":"LoadBalancer","clusterIPs":["10.96.0.9"]})"),
       {},
       R"(["s","LoadBalancer","10.96.0.9","<pending>","<none>","<unknown>","<none>"])"},
      {"balancer",
       Json::parse(
           R"({"type":"LoadBalancer","clusterIPs":["10.96.0.9"],"externalIPs":["9.9.9.9"]})"),
       Json::parse(
           R"({"loadBalancer":{"ingress":[{"ip":"2.2.2.2"},{"hostname":"a.b"},{"ip":"2.2.2.2"}]}})"),
       R"(["s","LoadBalancer","10.96.0.9","2.2.2.2,a.b,9.9.9.9","<none>","<unknown>","<none>"])"},
      {"name",
       Json::parse(R"({"type":"ExternalName","externalName":"x.y"})"),
       {},
       R"(["s","ExternalName","<none>","x.y","<none>","<unknown>","<none>"])"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(
        cells("services", {{"metadata", {{"name", "s"}}}, {"spec", c.spec}, {"status", c.status}}),
        Json::parse(c.cells));
  }
}

TEST(Cells, OtherKinds) {
  EXPECT_EQ(
      cells(
          "endpoints",
          Json::parse(
              R"({"metadata":{"name":"e"},"subsets":[{"addresses":[{"ip":"1.1.1.1"},{"ip":"1.1.1.2"}],"ports":[{"port":80},{"port":81}]}]})"))
          [1],
      "1.1.1.1:80,1.1.1.2:80,1.1.1.1:81 + 1 more...");
  EXPECT_EQ(cells("endpoints", Json::object())[1], "<none>");
  EXPECT_EQ(
      cells(
          "endpointslices",
          Json::parse(
              R"({"metadata":{"name":"e"},"addressType":"IPv4","ports":[{"port":80},{"name":"x"},{}],"endpoints":[{"addresses":["1.1.1.1"]}]})")),
      Json::parse(R"(["e","IPv4","80,x,*","1.1.1.1","<unknown>"])"));
  EXPECT_EQ(cells("endpointslices", Json::object())[2], "<unset>");
  const Json node = Json::parse(
      R"({"metadata":{"name":"n","labels":{"node-role.kubernetes.io/worker":"","kubernetes.io/role":"edge"}},
    "spec":{"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"False"}],"nodeInfo":{"kubeletVersion":"v1"},
    "addresses":[{"type":"InternalIP","address":"1.2.3.4"}]}})");
  EXPECT_EQ(
      cells("nodes", node),
      Json::parse(
          R"(["n","NotReady,SchedulingDisabled","edge,worker","<unknown>","v1","1.2.3.4","<none>","<unknown>","<unknown>","<unknown>"])"));
  EXPECT_EQ(cells("nodes", Json::object())[1], "Unknown");
  EXPECT_EQ(
      cells("configmaps",
            Json::parse(R"({"metadata":{"name":"c"},"data":{"a":""},"binaryData":{"b":""}})"))[1],
      2);
  const Json event = Json::parse(
      R"({"metadata":{"name":"e"},"type":"Warning","reason":"R","message":" m\n","count":0,"firstTimestamp":"2026-01-02T03:03:05Z",
    "lastTimestamp":"2026-01-02T03:04:00Z","involvedObject":{"kind":"Pod","name":"p"},"source":{"component":"c","host":"h"}})");
  EXPECT_EQ(cells("events", event),
            Json::parse(R"(["5s","Warning","R","pod/p","","c, h","m","60s",1,"e"])"));
}

}  // namespace
}  // namespace coracle
