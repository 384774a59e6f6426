// What the computed rules do with packets, by PacketTracer, and what they look like.
#include "node/proxy/iptables_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "node/proxy/backend.h"
#include "support/packet_tracer.h"

namespace coracle::proxy {
namespace {

using test::Packet;
using test::PacketTracer;
using ::testing::HasSubstr;
using ::testing::Not;

Ip ip(const std::string& text) {
  return Ip::parse(text).value();
}

const IptablesConfig kConfig{Cidr::parse("10.42.0.0/16").value(), false};
const std::string kNode = "192.0.2.1";
const std::string kPod = "10.42.0.2";
const std::string kOtherPod = "10.42.1.2";
const std::string kOutside = "198.51.100.9";

ServicePort web() {
  ServicePort port;
  port.service = {"default", "web"};
  port.port_name = "http";
  port.cluster_ip = ip("10.96.0.50");
  port.port = 80;
  port.cluster_endpoints = {{ip(kPod), 8080, true}};
  port.local_endpoints = port.cluster_endpoints;
  return port;
}
ServicePort node_port() {
  ServicePort port = web();
  port.node_port = 30080;
  return port;
}
ServicePort remote_only(ServicePort port) {
  port.cluster_endpoints = {{ip(kOtherPod), 8080, false}};
  port.local_endpoints.clear();
  return port;
}
ServicePort empty(ServicePort port) {
  port.cluster_endpoints.clear();
  port.local_endpoints.clear();
  return port;
}
ServicePort external_local(ServicePort port) {
  port.external_local = true;
  return port;
}
ServicePort internal_local(ServicePort port) {
  port.internal_local = true;
  return port;
}
ServicePort with_load_balancer(ServicePort port) {
  port.load_balancer_ips = {ip(kNode)};
  return port;
}
ServicePort with_external_ip(ServicePort port) {
  port.external_ips = {ip("203.0.113.7")};
  return port;
}
ServicePort guarded(ServicePort port) {
  port = with_load_balancer(std::move(port));
  port.source_ranges = {Cidr::parse("198.51.100.77/24").value()};
  return port;
}

PacketTracer tracer(std::vector<ServicePort> ports, const IptablesConfig& config = kConfig) {
  return {iptables_rules({std::move(ports)}, config), {kNode, "10.42.0.1"}};
}

TEST(IptablesRules, ChainNamesAreUpstreams) {
  EXPECT_EQ(service_chain("KUBE-SVC-", "default/kubernetes:https", Protocol::Tcp),
            "KUBE-SVC-NPX46M4PTMTKRN6Y");
  EXPECT_EQ(service_chain("KUBE-SVC-", "kube-system/kube-dns:dns", Protocol::Udp),
            "KUBE-SVC-TCOU7JCQXEZGVUNU");
  EXPECT_EQ(service_chain("KUBE-SVC-", "kube-system/kube-dns:dns-tcp", Protocol::Tcp),
            "KUBE-SVC-ERIFXISQEP7F7OF4");
}

TEST(IptablesRules, PacketFlows) {
  struct Case {
    const char* name;
    ServicePort service;
    Packet packet;
    const char* expected;
  };
  const std::string vip = "10.96.0.50";
  const std::vector<Case> cases{
      {"a Pod to a ClusterIP", web(), {kOtherPod, vip, 80}, "10.42.0.2:8080"},
      {"hairpin", web(), {kPod, vip, 80}, "10.42.0.2:8080 masq"},
      {"the node to a ClusterIP", web(), {kNode, vip, 80}, "10.42.0.2:8080 masq"},
      {"from outside to a ClusterIP", web(), {kOutside, vip, 80}, "10.42.0.2:8080 masq"},
      {"another port of the ClusterIP", web(), {kOtherPod, vip, 81}, "ACCEPT"},
      {"another protocol", web(), {kOtherPod, vip, 80, "udp"}, "ACCEPT"},
      {"no endpoints, from a Pod", empty(web()), {kPod, vip, 80}, "REJECT"},
      {"no endpoints, from the node", empty(web()), {kNode, vip, 80}, "REJECT"},
      {"NodePort from outside", node_port(), {kOutside, kNode, 30080}, "10.42.0.2:8080 masq"},
      {"NodePort from a Pod", node_port(), {kOtherPod, kNode, 30080}, "10.42.0.2:8080 masq"},
      {"NodePort from the node", node_port(), {kNode, kNode, 30080}, "10.42.0.2:8080 masq"},
      {"NodePort on loopback is refused", node_port(), {"127.0.0.1", "127.0.0.1", 30080}, "ACCEPT"},
      {"NodePort of another machine", node_port(), {kPod, "192.0.2.9", 30080}, "ACCEPT"},
      {"NodePort, no endpoints", empty(node_port()), {kOutside, kNode, 30080}, "REJECT"},
      {"NodePort, no endpoints, from the node",
       empty(node_port()),
       {kNode, kNode, 30080},
       "REJECT"},
      {"external Local keeps the source",
       external_local(node_port()),
       {kOutside, kNode, 30080},
       "10.42.0.2:8080"},
      {"external Local without local ones",
       external_local(remote_only(node_port())),
       {kOutside, kNode, 30080},
       "DROP"},
      {"external Local, from a Pod",
       external_local(remote_only(node_port())),
       {kPod, kNode, 30080},
       "10.42.1.2:8080"},
      {"external Local, from the node",
       external_local(remote_only(node_port())),
       {kNode, kNode, 30080},
       "10.42.1.2:8080 masq"},
      {"external Local, ClusterIP",
       external_local(remote_only(node_port())),
       {kPod, vip, 80},
       "10.42.1.2:8080"},
      {"external Local, none at all",
       external_local(empty(node_port())),
       {kOutside, kNode, 30080},
       "REJECT"},
      {"internal Local", internal_local(web()), {kOtherPod, vip, 80}, "10.42.0.2:8080"},
      {"internal Local without local ones",
       internal_local(remote_only(web())),
       {kPod, vip, 80},
       "DROP"},
      {"internal Local, NodePort",
       internal_local(remote_only(node_port())),
       {kOutside, kNode, 30080},
       "10.42.1.2:8080 masq"},
      {"both Local",
       internal_local(external_local(node_port())),
       {kOutside, kNode, 30080},
       "10.42.0.2:8080"},
      {"LoadBalancer",
       with_load_balancer(node_port()),
       {kOutside, kNode, 80},
       "10.42.0.2:8080 masq"},
      {"LoadBalancer, no endpoints",
       empty(with_load_balancer(node_port())),
       {kOutside, kNode, 80},
       "REJECT"},
      {"LoadBalancer, source allowed",
       guarded(node_port()),
       {kOutside, kNode, 80},
       "10.42.0.2:8080 masq"},
      {"LoadBalancer, source refused", guarded(node_port()), {"203.0.113.3", kNode, 80}, "DROP"},
      {"source ranges don't guard the NodePort",
       guarded(node_port()),
       {"203.0.113.3", kNode, 30080},
       "10.42.0.2:8080 masq"},
      {"external IP",
       with_external_ip(web()),
       {kOutside, "203.0.113.7", 80},
       "10.42.0.2:8080 masq"},
      {"external IP, no endpoints",
       empty(with_external_ip(web())),
       {kOutside, "203.0.113.7", 80},
       "REJECT"},
      {"nothing of ours", node_port(), {kPod, kOutside, 443}, "ACCEPT"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(tracer({c.service}).trace(c.packet), c.expected);
  }
}

TEST(IptablesRules, NodePortsOnLoopbackWhereTheKernelRoutesThem) {
  IptablesConfig config = kConfig;
  config.localhost_node_ports = true;
  auto trace = tracer({node_port()}, config);
  EXPECT_EQ(trace.trace({"127.0.0.1", "127.0.0.1", 30080}), "10.42.0.2:8080 masq");
  EXPECT_EQ(trace.trace({kOutside, "127.0.0.1", 8080}), "DROP");
}

TEST(IptablesRules, RoundRobinIsExact) {
  for (int endpoints = 1; endpoints <= 9; ++endpoints) {
    SCOPED_TRACE(endpoints);
    ServicePort port = web();
    port.cluster_endpoints.clear();
    for (int i = 0; i < endpoints; ++i)
      port.cluster_endpoints.push_back({ip(kPod).plus(std::uint64_t(i)), 80, true});
    auto trace = tracer({port});
    std::map<std::string, int> hits;
    for (int i = 0; i < endpoints * 100; ++i) ++hits[trace.trace({kOtherPod, "10.96.0.50", 80})];
    EXPECT_EQ(hits.size(), static_cast<std::size_t>(endpoints));
    for (const auto& [target, count] : hits) EXPECT_EQ(count, 100) << target;
  }
}

TEST(IptablesRules, AffinityHoldsForItsTime) {
  ServicePort port = web();
  port.affinity_seconds = 60;
  port.cluster_endpoints = {{ip("10.42.0.2"), 80, true}, {ip("10.42.0.3"), 80, true}};
  auto trace = tracer({port});
  const std::string first = trace.trace({"10.42.9.1", "10.96.0.50", 80});
  const std::string second = trace.trace({"10.42.9.2", "10.96.0.50", 80});
  EXPECT_NE(first, second);
  for (int i = 0; i < 10; ++i) {
    trace.advance(50);
    EXPECT_EQ(trace.trace({"10.42.9.1", "10.96.0.50", 80}), first);
  }
  trace.advance(61);
  EXPECT_EQ(trace.trace({"10.42.9.3", "10.96.0.50", 80}), first);
  EXPECT_EQ(trace.trace({"10.42.9.1", "10.96.0.50", 80}), second);
}

TEST(IptablesRules, OneEndpointMoreRewritesThisServiceOnly) {
  ServicePort other = web();
  other.service.name = "other";
  other.cluster_ip = ip("10.96.0.51");
  ServicePort more = web();
  more.cluster_endpoints.push_back({ip(kOtherPod), 8080, false});
  const RulesetDiff changes =
      diff(iptables_rules({{other, web()}}, kConfig), iptables_rules({{other, more}}, kConfig));
  ASSERT_EQ(changes.written.size(), 2U);
  EXPECT_TRUE(changes.removed.empty());
  EXPECT_EQ(changes.written.begin()->first.chain,
            endpoint_chain("default/web:http", Protocol::Tcp, more.cluster_endpoints[1]));
  EXPECT_EQ(changes.written.rbegin()->first.chain,
            service_chain("KUBE-SVC-", "default/web:http", Protocol::Tcp));
}

TEST(IptablesRules, ChangesAreTheDifferenceOfTheWholes) {
  std::mt19937 random(7);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto any_table = [&] {
    ServiceTable table;
    for (int i = 0; i < 6; ++i) {
      if (pick(4) == 0) continue;
      ServicePort port = pick(2) == 0 ? web() : node_port();
      if (pick(4) == 0) port = guarded(port);
      if (pick(4) == 0) port = external_local(port);
      if (pick(4) == 0) port = internal_local(port);
      if (pick(4) == 0) port = remote_only(port);
      if (pick(4) == 0) port = empty(port);
      if (pick(3) == 0) port.cluster_endpoints.push_back({ip(kOtherPod), 8080, false});
      port.service.name = "s" + std::to_string(i);
      port.cluster_ip = ip("10.96.0." + std::to_string(50 + i));
      table.ports.push_back(port);
    }
    return table;
  };
  ServiceTable from;
  for (int round = 0; round < 300; ++round) {
    const ServiceTable to = any_table();
    const RulesetDiff expected = diff(iptables_rules(from, kConfig), iptables_rules(to, kConfig));
    const RulesetDiff changes = iptables_changes(from, to, kConfig);
    ASSERT_EQ(to_string(changes), to_string(expected)) << round;
    from = to;
  }
}

TEST(IptablesRules, EveryTargetExists) {
  const Ruleset rules = iptables_rules(
      {{guarded(node_port()), internal_local(external_local(remote_only(node_port()))),
        empty(node_port())}},
      kConfig);
  for (const auto& [id, lines] : rules.chains) {
    EXPECT_TRUE(is_own_chain(id.chain)) << id.chain;
    EXPECT_LE(id.chain.size(), 28U);
    for (const std::string& line : lines) {
      const std::size_t at = line.find("-j KUBE-");
      if (at == std::string::npos) continue;
      const std::string target = line.substr(at + 3);
      EXPECT_TRUE(rules.chains.contains({id.table, target})) << line;
    }
  }
  EXPECT_FALSE(is_own_chain("KUBE-FIREWALL"));
  EXPECT_FALSE(is_own_chain("KUBE-KUBELET-CANARY"));
}

TEST(IptablesRules, OddNamesCannotLeaveTheirComment) {
  ServicePort port = web();
  port.port_name = "a\" -j ACCEPT\n-A INPUT -j ACCEPT #$(reboot)";
  const std::string text = to_string(iptables_rules({{port}}, kConfig));
  EXPECT_THAT(text, Not(HasSubstr("\n-A INPUT")));
  EXPECT_THAT(text, HasSubstr("default/web:a? -j ACCEPT?-A INPUT -j ACCEPT ???reboot?"));
}

TEST(IptablesRules, TheTextOfOneNodePortService) {
  const RulesetDiff changes =
      diff(iptables_rules({}, kConfig), iptables_rules({{node_port()}}, kConfig));
  const std::string svc = service_chain("KUBE-SVC-", "default/web:http", Protocol::Tcp);
  const std::string ext = service_chain("KUBE-EXT-", "default/web:http", Protocol::Tcp);
  const std::string sep =
      endpoint_chain("default/web:http", Protocol::Tcp, node_port().cluster_endpoints[0]);
  EXPECT_EQ(
      to_string(changes),
      "*nat\n:" + ext + " - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:" + sep +
          " - [0:0]\n:KUBE-SERVICES - [0:0]\n:" + svc +
          " - [0:0]\n"
          "-A " +
          ext +
          " -m comment --comment \"masquerade traffic for default/web:http external destinations\""
          " -j KUBE-MARK-MASQ\n"
          "-A " +
          ext + " -j " + svc +
          "\n"
          "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -m comment --comment \"default/web:http\" "
          "-j " +
          ext +
          "\n"
          "-A " +
          sep +
          " -s 10.42.0.2/32 -m comment --comment \"default/web:http\" -j KUBE-MARK-MASQ\n"
          "-A " +
          sep +
          " -p tcp -m comment --comment \"default/web:http\" -m tcp -j DNAT --to-destination"
          " 10.42.0.2:8080\n"
          "-A KUBE-SERVICES -d 10.96.0.50/32 -p tcp -m tcp --dport 80 -m comment --comment"
          " \"default/web:http cluster IP\" -j " +
          svc +
          "\n"
          "-A KUBE-SERVICES ! -d 127.0.0.0/8 -m comment --comment \"kubernetes service nodeports: "
          "this must be the"
          " last rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"
          "-A " +
          svc +
          " ! -s 10.42.0.0/16 -d 10.96.0.50/32 -p tcp -m tcp --dport 80 -m comment --comment"
          " \"default/web:http cluster IP\" -j KUBE-MARK-MASQ\n"
          "-A " +
          svc + " -m comment --comment \"default/web:http -> 10.42.0.2:8080\" -j " + sep +
          "\nCOMMIT\n");
}

TEST(ProxyBackend, RefusesModesThatAreNotBuilt) {
  const auto backend = make_backend("nftables", kConfig);
  ASSERT_FALSE(backend);
  EXPECT_EQ(backend.error().code, Code::BadRequest);
  EXPECT_THAT(backend.error().message, HasSubstr("iptables"));
}

}  // namespace
}  // namespace coracle::proxy
