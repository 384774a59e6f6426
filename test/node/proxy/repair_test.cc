// What is written to repair what others damaged: pure.
#include <gmock/gmock.h>

#include "node/proxy/iptables_backend.h"

namespace coracle::proxy {
namespace {

using ::testing::ElementsAre;
using ::testing::Key;

const Ruleset kWanted{{},
                      {{"filter", "FORWARD", "-m conntrack --ctstate NEW -j KUBE-SERVICES"},
                       {"filter", "FORWARD", "-j KUBE-FORWARD"},
                       {"nat", "OUTPUT", "-j KUBE-SERVICES"}}};

std::string repairs(const std::string& filter, const std::string& nat) {
  return jump_repairs(
      kWanted, {{"filter", find_own_rules("filter", filter)}, {"nat", find_own_rules("nat", nat)}});
}

TEST(JumpRepairs, AreNoneWhereAllJumpsAreInOrder) {
  EXPECT_EQ(repairs("-A FORWARD -j OTHER\n-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES\n"
                    "-A FORWARD -j OTHER\n-A FORWARD -j KUBE-FORWARD\n",
                    "-A OUTPUT -j KUBE-SERVICES\n"),
            "");
}

TEST(JumpRepairs, PutAllOfAChainOnTopInOrder) {
  EXPECT_EQ(repairs("-A FORWARD -j OTHER\n-A FORWARD -m comment --comment x -j KUBE-FORWARD\n",
                    "-A OUTPUT -j KUBE-SERVICES\n"),
            "*filter\n-D FORWARD -m comment --comment x -j KUBE-FORWARD\n"
            "-I FORWARD 1 -j KUBE-FORWARD\n"
            "-I FORWARD 1 -m conntrack --ctstate NEW -j KUBE-SERVICES\nCOMMIT\n");
}

TEST(JumpRepairs, RemoveDoubles) {
  EXPECT_EQ(repairs("-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES\n"
                    "-A FORWARD -j KUBE-FORWARD\n",
                    "-A OUTPUT -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n"),
            "*nat\n-D OUTPUT -j KUBE-SERVICES\n-D OUTPUT -j KUBE-SERVICES\n"
            "-I OUTPUT 1 -j KUBE-SERVICES\nCOMMIT\n");
}

TEST(ContentsOf, AreThoseThatASyncWouldWrite) {
  ServiceTable table;
  for (const char* name : {"a", "b"}) {
    ServicePort port;
    port.service = {"default", name};
    port.cluster_ip = Ip::parse("10.96.0.5").value();
    port.port = 80;
    port.cluster_endpoints = {{Ip::parse("10.42.0.2").value(), 8080, false}};
    table.ports.push_back(port);
  }
  const IptablesConfig config{Cidr::parse("10.42.0.0/16").value()};
  const ChainId svc{"nat", service_chain("KUBE-SVC-", "default/b", Protocol::Tcp)};
  const ChainId shared{"nat", "KUBE-SERVICES"};
  const ChainId unknown{"nat", "KUBE-SVC-0000000000000000"};
  const auto found = contents_of({svc, shared, unknown}, table, config);
  EXPECT_THAT(found, ElementsAre(Key(shared), Key(svc)));
  const auto all = iptables_rules(table, config).chains;
  EXPECT_EQ(found.at(svc), all.at(svc));
  EXPECT_EQ(found.at(shared), all.at(shared));
  EXPECT_TRUE(contents_of({}, table, config).empty());
}

}  // namespace
}  // namespace coracle::proxy
