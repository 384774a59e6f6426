#include "node/node_status.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace coracle {
namespace {

NodeFacts facts() {
  NodeFacts f;
  f.name = "n1";
  f.ip = *Ip::parse("10.250.0.1");
  f.architecture = "amd64";
  f.cpus = 2;
  f.memory_kib = 1024;
  return f;
}

const Json* find_condition(const Json& status, const std::string& type) {
  for (const Json& c : status.at("conditions"))
    if (c.at("type") == type) return &c;
  return nullptr;
}

TEST(NodeStatus, UnchangedStateYieldsAnEqualDocument) {
  const Json first = compute_node_status(
      facts(), {true, "AgentReady", "ready", "2026-01-01T00:00:00Z"}, Json::object());
  const Json existing = {{"status", first}};
  EXPECT_EQ(
      compute_node_status(facts(), {true, "AgentReady", "ready", "2026-01-01T00:05:00Z"}, existing),
      first);
}

TEST(NodeStatus, TransitionTimeMovesOnlyWithTheStatus) {
  const Json first = compute_node_status(
      facts(), {false, "Starting", "starting", "2026-01-01T00:00:00Z"}, Json::object());
  const Json second = compute_node_status(
      facts(), {true, "AgentReady", "ready", "2026-01-01T00:05:00Z"}, Json{{"status", first}});
  EXPECT_EQ(find_condition(second, "Ready")->at("lastTransitionTime"), "2026-01-01T00:05:00Z");
  EXPECT_EQ(find_condition(second, "Ready")->at("status"), "True");
  EXPECT_EQ(find_condition(second, "NetworkUnavailable")->at("status"), "False");
  EXPECT_EQ(find_condition(second, "MemoryPressure")->at("lastTransitionTime"),
            "2026-01-01T00:00:00Z");
}

TEST(NodeStatus, SaysWhatPodsMayUse) {
  NodeFacts f = facts();
  f.storage_kib = 2048;
  const Json status = compute_node_status(f, {true, "AgentReady", "", ""}, Json::object());
  const Json expected = {
      {"cpu", "2"}, {"memory", "1024Ki"}, {"ephemeral-storage", "2048Ki"}, {"pods", "250"}};
  EXPECT_EQ(status.at("allocatable"), expected);
  EXPECT_EQ(status.at("capacity"), expected);
}

TEST(NodeStatus, AddressesNameTheNode) {
  const Json status = compute_node_status(facts(), {true, "AgentReady", "", ""}, Json::object());
  EXPECT_EQ(status.at("addresses")[0].at("address"), "10.250.0.1");
  EXPECT_EQ(compute_node(facts()).json().at("metadata").at("labels").at("kubernetes.io/hostname"),
            "n1");
}

TEST(NodeStatus, NetworkUnavailableIsTheSetUpsWordThenThePeers) {
  const PeerFinding broken{true, "PeerUnreachable", "nothing comes back from n2"};
  const PeerFinding partly{false, "MtuTooSmall", "too large for n2"};
  struct Case {
    const char* name;
    bool ready;
    std::optional<PeerReport> peers;
    const char *status, *reason, *message;
  };
  for (const Case& c :
       {Case{"set-up failed", false, PeerReport{"", partly}, "True", "PodNetworkNotReady", "why"},
        Case{"not tested", true, {}, "False", "PodNetworkReady", "the Pod network is set up"},
        Case{"nobody", true, PeerReport{}, "False", "PodNetworkReady", "the Pod network is set up"},
        Case{"broken", true, PeerReport{"", broken}, "True", "PeerUnreachable",
             "nothing comes back from n2"},
        Case{"partly", true, PeerReport{"", partly}, "False", "MtuTooSmall", "too large for n2"}}) {
    SCOPED_TRACE(c.name);
    NodeCondition state{c.ready, "R", "why", "2026-01-01T00:00:00Z", c.peers};
    const Json status = compute_node_status(facts(), state, Json::object());
    const Json* condition = find_condition(status, "NetworkUnavailable");
    ASSERT_NE(condition, nullptr);
    EXPECT_EQ(condition->at("status"), c.status);
    EXPECT_EQ(condition->at("reason"), c.reason);
    EXPECT_EQ(condition->at("message"), c.message);
    EXPECT_EQ(find_condition(status, "Ready")->at("status"), c.ready ? "True" : "False");
    state.now = "2026-01-01T00:05:00Z";
    EXPECT_EQ(compute_node_status(facts(), state, Json{{"status", status}}), status);
  }
}

TEST(NodeStatus, TheAnnotationIsChangedOnlyWhenItDiffers) {
  Json node = Json::parse(R"({"metadata":{"name":"n1"}})");
  EXPECT_FALSE(annotate_peers(node, std::nullopt));
  EXPECT_FALSE(annotate_peers(node, PeerReport{}));
  EXPECT_EQ(node, Json::parse(R"({"metadata":{"name":"n1"}})"));
  const PeerReport report{R"({"n2":"ok"})"};
  EXPECT_TRUE(annotate_peers(node, report));
  EXPECT_FALSE(annotate_peers(node, report));
  EXPECT_FALSE(annotate_peers(node, std::nullopt));
  EXPECT_EQ(node["metadata"]["annotations"]["coracle.io/peers"], report.annotation);
  node["metadata"]["annotations"]["other"] = "stays";
  EXPECT_TRUE(annotate_peers(node, PeerReport{}));
  EXPECT_EQ(node["metadata"]["annotations"], Json::parse(R"({"other":"stays"})"));
}

}  // namespace
}  // namespace coracle
