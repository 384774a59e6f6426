// What the fields of Services and EndpointSlices mean for the table.
#include "node/proxy/service_table.h"

#include <coracle/api/endpoint_slice.h>
#include <coracle/api/service.h>
#include <gtest/gtest.h>

namespace coracle::proxy {
namespace {

template <typename T>
std::shared_ptr<const T> decoded(const std::string& text) {
  const auto object = Object::parse(text);
  if (!object) throw std::runtime_error(object.error().message);
  auto value = T::decode(*object);
  if (!value) throw std::runtime_error(value.error().message);
  return std::make_shared<const T>(std::move(*value));
}

std::string service_text(const std::string& spec, const std::string& rest = "") {
  return R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"default"},"spec":{)" +
         spec + "}" + rest + "}";
}
std::string slice_text(const std::string& endpoints,
                       const std::string& port = R"("name":"http","port":8080)") {
  return R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","metadata":{"name":"web-1",
"namespace":"default","labels":{"kubernetes.io/service-name":"web"}},"ports":[{)" +
         port + R"(,"protocol":"TCP"}],"endpoints":[)" + endpoints + "]}";
}
std::string endpoint(const std::string& ip, const std::string& node,
                     const std::string& conditions = "") {
  return R"({"addresses":[")" + ip + R"("],"nodeName":")" + node + R"(","conditions":{)" +
         conditions + "}}";
}

const std::string kPlain =
    R"("clusterIP":"10.96.0.50","ports":[{"name":"http","port":80,"targetPort":8080,"protocol":"TCP"}])";

ServiceTable table(const std::string& service, const std::vector<std::string>& slices = {}) {
  ServiceView view;
  view.services.push_back(decoded<Service>(service));
  for (const std::string& slice : slices) view.slices.push_back(decoded<EndpointSlice>(slice));
  view.node_name = "n1";
  return service_table(view);
}
std::string names(const std::vector<ServiceEndpoint>& endpoints) {
  std::string out;
  for (const auto& e : endpoints) {
    out += (out.empty() ? "" : " ") + e.ip.to_string() + ":" + std::to_string(e.port) +
           (e.local ? "*" : "");
  }
  return out;
}

TEST(ServiceTable, ReadsEveryField) {
  const auto rows =
      table(service_text(
                R"("type":"LoadBalancer","clusterIP":"10.96.0.50","ports":[{"name":"http","port":80,
"nodePort":30080,"protocol":"TCP"}],"externalIPs":["203.0.113.7","2001:db8::1"],"sessionAffinity":"ClientIP",
"sessionAffinityConfig":{"clientIP":{"timeoutSeconds":77}},"externalTrafficPolicy":"Local",
"internalTrafficPolicy":"Local","loadBalancerSourceRanges":["192.0.2.9/24"])",
                R"(,"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"},{"hostname":"x"}]}})"))
          .ports;
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].id(), "default/web:http");
  EXPECT_EQ(rows[0].cluster_ip.to_string(), "10.96.0.50");
  EXPECT_EQ(rows[0].node_port, 30080);
  ASSERT_EQ(rows[0].external_ips.size(), 1U);
  ASSERT_EQ(rows[0].load_balancer_ips.size(), 1U);
  EXPECT_EQ(rows[0].load_balancer_ips[0].to_string(), "192.0.2.1");
  ASSERT_EQ(rows[0].source_ranges.size(), 1U);
  EXPECT_EQ(rows[0].source_ranges[0].to_string(), "192.0.2.0/24");
  EXPECT_EQ(rows[0].affinity_seconds, 77);
  EXPECT_TRUE(rows[0].external_local);
  EXPECT_TRUE(rows[0].internal_local);
}

TEST(ServiceTable, ServicesWithoutAnAddressHaveNoRows) {
  for (const char* spec :
       {R"("clusterIP":"None","ports":[{"port":80}])",
        R"("type":"ExternalName","externalName":"a.b")", R"("ports":[{"port":80}])",
        R"("clusterIP":"2001:db8::5","ports":[{"port":80}])"}) {
    SCOPED_TRACE(spec);
    EXPECT_TRUE(table(service_text(spec)).ports.empty());
  }
}

TEST(ServiceTable, EndpointsByTheirConditions) {
  struct Case {
    const char* name;
    std::vector<std::string> endpoints;
    const char* cluster;
    const char* local;
  };
  const std::string down = R"("ready":false)";
  const std::string ending = R"("ready":false,"serving":true,"terminating":true)";
  const std::string ended = R"("ready":false,"serving":false,"terminating":true)";
  const std::vector<Case> cases{
      {"none", {}, "", ""},
      {"no word is ready", {endpoint("10.42.0.2", "n1")}, "10.42.0.2:8080*", "10.42.0.2:8080*"},
      {"not ready",
       {endpoint("10.42.0.2", "n1", down), endpoint("10.42.1.2", "n2")},
       "10.42.1.2:8080",
       ""},
      {"terminating only when nobody is ready",
       {endpoint("10.42.0.2", "n1", ending), endpoint("10.42.1.2", "n2")},
       "10.42.1.2:8080",
       "10.42.0.2:8080*"},
      {"all terminating",
       {endpoint("10.42.0.2", "n1", ending), endpoint("10.42.1.2", "n2", ended)},
       "10.42.0.2:8080*",
       "10.42.0.2:8080*"},
      {"sorted",
       {endpoint("10.42.1.2", "n2"), endpoint("10.42.0.2", "n1")},
       "10.42.0.2:8080* 10.42.1.2:8080",
       "10.42.0.2:8080*"},
      {"bad addresses are left out",
       {endpoint("nonsense", "n1"), endpoint("2001:db8::2", "n1")},
       "",
       ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::string all;
    for (const auto& e : c.endpoints) all += (all.empty() ? "" : ",") + e;
    const auto rows = table(service_text(kPlain), {slice_text(all)}).ports;
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(names(rows[0].cluster_endpoints), c.cluster);
    EXPECT_EQ(names(rows[0].local_endpoints), c.local);
  }
}

TEST(ServiceTable, SlicesAreJoinedAndAnAddressCountsOnce) {
  const auto rows = table(service_text(kPlain),
                          {slice_text(endpoint("10.42.0.2", "n1", R"("ready":false)")),
                           slice_text(endpoint("10.42.0.2", "n1")),
                           slice_text(endpoint("10.42.0.3", "n1"), R"("name":"other","port":9)")})
                        .ports;
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(names(rows[0].cluster_endpoints), "10.42.0.2:8080*");
}

TEST(ServiceTable, WhatTheNodeItselfAnswersHasNoRow) {
  ServiceView view;
  view.services.push_back(decoded<Service>(service_text(
      R"("clusterIP":"10.96.0.10","ports":[{"name":"dns","port":53,"protocol":"UDP"},
{"name":"dns-tcp","port":53,"protocol":"TCP"},{"name":"metrics","port":9153,"protocol":"TCP"}])")));
  EXPECT_EQ(service_table(view).ports.size(), 3U);
  view.cluster_dns = *Ip::parse("10.96.0.10");
  const auto rows = service_table(view).ports;
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].port_name, "metrics");
  view.cluster_dns = *Ip::parse("10.96.0.11");
  EXPECT_EQ(service_table(view).ports.size(), 3U);
}

}  // namespace
}  // namespace coracle::proxy
