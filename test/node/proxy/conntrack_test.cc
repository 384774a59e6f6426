// Which UDP flows a change makes wrong.
#include "node/proxy/conntrack.h"

#include <gtest/gtest.h>

namespace coracle::proxy {
namespace {

Ip ip(const std::string& text) {
  return Ip::parse(text).value();
}

ServiceTable dns(const std::vector<std::string>& pods, Protocol protocol = Protocol::Udp) {
  ServicePort port;
  port.service = {"kube-system", "kube-dns"};
  port.protocol = protocol;
  port.cluster_ip = ip("10.96.0.10");
  port.port = 53;
  port.node_port = 30053;
  for (const auto& pod : pods) port.cluster_endpoints.push_back({ip(pod), 5353, false});
  return {{port}};
}

TEST(StaleUdpFlows, AreThoseToEndpointsThatAreGone) {
  const StaleUdpFlows stale(dns({"10.42.0.2", "10.42.0.3"}), dns({"10.42.0.3"}));
  EXPECT_TRUE(stale.contains({ip("10.96.0.10"), 53, ip("10.42.0.2"), 5353}));
  EXPECT_FALSE(stale.contains({ip("10.96.0.10"), 53, ip("10.42.0.3"), 5353}));
  EXPECT_TRUE(stale.contains({ip("192.0.2.1"), 30053, ip("10.42.0.2"), 5353}));
  EXPECT_FALSE(stale.contains({ip("192.0.2.1"), 30054, ip("10.42.0.2"), 5353}));
  EXPECT_FALSE(
      stale.contains({ip("10.42.0.2"), 5353, ip("10.42.0.2"), 5353}));  // straight to the Pod
}

TEST(StaleUdpFlows, AreThoseThatMetAServiceWithoutEndpoints) {
  const StaleUdpFlows stale(dns({}), dns({"10.42.0.3"}));
  EXPECT_TRUE(stale.contains({ip("10.96.0.10"), 53, ip("10.96.0.10"), 53}));
  EXPECT_FALSE(stale.contains({ip("10.96.0.10"), 53, ip("10.42.0.3"), 5353}));
}

TEST(StaleUdpFlows, AtAStartAreThoseToWhatIsNoEndpoint) {
  const StaleUdpFlows stale(dns({"10.42.0.3"}));
  EXPECT_TRUE(stale.contains({ip("10.96.0.10"), 53, ip("10.42.0.2"), 5353}));
  EXPECT_TRUE(stale.contains({ip("10.96.0.10"), 53, ip("10.96.0.10"), 53}));  // met no rules
  EXPECT_FALSE(stale.contains({ip("10.96.0.10"), 53, ip("10.42.0.3"), 5353}));
  EXPECT_TRUE(stale.contains({ip("192.0.2.1"), 30053, ip("10.42.0.2"), 5353}));
  EXPECT_FALSE(stale.contains({ip("198.51.100.1"), 30053, ip("198.51.100.1"), 30053}));
  const StaleUdpFlows none(dns({}));
  EXPECT_TRUE(none.contains({ip("10.96.0.10"), 53, ip("10.42.0.2"), 5353}));
  EXPECT_TRUE(StaleUdpFlows(dns({"10.42.0.2"}, Protocol::Tcp)).empty());
}

TEST(StaleUdpFlows, NoneWithoutAChangeOrForTcp) {
  EXPECT_TRUE(StaleUdpFlows(dns({"10.42.0.2"}), dns({"10.42.0.2"})).empty());
  EXPECT_TRUE(StaleUdpFlows(dns({"10.42.0.2"}, Protocol::Tcp), dns({}, Protocol::Tcp)).empty());
  EXPECT_FALSE(StaleUdpFlows(dns({"10.42.0.2"}), {}).empty());
}

TEST(UnservedFlows, AreThoseThatNobodyRewrote) {
  const UnservedFlows udp(dns({"10.42.0.2"}));
  const UnservedFlows tcp(dns({"10.42.0.2"}, Protocol::Tcp));
  Flow flow{ip("10.96.0.10"), 53, ip("10.96.0.10"), 53, Protocol::Udp, true};
  EXPECT_TRUE(udp.contains(flow));
  EXPECT_FALSE(tcp.contains(flow));
  flow.protocol = Protocol::Tcp;
  EXPECT_FALSE(udp.contains(flow));
  EXPECT_FALSE(tcp.contains(flow)) << "somebody answers: that is no business of ours";
  flow.answered = false;
  EXPECT_TRUE(tcp.contains(flow));
  flow.to_port = flow.target_port = 54;
  EXPECT_FALSE(tcp.contains(flow));
  flow = {ip("10.96.0.10"), 53, ip("10.42.0.2"), 5353, Protocol::Tcp, false};
  EXPECT_FALSE(tcp.contains(flow)) << "it met the rules";
  flow = {ip("192.0.2.1"), 30053, ip("192.0.2.1"), 30053, Protocol::Tcp, false};
  EXPECT_FALSE(tcp.contains(flow)) << "the node refuses it at once";
  EXPECT_TRUE(UnservedFlows(dns({}, Protocol::Tcp)).empty());
}

}  // namespace
}  // namespace coracle::proxy
