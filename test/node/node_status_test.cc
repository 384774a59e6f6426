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

TEST(NodeStatus, AddressesNameTheNode) {
  const Json status = compute_node_status(facts(), {true, "AgentReady", "", ""}, Json::object());
  EXPECT_EQ(status.at("addresses")[0].at("address"), "10.250.0.1");
  EXPECT_EQ(compute_node(facts()).json().at("metadata").at("labels").at("kubernetes.io/hostname"),
            "n1");
}

}  // namespace
}  // namespace coracle
