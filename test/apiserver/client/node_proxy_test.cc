// nodes/NAME/proxy through a whole API server: what the node tells comes out as it is.
#include <gmock/gmock.h>

#include "support/tls_client.h"
#include "tunnel_fixture.h"

namespace coracle {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kProxy = "/api/v1/nodes/n1/proxy";

class NodeProxyTest : public TunnelFixture {
 protected:
  void SetUp() override {
    TunnelFixture::SetUp();
    const Json node = {{"apiVersion", "v1"}, {"kind", "Node"}, {"metadata", {{"name", "n1"}}}};
    ASSERT_EQ(post("/api/v1/nodes", node).code, 201);
  }
  Reply proxy(const std::string& path) const { return get(kProxy + path); }
  // Requests to nodes so far in this process, by the server's own account.
  int counted(const std::string& verb) const {
    const std::string series =
        R"(apiserver_request_total{verb=")" + verb + R"(",resource="nodes",code="200"} )";
    const std::string text = get("/metrics").body;
    const std::size_t at = text.find(series);
    return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + series.size());
  }
  static std::string message(const Reply& reply) { return json_string(reply.json(), {"message"}); }
};

TEST_F(NodeProxyTest, MetricsAndHealthComeThrough) {
  script_.text = "coracle_dns_requests_total 5\n";
  const int gets = counted("GET"), watches = counted("WATCH");
  start_node(credential("n1"));
  const Reply metrics = proxy("/metrics");
  EXPECT_EQ(metrics.code, 200) << metrics.body;
  EXPECT_EQ(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(metrics.header("content-type"), get("/metrics").header("content-type"));
  EXPECT_EQ(metrics.body, script_.text);
  EXPECT_EQ(asked_path(), "/v1/metrics");
  EXPECT_EQ(proxy("/metrics?timeout=5s&watch=1").body, script_.text) << "as scrapers ask";
  const Reply head = call("HEAD", std::string(kProxy) + "/metrics");
  EXPECT_EQ(head.code, 200);
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(head.header("content-type"), metrics.header("content-type"));
  EXPECT_EQ(proxy("/healthz").code, 200);
  EXPECT_EQ(asked_path(), "/v1/healthz");
  EXPECT_EQ(counted("GET"), gets + 3);
  EXPECT_EQ(counted("WATCH"), watches) << "what goes on until it ends is no watch";
}

TEST_F(NodeProxyTest, ALongAnswerComesInFull) {
  for (int i = 0; i < 100'000; ++i)
    script_.text.append("series{number=\"").append(std::to_string(i)).append("\"} 1\n");
  start_node(credential("n1"));
  EXPECT_EQ(proxy("/metrics").body, script_.text);
}

TEST_F(NodeProxyTest, WhatIsNotThereIsNamedWithWhatIs) {
  start_node(credential("n1"));
  for (const char* path : {"", "/", "/pods", "/metrics/cadvisor", "/v1/metrics"}) {
    const Reply reply = proxy(path);
    EXPECT_EQ(reply.code, 404) << path;
    EXPECT_EQ(reply.reason(), "NotFound");
    EXPECT_THAT(message(reply), HasSubstr("healthz, metrics"));
  }
  const Reply unknown = get("/api/v1/nodes/none/proxy/metrics");
  const Reply as_get = get("/api/v1/nodes/none");
  EXPECT_EQ(unknown.code, 404);
  EXPECT_EQ(unknown.body, as_get.body);
  EXPECT_EQ(get("/api/v1/nodes/n1:10250/proxy/metrics").code, 404);
  EXPECT_EQ(get("/api/v1/watch/nodes/n1/proxy").code, 404);
  EXPECT_EQ(get("/api/v1/namespaces/default/pods/p/proxy").code, 404) << "of nodes only";
  EXPECT_EQ(proxy("/metrics%2fcadvisor").code, 400);
  EXPECT_EQ(asked_path(), "") << "the node is not asked for any of it";
}

TEST_F(NodeProxyTest, OnlyReading) {
  start_node(credential("n1"));
  for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
    const Reply reply = call(method, std::string(kProxy) + "/metrics");
    EXPECT_EQ(reply.code, 405) << method;
    EXPECT_EQ(reply.reason(), "MethodNotAllowed");
    EXPECT_EQ(message(reply), "only GET is supported on nodes/proxy") << method;
  }
  EXPECT_EQ(asked_path(), "");
}

TEST_F(NodeProxyTest, ANodeThatIsAwayAndAnAgentThatIsOld) {
  const Reply away = proxy("/metrics");
  EXPECT_EQ(away.code, 503);
  EXPECT_EQ(away.reason(), "ServiceUnavailable");
  EXPECT_EQ(
      message(away),
      "the metrics of node \"n1\" cannot be read: node \"n1\" is not connected to the server");
  start_node(credential("n1"));
  refuse({Code::NotFound, "this agent knows no /v1/metrics"});
  const Reply old = proxy("/metrics");
  EXPECT_EQ(old.code, 404);
  EXPECT_EQ(message(old),
            "the agent of node \"n1\" knows no \"metrics\": it is of an earlier version");
}

TEST_F(NodeProxyTest, OnlyAdministrators) {
  const HttpClientOptions node = credential("n1");
  start_node(node);
  CallOptions anonymous;
  anonymous.certificate = false;
  EXPECT_EQ(call("GET", std::string(kProxy) + "/metrics", "", anonymous).code, 401);
  const auto as_node = [&](const std::string& path) {
    TlsClient own(server_->port(),
                  {.certificate_pem = node.client_cert_pem, .key_pem = node.client_key_pem});
    EXPECT_TRUE(own.send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    return own.read();
  };
  EXPECT_THAT(as_node("/api/v1/nodes/n1"), StartsWith("HTTP/1.1 200"));
  const std::string refused = as_node(std::string(kProxy) + "/metrics");
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(refused, HasSubstr("nodes/proxy"));
  EXPECT_EQ(asked_path(), "");
}

TEST_F(NodeProxyTest, DiscoveryNamesIt) {
  const auto find = [](const Json& list, const char* key, const char* name) {
    for (const Json& one : list)
      if (one[key] == name) return one;
    return Json();
  };
  EXPECT_EQ(find(get("/api/v1").json()["resources"], "name", "nodes/proxy"),
            Json::parse(R"({"name":"nodes/proxy","singularName":"","namespaced":false,
                            "kind":"NodeProxyOptions","verbs":["get"]})"));
  const Json core =
      get("/api", {"Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"})
          .json();
  const Json nodes = find(core["items"][0]["versions"][0]["resources"], "resource", "nodes");
  const Json proxy = find(nodes["subresources"], "subresource", "proxy");
  EXPECT_EQ(proxy["responseKind"]["kind"], "NodeProxyOptions");
  EXPECT_EQ(proxy["verbs"], Json({"get"}));
}

}  // namespace
}  // namespace coracle
