#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

TEST(Toleration, MatchesAsUpstream) {
  const Taint taint{"dedicated", "web", kNoSchedule, ""};
  const struct Case {
    const char* name;
    Toleration toleration;
    bool tolerates;
  } kCases[] = {
      {"equal", {"dedicated", "Equal", "web", "NoSchedule", {}}, true},
      {"equal is the default", {"dedicated", "", "web", "NoSchedule", {}}, true},
      {"another value", {"dedicated", "Equal", "db", "NoSchedule", {}}, false},
      {"no value is one too", {"dedicated", "", "", "NoSchedule", {}}, false},
      {"exists", {"dedicated", "Exists", "", "NoSchedule", {}}, true},
      {"another key", {"other", "Exists", "", "NoSchedule", {}}, false},
      {"another effect", {"dedicated", "Exists", "", "NoExecute", {}}, false},
      {"every effect", {"dedicated", "Exists", "", "", {}}, true},
      {"every key", {"", "Exists", "", "", {}}, true},
      {"every key of an effect", {"", "Exists", "", "NoExecute", {}}, false},
      {"an operator nobody knows", {"dedicated", "Like", "web", "NoSchedule", {}}, false}};
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(c.toleration.tolerates(taint), c.tolerates);
    EXPECT_EQ(
        find_toleration({{"unrelated", "Exists", "", "", {}}, c.toleration}, taint) != nullptr,
        c.tolerates);
  }
}

TEST(Node, ReadsTaintsAndConditions) {
  const auto node = Node::decode(Object(Json::parse(R"({"metadata": {"name": "n"},
      "spec": {"taints": [{"key": "a", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"},
                          7, {"key": 5, "value": "v"}]},
      "status": {"conditions": [{"type": "Ready", "status": "Unknown",
                                 "lastHeartbeatTime": "2026-01-02T00:00:00Z"},
                                {"type": "DiskPressure", "status": "True"}, "x", {"status": "True"}]}})")));
  ASSERT_TRUE(node);
  EXPECT_EQ(node->taints, (std::vector<Taint>{{"a", "", "NoExecute", "2026-01-01T00:00:00Z"},
                                              {"", "v", "", ""}}));
  EXPECT_FALSE(node->ready);
  EXPECT_EQ(node->condition("Ready"), "Unknown");
  EXPECT_EQ(node->condition("DiskPressure"), "True");
  EXPECT_EQ(node->condition("MemoryPressure"), "");
  EXPECT_EQ(node->ready_heartbeat, "2026-01-02T00:00:00Z");
}

TEST(Pod, ReadsTolerations) {
  const auto pod = Pod::decode(Object(Json::parse(R"({"spec": {"tolerations": [
      {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
      {"key": "b", "value": "v", "tolerationSeconds": "5"}, null]}})")));
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->tolerations, (std::vector<Toleration>{{"a", "Exists", "", "NoExecute", 5},
                                                       {"b", "", "v", "", std::nullopt}}));
}

}  // namespace
}  // namespace coracle
