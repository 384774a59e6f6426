// The iptables backend on the real kernel, with both variants. Needs root.
#include <gmock/gmock.h>

#include "node/proxy/kernel_stage.h"

namespace coracle::proxy {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST_P(IptablesKernel, RoundRobinIsExact) {
  ServicePort udp = web(3);
  udp.protocol = Protocol::Udp;
  sync({web(3), udp});
  const Tally even{{"p0 10.42.0.5", 100}, {"p1 10.42.0.5", 100}, {"p2 10.42.0.5", 100}};
  EXPECT_EQ(tally("p3", kVip, 80, 300), even);
  EXPECT_EQ(tally("p3", kVip, 80, 300, SOCK_DGRAM), even);
}

TEST_P(IptablesKernel, EveryWayInReachesTheEndpoints) {
  sync({web(1)});
  EXPECT_EQ(tally("out", kNode, 30080, 2), (Tally{{"p0 10.42.0.1", 2}}));  // masqueraded
  EXPECT_EQ(tally("p3", kNode, 30080, 2), (Tally{{"p0 10.42.0.1", 2}}));
  EXPECT_EQ(tally("node", kNode, 30080, 2), (Tally{{"p0 10.42.0.1", 2}}));
  EXPECT_EQ(tally("node", kVip, 80, 2), (Tally{{"p0 10.42.0.1", 2}}));
  EXPECT_EQ(tally("p0", kVip, 80, 2), (Tally{{"p0 10.42.0.1", 2}}));  // hairpin
  EXPECT_EQ(tally("node", "127.0.0.1", 30080, 1), (Tally{{"refused", 1}}));
}

TEST_P(IptablesKernel, PoliciesAndFirewallHold) {
  ServicePort local = web(1);
  local.external_local = true;
  local.load_balancer_ips = {ip(kNode)};
  local.source_ranges = {Cidr::parse("192.0.2.2/32").value()};
  sync({local});
  EXPECT_EQ(tally("out", kNode, 30080, 2), (Tally{{"p0 " + kOutside, 2}}));  // keeps the source
  EXPECT_EQ(tally("out", kNode, 80, 2), (Tally{{"p0 " + kOutside, 2}}));
  EXPECT_EQ(tally("p3", kNode, 80, 1, SOCK_STREAM, kShortPatience),
            (Tally{{"timeout", 1}}));  // not in the source ranges
}

TEST_P(IptablesKernel, NoEndpointsIsRefusedAtOnce) {
  sync({web(0)});
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    ServicePort port = web(0);
    port.protocol = type == SOCK_STREAM ? Protocol::Tcp : Protocol::Udp;
    sync({port});
    EXPECT_EQ(tally("p3", kVip, 80, 1, type), (Tally{{"refused", 1}}));
    EXPECT_EQ(tally("node", kVip, 80, 1, type), (Tally{{"refused", 1}}));
    EXPECT_EQ(tally("out", kNode, 30080, 1, type), (Tally{{"refused", 1}}));
  }
  sync({web(1)});
  EXPECT_EQ(tally("p3", kVip, 80, 3), (Tally{{"p0 10.42.0.5", 3}}));
}

TEST_P(IptablesKernel, AffinityKeepsAClientAtItsEndpoint) {
  ServicePort port = web(3);
  port.affinity_seconds = 100;
  sync({port});
  EXPECT_EQ(tally("p3", kVip, 80, 10).size(), 1U);
  EXPECT_EQ(tally("node", kVip, 80, 10).size(), 1U);
}

TEST_P(IptablesKernel, AUdpFlowLeavesAnEndpointThatIsGone) {
  ServicePort port = web(1);
  port.protocol = Protocol::Udp;
  ServicePort later = port;
  later.cluster_endpoints = {{ip("10.42.0.3"), 8080, true}};
  later.local_endpoints = later.cluster_endpoints;
  sync({port});
  in_namespace(ns("p3"), [&] {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const timeval limit{.tv_sec = kPatience.count(), .tv_usec = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in target = address(kVip, 80);
    EXPECT_EQ(::connect(fd, raw(target), sizeof target), 0);
    std::vector<std::string> answers;
    for (int i = 0; i < 4; ++i) {
      if (i == 2) sync({later});
      char buffer[100];
      (void)!::send(fd, "x", 1, MSG_NOSIGNAL);
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      answers.emplace_back(buffer, n > 0 ? 2 : 0);
    }
    ::close(fd);
    EXPECT_EQ(answers, (std::vector<std::string>{"p0", "p0", "p1", "p1"}));
  });
}

TEST_P(IptablesKernel, OnlyChangedChainsAreWritten) {
  ServicePort other = web(2);
  other.service.name = "other";
  other.cluster_ip = ip("10.96.0.51");
  other.node_port = 0;
  sync({other, web(2)});
  EXPECT_EQ(tally("p3", "10.96.0.51", 80, 10).size(), 2U);
  const std::string chain = service_chain("KUBE-SVC-", "default/other", Protocol::Tcp);
  const std::string counted = "[5:300] -A " + chain;
  EXPECT_THAT(saved(true), HasSubstr(counted));
  sync({other, web(3)});
  EXPECT_THAT(saved(true), HasSubstr(counted));
  EXPECT_EQ(tally("p3", kVip, 80, 9).size(), 3U);
}

TEST_P(IptablesKernel, RulesOfOthersStayAndCleanupLeavesNothing) {
  in_namespace(ns("node"), [&] {
    const auto done = tool_->restore(
        "*nat\n:KUBE-KUBELET-CANARY - [0:0]\n:OTHER - [0:0]\n-A POSTROUTING -j OTHER\n"
        "-A OTHER -s 172.30.0.0/16 -j MASQUERADE\nCOMMIT\n"
        "*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -s 203.0.113.0/24 -j DROP\n"
        "-A INPUT -j KUBE-FIREWALL\n-A FORWARD -s 203.0.113.9/32 -j ACCEPT\nCOMMIT\n");
    ASSERT_TRUE(done) << done.error().message;
  });
  const std::string before = saved();
  ServicePort everything = web(2);
  everything.external_local = true;
  everything.load_balancer_ips = {ip(kNode)};
  everything.source_ranges = {Cidr::parse("192.0.2.0/24").value()};
  everything.affinity_seconds = 5;
  sync({everything});
  EXPECT_THAT(saved(), HasSubstr("-A OTHER -s 172.30.0.0/16 -j MASQUERADE"));
  EXPECT_THAT(saved(), HasSubstr("-A KUBE-FIREWALL -s 203.0.113.0/24 -j DROP"));
  in_namespace(ns("node"), [&] {
    const auto done = backend_->cleanup();
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_TRUE(backend_->cleanup());
  });
  EXPECT_EQ(saved(), before);
}

TEST_P(IptablesKernel, AFlushIsSeenAndRepaired) {
  EXPECT_FALSE(intact());
  sync({web(1)});
  EXPECT_TRUE(intact());
  for (const char* text :
       {"*nat\n-F\nCOMMIT\n", "*filter\n-F\nCOMMIT\n", "*filter\n-F FORWARD\nCOMMIT\n"}) {
    SCOPED_TRACE(text);
    in_namespace(ns("node"), [&] {
      const auto done = tool_->restore(text);
      ASSERT_TRUE(done) << done.error().message;
    });
    EXPECT_FALSE(intact());
    backend_->invalidate();
    sync({web(1)});
    EXPECT_TRUE(intact());
    EXPECT_EQ(tally("p3", kVip, 80, 1), (Tally{{"p0 10.42.0.5", 1}}));
  }
}

TEST_P(IptablesKernel, ARestartTakesOverAndRemovesWhatIsStale) {
  ServicePort gone = web(2);
  gone.service.name = "gone";
  gone.cluster_ip = ip("10.96.0.51");
  gone.node_port = 30081;
  sync({gone, web(1)});
  // Requests go on during the take-over; none may fail.
  Tally during;
  std::jthread requests([&] { during = tally("p3", kVip, 80, 300); });
  for (int i = 0; i < 5; ++i) {
    backend_ = std::make_unique<IptablesBackend>(*tool_, config());
    sync({web(1)});
  }
  requests.join();
  EXPECT_EQ(during, (Tally{{"p0 10.42.0.5", 300}}));
  const std::string now = saved();
  EXPECT_THAT(now, Not(HasSubstr("default/gone")));
  EXPECT_THAT(now, Not(HasSubstr(service_chain("KUBE-SVC-", "default/gone", Protocol::Tcp))));
  std::size_t jumps = 0;
  for (std::size_t at = now.find("-A PREROUTING"); at != std::string::npos;
       at = now.find("-A PREROUTING", at + 1)) {
    ++jumps;
  }
  EXPECT_EQ(jumps, 1U);
}

TEST_P(IptablesKernel, AThousandServicesInChunks) {
  std::vector<ServicePort> ports;
  for (int i = 0; i < 1000; ++i) {
    ServicePort port = web(3);
    port.service.name = "s" + std::to_string(i);
    port.cluster_ip = ip("10.96.1.0").plus(static_cast<std::uint64_t>(i));
    port.node_port = 0;
    ports.push_back(port);
  }
  sync(ports);
  EXPECT_EQ(tally("p3", "10.96.1.99", 80, 9).size(), 3U);
  ports.resize(10);
  sync(ports);
  EXPECT_THAT(saved(), Not(HasSubstr("default/s99 ")));
  EXPECT_TRUE(intact());
}

TEST_P(IptablesKernel, AFailedSyncChangesNothingAndTheNextRebuilds) {
  sync({web(1)});
  const std::string before = saved();
  in_namespace(ns("node"), [&] {
    // A chain of ours that somebody else refers to can't be removed: the transaction fails as a
    // whole.
    const std::string sep =
        endpoint_chain("default/web", Protocol::Tcp, web(1).cluster_endpoints[0]);
    ASSERT_TRUE(tool_->restore("*nat\n:OTHER - [0:0]\n-A OTHER -j " + sep + "\nCOMMIT\n"));
    EXPECT_FALSE(backend_->sync({{web(0)}}));
    EXPECT_FALSE(backend_->intact().value());
    ASSERT_TRUE(tool_->restore("*nat\n:OTHER - [0:0]\n-X OTHER\nCOMMIT\n"));
    EXPECT_TRUE(backend_->sync({{web(1)}}));
  });
  EXPECT_EQ(saved(), before);
}

// A UDP socket in a namespace that keeps its port, and so its flow.
class UdpFlowClient {
 public:
  explicit UdpFlowClient(const std::string& ns) {
    in_namespace(ns, [&] { fd_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in target = address(kVip, 80);
    EXPECT_EQ(::connect(fd_, raw(target), sizeof target), 0);
  }
  ~UdpFlowClient() { ::close(fd_); }
  UdpFlowClient(const UdpFlowClient&) = delete;
  UdpFlowClient& operator=(const UdpFlowClient&) = delete;
  // The name of who answers, "refused" when the node says that nobody does.
  std::string answer() const {
    char buffer[100] = {};
    (void)!::send(fd_, "x", 1, MSG_NOSIGNAL);
    if (::recv(fd_, buffer, sizeof buffer, 0) >= 2) return {buffer, 2};
    return errno == ECONNREFUSED ? "refused" : "timeout";
  }

 private:
  int fd_ = -1;
};

ServicePort udp_web(std::vector<std::string> pods) {
  ServicePort port;
  port.service = {"default", "web"};
  port.protocol = Protocol::Udp;
  port.cluster_ip = ip(kVip);
  port.port = 80;
  for (const std::string& pod : pods) port.cluster_endpoints.push_back({ip(pod), 8080, true});
  port.local_endpoints = port.cluster_endpoints;
  return port;
}

TEST_P(IptablesKernel, AUdpFlowEndsWithItsServicesLastEndpoint) {
  sync({udp_web({"10.42.0.2"})});
  const UdpFlowClient client(ns("p3"));
  EXPECT_EQ(client.answer(), "p0");
  sync({udp_web({})});
  EXPECT_EQ(client.answer(), "refused");
  sync({udp_web({"10.42.0.3"})});
  EXPECT_EQ(client.answer(), "p1");
}

TEST_P(IptablesKernel, AUdpFlowLeavesAnEndpointThatWentWhileNobodyLooked) {
  sync({udp_web({"10.42.0.2"})});
  const UdpFlowClient client(ns("p3"));
  EXPECT_EQ(client.answer(), "p0");
  backend_ = std::make_unique<IptablesBackend>(*tool_, config());
  sync({udp_web({"10.42.0.3"})});
  EXPECT_EQ(client.answer(), "p1");
}

TEST_P(IptablesKernel, AffinityEndsAfterItsTimeout) {
  ServicePort port = web(3);
  port.affinity_seconds = 1;
  sync({port});
  const Tally first = tally("p3", kVip, 80, 1);
  // The kernel tells nobody when an entry gets too old.
  std::this_thread::sleep_for(2500ms);
  // Without an entry it is the next one's turn.
  EXPECT_NE(tally("p3", kVip, 80, 1), first);
}

TEST_P(IptablesKernel, ExternalIpsReachTheEndpointsFromEverywhere) {
  ServicePort port = web(1);
  port.external_ips = {ip("198.51.100.7")};
  sync({port});
  for (const char* from : {"out", "p3", "node"})
    EXPECT_EQ(tally(from, "198.51.100.7", 80, 2), (Tally{{"p0 10.42.0.1", 2}})) << from;
  sync({web(1)});
  EXPECT_THAT(saved(), Not(HasSubstr("198.51.100.7")));
}

INSTANTIATE_TEST_SUITE_P(Variants, IptablesKernel,
                         ::testing::Values(IptablesVariant::Nft, IptablesVariant::Legacy),
                         [](const auto& parameter) {
                           return parameter.param == IptablesVariant::Nft ? "nft" : "legacy";
                         });

}  // namespace
}  // namespace coracle::proxy
