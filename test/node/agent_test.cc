#include <coracle/agent.h>

#include "support/registry_client.h"

namespace coracle {
namespace {

AgentOptions options() {
  AgentOptions out;
  out.node_name = "n1";
  out.node_ip = *Ip::parse("192.0.2.6");
  out.data_dir = "/nonexistent/coracle";
  out.pod_cidr = *Cidr::parse("10.42.0.0/16");
  out.cluster_domain = "cluster.local";
  out.proxy_mode = "iptables";
  out.runtime = "process";
  return out;
}

TEST(Agent, RefusesWhatIsNotBuiltAndNamesWhatWorks) {
  test::ManualClock clock;
  test::RegistryClient client(clock);
  AgentOptions wrong = options();
  wrong.proxy_mode = "nftables";
  auto refused = Agent::create(*client, clock, wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::BadRequest);
  EXPECT_EQ(refused.error().message,
            "the proxy mode \"nftables\" is not built; these work: iptables");
  wrong = options();
  wrong.runtime = "oci";
  refused = Agent::create(*client, clock, wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::BadRequest);
  EXPECT_EQ(refused.error().message, "the runtime \"oci\" is not built; these work: process");
  wrong = options();
  wrong.backend = "ipip";
  refused = Agent::create(*client, clock, wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::BadRequest);
  EXPECT_EQ(refused.error().message,
            "there is no backend \"ipip\"; these work: vxlan, host-gw, auto");
  // Nothing was registered for an agent that does not run.
  EXPECT_TRUE(client->list(resources::kNodes, {})->items.empty());
}

TEST(Agent, FindsAnAddressOfThisMachine) {
  const auto ip = detect_node_ip();
  if (!ip) {
    EXPECT_TRUE(is_not_found(ip.error()));
    return;
  }
  EXPECT_FALSE(ip->is_loopback());
  EXPECT_FALSE(ip->is_unspecified());
}

}  // namespace
}  // namespace coracle
