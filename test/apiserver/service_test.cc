// Services through the registry: defaults, checks and what they take from the shared ranges.
#include <set>

#include "registry_fixture.h"

namespace coracle {
namespace {

using resources::kServices;

class ServiceTest : public RegistryFixture {
 protected:
  void refused(const std::string& name, const Json& spec, const std::string& field,
               const std::string& message) {
    SCOPED_TRACE(name);
    const auto created = create(kServices, simple_service(name, spec));
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().code, Code::Invalid) << created.error().message;
    bool found = false;
    for (const Cause& cause : created.error().causes)
      found = found || (cause.field == field && cause.message.find(message) != std::string::npos);
    EXPECT_TRUE(found) << field << ": " << message << "\n" << created.error().message;
  }
};

TEST_F(ServiceTest, DefaultsOfEachType) {
  const Json plain = make(kServices, simple_service("plain"))["spec"];
  EXPECT_EQ(plain["type"], "ClusterIP");
  EXPECT_EQ(plain["sessionAffinity"], "None");
  EXPECT_EQ(plain["ports"], Json::array({{{"port", 80}, {"protocol", "TCP"}, {"targetPort", 80}}}));
  EXPECT_EQ(plain["internalTrafficPolicy"], "Cluster");
  EXPECT_EQ(plain["ipFamilies"], Json::array({"IPv4"}));
  EXPECT_EQ(plain["ipFamilyPolicy"], "SingleStack");
  EXPECT_EQ(plain["clusterIPs"], Json::array({plain["clusterIP"]}));
  EXPECT_TRUE(
      Cidr::parse("10.96.0.0/16")->contains(*Ip::parse(plain["clusterIP"].get<std::string>())));
  EXPECT_FALSE(plain.contains("externalTrafficPolicy"));

  const Json node_port = make(kServices, simple_service("np", {{"type", "NodePort"}}))["spec"];
  EXPECT_EQ(node_port["externalTrafficPolicy"], "Cluster");
  EXPECT_GE(node_port["ports"][0]["nodePort"], 30000);
  EXPECT_FALSE(node_port.contains("allocateLoadBalancerNodePorts"));

  const Json balancer = make(kServices, simple_service("lb", {{"type", "LoadBalancer"}}))["spec"];
  EXPECT_EQ(balancer["allocateLoadBalancerNodePorts"], true);
  EXPECT_TRUE(balancer["ports"][0].contains("nodePort"));

  const Json local =
      make(kServices, simple_service("local", {{"type", "LoadBalancer"},
                                               {"externalTrafficPolicy", "Local"}}))["spec"];
  EXPECT_GE(local["healthCheckNodePort"], 30000);

  const Json headless =
      make(kServices, simple_service("headless", {{"clusterIP", "None"}}))["spec"];
  EXPECT_EQ(headless["clusterIPs"], Json::array({"None"}));

  const Json name = make(
      kServices, {{"metadata", {{"name", "ext"}}},
                  {"spec", {{"type", "ExternalName"}, {"externalName", "example.com"}}}})["spec"];
  EXPECT_EQ(name, (Json{{"type", "ExternalName"},
                        {"externalName", "example.com"},
                        {"sessionAffinity", "None"}}));

  const Json affinity =
      make(kServices, simple_service("aff", {{"sessionAffinity", "ClientIP"}}))["spec"];
  EXPECT_EQ(affinity["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
}

TEST_F(ServiceTest, BadFieldsAreNamed) {
  const auto ports = [](Json list) { return Json{{"ports", std::move(list)}}; };
  refused("no-ports", ports(Json::array()), "spec.ports", "Required value");
  refused("port-0", ports({{{"port", 0}}}), "spec.ports[0].port",
          "Invalid value: 0: must be between 1 and 65535, inclusive");
  refused("port-65536", ports({{{"port", 65536}}}), "spec.ports[0].port",
          "must be between 1 and 65535");
  refused("no-names", ports({{{"port", 1}}, {{"port", 2}}}), "spec.ports[1].name",
          "Required value");
  refused("same-name", ports({{{"name", "a"}, {"port", 1}}, {{"name", "a"}, {"port", 2}}}),
          "spec.ports[1].name", "Duplicate value: \"a\"");
  refused("same-port", ports({{{"name", "a"}, {"port", 1}}, {{"name", "b"}, {"port", 1}}}),
          "spec.ports[1]", "Duplicate value");
  refused("protocol", ports({{{"port", 1}, {"protocol", "ICMP"}}}), "spec.ports[0].protocol",
          "Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"");
  refused("target", ports({{{"port", 1}, {"targetPort", "Bad"}}}), "spec.ports[0].targetPort",
          "must contain only alpha-numeric");
  refused("target-number", ports({{{"port", 1}, {"targetPort", 70000}}}),
          "spec.ports[0].targetPort", "must be between");
  refused("node-port", ports({{{"port", 1}, {"nodePort", 30001}}}), "spec.ports[0].nodePort",
          "may not be used when `type` is 'ClusterIP'");
  refused("type", {{"type", "Nope"}}, "spec.type", "Unsupported value: \"Nope\"");
  refused("ip", {{"clusterIP", "10.96.0"}}, "spec.clusterIPs[0]", "must be a valid IP address");
  refused("ip-v6", {{"clusterIP", "fd00::1"}}, "spec.clusterIPs[0]",
          "not configured on this cluster");
  refused("headless-np", {{"clusterIP", "None"}, {"type", "NodePort"}}, "spec.clusterIPs[0]",
          "may not be set to 'None'");
  refused("affinity", {{"sessionAffinity", "Cookie"}}, "spec.sessionAffinity", "Unsupported value");
  refused("timeout",
          {{"sessionAffinity", "ClientIP"},
           {"sessionAffinityConfig", {{"clientIP", {{"timeoutSeconds", 90000}}}}}},
          "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
          "must be greater than 0 and less than 86400");
  refused("policy", {{"externalTrafficPolicy", "Local"}}, "spec.externalTrafficPolicy",
          "may only be set for externally-accessible services");
  refused("internal", {{"internalTrafficPolicy", "X"}}, "spec.internalTrafficPolicy",
          "Unsupported value");
  refused("family", {{"ipFamilies", {"IPv6"}}}, "spec.ipFamilies[0]",
          "not configured on this cluster");
  refused("dual", {{"ipFamilyPolicy", "RequireDualStack"}}, "spec.ipFamilyPolicy",
          "not configured for dual-stack");
  refused("external-name", {{"type", "ExternalName"}}, "spec.externalName", "Required value");
  refused("external-ip", {{"externalIPs", {"127.0.0.1"}}}, "spec.externalIPs[0]", "loopback");
  refused("selector", {{"selector", {{"a", "not ok"}}}}, "spec.selector", "a valid label");
  refused("1starts-with-digit", Json::object(), "metadata.name",
          "a DNS-1035 label must consist of");
  refused("class", {{"loadBalancerClass", "x"}}, "spec.loadBalancerClass",
          "may only be used when `type` is 'LoadBalancer'");
}

TEST_F(ServiceTest, OneAnswerListsEveryBadField) {
  const auto created =
      create(kServices,
             simple_service("Bad", {{"type", "Nope"}, {"ports", Json::array({{{"port", 0}}})}}));
  ASSERT_FALSE(created);
  EXPECT_GE(created.error().causes.size(), 3U);
  EXPECT_NE(created.error().message.find("is invalid: ["), std::string::npos);
}

TEST_F(ServiceTest, ExplicitAddressesAreHonouredOnceAndReleased) {
  EXPECT_EQ(make(kServices, simple_service("a", {{"clusterIP", "10.96.7.7"}}))["spec"]["clusterIP"],
            "10.96.7.7");
  refused("b", {{"clusterIP", "10.96.7.7"}}, "spec.clusterIPs",
          "failed to allocate IP 10.96.7.7: provided IP is already allocated");
  refused("b", {{"clusterIP", "10.97.0.1"}}, "spec.clusterIPs", "is not in the valid range");
  refused("b", {{"clusterIP", "10.96.0.1"}}, "spec.clusterIPs", "provided IP is already allocated");
  refused("b", {{"clusterIP", "10.96.0.10"}}, "spec.clusterIPs",
          "provided IP is already allocated");
  ASSERT_TRUE(remove(kServices, "a"));
  make(kServices, simple_service("b", {{"clusterIP", "10.96.7.7"}}));
}

TEST_F(ServiceTest, NodePortsAreHonouredOnceAndReleased) {
  const auto with = [](int port) {
    return Json{{"type", "NodePort"}, {"ports", Json::array({{{"port", 80}, {"nodePort", port}}})}};
  };
  make(kServices, simple_service("a", with(30080)));
  refused("b", with(30080), "spec.ports[0].nodePort",
          "Invalid value: 30080: provided port is already allocated");
  refused("b", with(80), "spec.ports[0].nodePort", "The range of valid ports is 30000-32767");
  ASSERT_TRUE(remove(kServices, "a"));
  make(kServices, simple_service("b", with(30080)));
  // A refused Service keeps nothing: neither its address nor its first port.
  refused("c",
          {{"type", "NodePort"},
           {"clusterIP", "10.96.9.9"},
           {"ports",
            {{{"name", "x"}, {"port", 1}, {"nodePort", 30001}},
             {{"name", "y"}, {"port", 2}, {"nodePort", 30080}}}}},
          "spec.ports[1].nodePort", "already allocated");
  make(kServices, simple_service("c", {{"clusterIP", "10.96.9.9"}}));
  make(kServices, simple_service("d", with(30001)));
}

TEST_F(ServiceTest, ProtocolsShareANodePort) {
  const Json spec =
      make(kServices,
           simple_service("dns", {{"type", "NodePort"},
                                  {"ports",
                                   {{{"name", "u"}, {"port", 53}, {"protocol", "UDP"}},
                                    {{"name", "t"}, {"port", 53}, {"protocol", "TCP"}}}}}))["spec"];
  EXPECT_EQ(spec["ports"][0]["nodePort"], spec["ports"][1]["nodePort"]);
}

TEST_F(ServiceTest, TypeChangesTakeAndGiveBack) {
  Json service = make(kServices, simple_service("s", {{"clusterIP", "10.96.5.5"}}));
  const auto change = [&](const Json& spec) {
    auto changed = patch(kServices, "s", {{"spec", spec}});
    EXPECT_TRUE(changed) << changed.error().message;
    return changed ? (*changed)["spec"] : Json();
  };
  Json spec = change({{"type", "NodePort"}});
  EXPECT_EQ(spec["clusterIP"], "10.96.5.5");
  const int port = spec["ports"][0].value("nodePort", 0);
  EXPECT_GE(port, 30000);
  spec = change({{"type", "LoadBalancer"}});
  EXPECT_EQ(spec["ports"][0]["nodePort"], port);
  spec = change({{"type", "ClusterIP"}});
  EXPECT_FALSE(spec["ports"][0].contains("nodePort"));
  EXPECT_FALSE(spec.contains("allocateLoadBalancerNodePorts"));
  EXPECT_FALSE(spec.contains("externalTrafficPolicy"));
  make(kServices, simple_service("takes-port", {{"type", "NodePort"},
                                                {"ports", {{{"port", 80}, {"nodePort", port}}}}}));
  spec = change({{"type", "ExternalName"}, {"externalName", "example.com"}});
  EXPECT_FALSE(spec.contains("clusterIP"));
  EXPECT_FALSE(spec.contains("clusterIPs"));
  make(kServices, simple_service("takes-ip", {{"clusterIP", "10.96.5.5"}}));
  spec = change({{"type", "ClusterIP"}});
  EXPECT_TRUE(spec.contains("clusterIP"));
  EXPECT_NE(spec["clusterIP"], "10.96.5.5");
  EXPECT_FALSE(spec.contains("externalName"));
}

TEST_F(ServiceTest, APortKeepsItsNodePortByName) {
  const auto ports_of = [](const Json& service) {
    std::map<std::string, int> out;
    for (const Json& port : service["spec"]["ports"])
      out[port.value("name", "")] = port.value("nodePort", 0);
    return out;
  };
  const Json first =
      make(kServices,
           simple_service(
               "s", {{"type", "NodePort"},
                     {"ports", {{{"name", "a"}, {"port", 1}}, {{"name", "b"}, {"port", 2}}}}}));
  auto held = ports_of(first);
  // The numbers change and so does the order; a third port comes.
  const auto changed = update(kServices, simple_service("s", {{"type", "NodePort"},
                                                              {"ports",
                                                               {{{"name", "b"}, {"port", 20}},
                                                                {{"name", "c"}, {"port", 1}},
                                                                {{"name", "a"}, {"port", 10}}}}}));
  ASSERT_TRUE(changed) << changed.error().message;
  auto now = ports_of(*changed);
  EXPECT_EQ(now["a"], held["a"]);
  EXPECT_EQ(now["b"], held["b"]);
  EXPECT_NE(now["c"], 0);
  // One asks for another's: that one gets a new one.
  const auto moved = update(
      kServices, simple_service("s", {{"type", "NodePort"},
                                      {"ports",
                                       {{{"name", "x"}, {"port", 1}, {"nodePort", held["a"]}},
                                        {{"name", "a"}, {"port", 10}}}}}));
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_EQ(ports_of(*moved)["x"], held["a"]);
  EXPECT_NE(ports_of(*moved)["a"], held["a"]);
}

TEST_F(ServiceTest, NodePortsAreOnlyDroppedWhenTheyWereCarried) {
  make(kServices, simple_service("s", {{"type", "NodePort"}, {"externalIPs", {"192.0.2.9"}}}));
  Json spec = (*patch(kServices, "s", {{"spec", {{"externalTrafficPolicy", "Local"}}}}))["spec"];
  spec["type"] = "ClusterIP";
  spec["ports"][0]["nodePort"] = spec["ports"][0]["nodePort"].get<int>() == 30123 ? 30124 : 30123;
  const auto refused = patch(kServices, "s", {{"spec", spec}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().causes.at(0).field, "spec.ports[0].nodePort");
  const auto changed = patch(kServices, "s", {{"spec", {{"type", "ClusterIP"}}}});
  ASSERT_TRUE(changed) << changed.error().message;
  EXPECT_EQ((*changed)["spec"]["externalTrafficPolicy"], "Local")
      << "external addresses still make use of it";
}

TEST_F(ServiceTest, TheHealthCheckPortStays) {
  const Json spec = {{"type", "LoadBalancer"}, {"externalTrafficPolicy", "Local"}};
  const Json made = make(kServices, simple_service("s", spec));
  const auto replaced = update(kServices, simple_service("s", spec));
  ASSERT_TRUE(replaced) << replaced.error().message;
  EXPECT_EQ((*replaced)["spec"]["healthCheckNodePort"], made["spec"]["healthCheckNodePort"]);
  const auto without = patch(kServices, "s", {{"spec", {{"externalTrafficPolicy", "Cluster"}}}});
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_FALSE((*without)["spec"].contains("healthCheckNodePort"));
}

TEST_F(ServiceTest, ClusterIpIsImmutable) {
  make(kServices, simple_service("s", {{"clusterIP", "10.96.5.5"}}));
  for (const Json& spec : {Json{{"clusterIP", "10.96.5.6"}}, Json{{"clusterIP", "None"}}}) {
    const auto changed = patch(kServices, "s", {{"spec", spec}});
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().causes.at(0).field, "spec.clusterIPs[0]");
    EXPECT_NE(changed.error().message.find("may not change once set"), std::string::npos);
  }
  // A manifest that says nothing keeps it.
  const auto replaced = update(kServices, simple_service("s"));
  ASSERT_TRUE(replaced) << replaced.error().message;
  EXPECT_EQ((*replaced)["spec"]["clusterIP"], "10.96.5.5");
}

TEST_F(ServiceTest, AFullRangeSaysSo) {
  open("10.96.0.0/28");
  int created = 0;
  for (int i = 0; i < 20; ++i) {
    const auto service = create(kServices, simple_service("s" + std::to_string(i)));
    if (service) {
      ++created;
      continue;
    }
    EXPECT_EQ(service.error().code, Code::Internal);
    EXPECT_EQ(service.error().message,
              "Internal error occurred: failed to allocate a serviceIP: range is full");
  }
  EXPECT_EQ(created, 12);  // 14 but the kubernetes Service's and the DNS address
  ASSERT_TRUE(remove(kServices, "s3"));
  EXPECT_TRUE(create(kServices, simple_service("again")));
}

TEST_F(ServiceTest, RestartsKeepWhatIsHeld) {
  const Json spec = make(kServices, simple_service("s", {{"type", "NodePort"}}))["spec"];
  open();
  refused("b", {{"clusterIP", spec["clusterIP"]}}, "spec.clusterIPs", "already allocated");
  refused("b",
          {{"type", "NodePort"},
           {"ports", {{{"port", 1}, {"nodePort", spec["ports"][0]["nodePort"]}}}}},
          "spec.ports[0].nodePort", "already allocated");
  EXPECT_EQ(stored(kServices, "s")["spec"], spec);
}

TEST_F(ServiceTest, ManyServicesNeverShare) {
  std::set<std::string> ips;
  std::set<int> ports;
  for (int i = 0; i < 300; ++i) {
    const Json spec =
        make(kServices, simple_service("s" + std::to_string(i), {{"type", "NodePort"}}))["spec"];
    EXPECT_TRUE(ips.insert(spec["clusterIP"].get<std::string>()).second);
    EXPECT_TRUE(ports.insert(spec["ports"][0]["nodePort"].get<int>()).second);
  }
}

}  // namespace
}  // namespace coracle
