// Logs through a whole API server: the node's end over TLS, the reader's over HTTPS.
#include <apiserver/authorizer.h>
#include <gmock/gmock.h>

#include <thread>

#include "support/eventually.h"
#include "support/tls_client.h"
#include "tunnel_fixture.h"

namespace coracle {
namespace {

using test::eventually;
using ::testing::HasSubstr;

constexpr const char* kPod = "/api/v1/namespaces/default/pods/p";

class TunnelHttpTest : public TunnelFixture {
 protected:
  void bound_pod(int containers = 1) {
    Json list = Json::array();
    for (int i = 0; i < containers; ++i)
      list.push_back(
          {{"name", std::string(1, static_cast<char>('a' + i))}, {"image", "coracle/echo"}});
    const Json pod = {{"apiVersion", "v1"},
                      {"kind", "Pod"},
                      {"metadata", {{"name", "p"}}},
                      {"spec", {{"nodeName", "n1"}, {"containers", list}}}};
    ASSERT_EQ(post("/api/v1/namespaces/default/pods", pod).code, 201);
  }
  Reply log(const std::string& query = "") { return get(std::string(kPod) + "/log" + query); }
  std::string log_message(const std::string& query = "") {
    return json_string(log(query).json(), {"message"});
  }
};

TEST_F(TunnelHttpTest, ALogIsTextAndEnds) {
  bound_pod();
  start_node(credential("n1"));
  const Reply reply = log("?follow=true&tailLines=5&timestamps=true&sinceSeconds=7&limitBytes=9");
  EXPECT_EQ(reply.code, 200) << reply.body;
  EXPECT_EQ(reply.header("content-type"), "text/plain");
  EXPECT_EQ(reply.body, "a line\n");
  Json expected = {{"container", "a"}, {"follow", true},    {"timestamps", true},
                   {"tailLines", 5},   {"sinceSeconds", 7}, {"limitBytes", 9}};
  expected["uid"] = json_string(get(kPod).json(), {"metadata", "uid"});
  EXPECT_EQ(asked(), expected);
}

TEST_F(TunnelHttpTest, WhatIsWrongIsSaidAsUpstreamDoes) {
  bound_pod(2);
  start_node(credential("n1"));
  EXPECT_EQ(log_message(), "a container name must be specified for pod p, choose one of: [a b]");
  EXPECT_EQ(log_message("?container=x"), "container x is not valid for pod p");
  EXPECT_EQ(log("?container=x").code, 400);
  EXPECT_EQ(log("?container=b").code, 200);
  EXPECT_EQ(log("?container=b&tailLines=-1").code, 422);
  EXPECT_EQ(get("/api/v1/namespaces/default/pods/none/log").code, 404);
  EXPECT_EQ(call("POST", std::string(kPod) + "/log", "{}").code, 405);
  refuse({Code::NotFound, "no"});
  EXPECT_EQ(log_message("?container=b"), "container \"b\" in pod \"p\" is not available");
  const Json status = {
      {"status",
       {{"containerStatuses",
         Json::array({{{"name", "b"},
                       {"image", "x"},
                       {"imageID", ""},
                       {"ready", false},
                       {"restartCount", 0},
                       {"state", {{"waiting", {{"reason", "ContainerCreating"}}}}}}})}}}};
  CallOptions merge;
  merge.headers = {"Content-Type: application/merge-patch+json"};
  ASSERT_EQ(call("PATCH", std::string(kPod) + "/status", status.dump(), merge).code, 200);
  EXPECT_EQ(log_message("?container=b"),
            "container \"b\" in pod \"p\" is waiting to start: ContainerCreating");
  EXPECT_EQ(log("?container=b").code, 400);
  EXPECT_EQ(log_message("?container=b&previous=true"),
            "previous terminated container \"b\" in pod \"p\" not found");
}

TEST_F(TunnelHttpTest, APodThatIsNotBoundHasAnEmptyLog) {
  const Json pod = {
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata", {{"name", "p"}}},
      {"spec", {{"containers", Json::array({{{"name", "a"}, {"image", "coracle/echo"}}})}}}};
  ASSERT_EQ(post("/api/v1/namespaces/default/pods", pod).code, 201);
  EXPECT_EQ(log().code, 200);
  EXPECT_EQ(log().body, "");
}

TEST_F(TunnelHttpTest, ANodeThatIsAwayIsNamed) {
  bound_pod();
  const Reply reply = log();
  EXPECT_EQ(reply.code, 503);
  EXPECT_THAT(reply.body, HasSubstr("node \\\"n1\\\" is not connected"));
}

TEST_F(TunnelHttpTest, StrangersAreRefused) {
  bound_pod();
  const int port = server_->tunnel_port();
  const auto stranger_gets_nothing = [&](const TlsClient::Options& options) {
    TlsClient client(port, options);
    EXPECT_EQ(client.read(), "");  // closed, and not a byte of HTTP/2
  };
  stranger_gets_nothing({});
  stranger_gets_nothing(
      {.certificate_pem = read("pki/admin.crt"), .key_pem = read("pki/admin.key")});
  // Of another authority.
  const auto other = open_pki({.directory = dir_ + "/other",
                               .addresses = {},
                               .host_names = {},
                               .cluster_domain = "cluster.local"},
                              system_clock());
  ASSERT_TRUE(other) << other.error().message;
  const auto signer = CertificateSigner::create(dir_ + "/other", system_clock());
  const std::string key = *make_node_key();
  const auto request = read_signing_request(*make_signing_request(key));
  stranger_gets_nothing(
      {.certificate_pem = *(*signer)->sign_node(*request, "n1", std::chrono::hours(1)),
       .key_pem = key});
  // Plain text.
  const int fd = connect_loopback(port);
  ASSERT_EQ(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL), 18);
  char buffer[256];
  while (recv(fd, buffer, sizeof(buffer), 0) > 0) {
  }
  close(fd);
  EXPECT_EQ(log().code, 503);
}

TEST_F(TunnelHttpTest, AKeyThatWasReplacedIsRefused) {
  bound_pod();
  const Json node = {
      {"apiVersion", "v1"},
      {"kind", "Node"},
      {"metadata", {{"name", "n1"}, {"annotations", {{kNodeKeyAnnotation, "another"}}}}}};
  ASSERT_EQ(post("/api/v1/nodes", node).code, 201);
  start_node(credential("n1"));
  EXPECT_TRUE(eventually([&] { return connects_ > 5; }));
  EXPECT_EQ(log().code, 503);
}

TEST_F(TunnelHttpTest, FollowersThatLeaveAndThoseThatStay) {
  bound_pod();
  script_.ends = false;
  start_node(credential("n1"));
  std::vector<std::jthread> followers;
  std::atomic<int> heard{0};
  for (int i = 0; i < 40; ++i)  // more than there are threads
    followers.emplace_back([&](const std::stop_token& stop) {
      CallOptions options;
      options.stop = stop;
      options.timeout_ms = 120'000;
      options.on_data = [&](std::string_view) {
        ++heard;
        return true;
      };
      (void)call("GET", std::string(kPod) + "/log?follow=true", "", options);
    });
  EXPECT_TRUE(eventually([&] { return heard == 40; }));
  EXPECT_EQ(script_.open, 40);
  EXPECT_EQ(get(kPod).code, 200);
  for (std::size_t i = 0; i < 20; ++i) followers[i].request_stop();
  EXPECT_TRUE(eventually([&] { return script_.open == 20; }));
  server_->stop();  // ends the others
  followers.clear();
}

TEST_F(TunnelHttpTest, SlowReadersHoldUpNobody) {
  bound_pod();
  script_.endless = true;
  script_.text = std::string(1000, 'x') + "\n";
  start_node(credential("n1"));
  std::vector<std::unique_ptr<TlsClient>> slow;
  TlsClient::Options options;
  options.receive_buffer = 4096;
  options.certificate_pem = read("pki/admin.crt");
  options.key_pem = read("pki/admin.key");
  for (int i = 0; i < 100; ++i) {
    slow.push_back(std::make_unique<TlsClient>(server_->port(), options));
    ASSERT_TRUE(slow.back()->send("GET " + std::string(kPod) +
                                  "/log?follow=true HTTP/1.1\r\nHost: x\r\n\r\n"));
    slow.back()->read("xxx");
  }
  EXPECT_EQ(script_.open, 100);
  std::size_t size = 0;
  CallOptions fast;
  fast.timeout_ms = 120'000;
  fast.on_data = [&](std::string_view bytes) { return (size += bytes.size()) < (4U << 20); };
  (void)call("GET", std::string(kPod) + "/log", "", fast);
  EXPECT_GE(size, 4U << 20);
  slow.clear();
  EXPECT_TRUE(eventually([&] { return script_.open == 0; }));
}

TEST_F(TunnelHttpTest, TheTunnelIsMadeAgainWhenTheClientConnectsAnew) {
  bound_pod();
  start_node(credential("n1"));
  EXPECT_EQ(log().code, 200);
  const int before = connects_;
  client_->reconnect();
  EXPECT_TRUE(eventually([&] { return connects_ > before; }));
  EXPECT_EQ(log().code, 200);
}

TEST_F(TunnelHttpTest, AnotherServerIsFound) {
  bound_pod();
  const HttpClientOptions options = credential("n1");
  start_node(options);
  EXPECT_EQ(log().code, 200);
  server_.reset();
  start_server();
  HttpClientOptions moved = options;
  moved.server = "https://127.0.0.1:" + std::to_string(server_->port());
  server_port_ = server_->tunnel_port();
  ASSERT_TRUE(client_->use(moved));
  EXPECT_EQ(log().code, 200);
}

}  // namespace
}  // namespace coracle
