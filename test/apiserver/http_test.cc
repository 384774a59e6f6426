// Hostile and slow clients: always a 4xx Status, and the server lives on.
#include <gmock/gmock.h>

#include <random>
#include <thread>

#include "support/api_fixture.h"
#include "support/tls_client.h"

namespace coracle {
namespace {

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";

class HttpTest : public ClusterFixture {
 protected:
  HttpTest() {
    tune_ = [](ApiServerOptions& options) {
      options.header_timeout = std::chrono::milliseconds(3000);
    };
  }
  int connect_tcp() const { return connect_loopback(server_->port(), 15); }
  // Sends raw bytes inside TLS with the admin's token header already in `text` where wanted;
  // returns all that comes back.
  std::string raw(const std::string& text) const {
    TlsClient client(server_->port());
    return client.send(text) ? client.read() : "";
  }
  std::string head(const std::string& line, const std::string& headers = "") const {
    return line + "\r\nHost: x\r\nAuthorization: Bearer " + admin_token() +
           "\r\nConnection: close\r\n" + headers + "\r\n";
  }
  static int status_code(const std::string& answer) {
    return answer.starts_with("HTTP/1.1 ") ? std::atoi(answer.c_str() + 9) : 0;
  }
  void expect_4xx(const std::string& answer, const std::string& what) const {
    const int code = status_code(answer);
    EXPECT_TRUE(code >= 400 && code < 500) << what << ": " << answer.substr(0, 300);
    const std::size_t body = answer.find("\r\n\r\n");
    const Json document =
        Json::parse(body == std::string::npos ? "" : answer.substr(body + 4), nullptr, false);
    ASSERT_TRUE(document.is_object()) << what << ": " << answer.substr(0, 300);
    EXPECT_EQ(document["kind"], "Status") << what;
    EXPECT_EQ(document["code"], code) << what;
  }
  void expect_alive() const { EXPECT_EQ(get("/livez").code, 200); }
};

TEST_F(HttpTest, MalformedBodies) {
  const std::string deep(20'000, '[');
  std::string deep_object = R"({"metadata":{"name":"deep"},"data":)";
  for (int i = 0; i < 10'000; ++i) deep_object += R"({"a":)";
  deep_object += "1" + std::string(10'002, '}');
  std::string deep_yaml;
  for (int i = 0; i < 12'000; ++i) deep_yaml += "- ";
  const std::vector<std::string> bodies = {"{",
                                           "null",
                                           "[]",
                                           "7",
                                           "\"x\"",
                                           "{]",
                                           "\xff\xfe",
                                           std::string("\0\0\0", 3),
                                           deep,
                                           deep_object,
                                           R"({"metadata":7})",
                                           R"({"metadata":{"name":7}})",
                                           R"({"metadata":{"name":"a"},"data":[]})",
                                           R"({"metadata":{"name":"a","labels":{"a":{}}}})",
                                           R"({"kind":7,"metadata":{"name":"a"}})",
                                           R"({"metadata":{"name":"../../etc"}})",
                                           R"({"metadata":{"name":"a\u0000b"}})",
                                           "k8s",
                                           std::string("k8s\0\xff\xff\xff", 7)};
  for (const char* type :
       {"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}) {
    CallOptions options;
    options.headers = {std::string("Content-Type: ") + type};
    for (const std::string& body : bodies) {
      const Reply reply = call("POST", kMaps, body, options);
      EXPECT_TRUE(reply.code >= 400 && reply.code < 500)
          << type << ": " << reply.code << " " << body.substr(0, 60);
      EXPECT_EQ(json_string(reply.json(), {"kind"}), "Status");
    }
    EXPECT_EQ(call("POST", kMaps, deep_yaml, options).code / 100, 4);
  }
  for (const char* type : {"application/json-patch+json", "application/merge-patch+json",
                           "application/strategic-merge-patch+json"}) {
    post(kMaps, config_map("a"));
    CallOptions options;
    options.headers = {std::string("Content-Type: ") + type};
    for (const std::string& body :
         {std::string("{"), deep, deep_object, std::string("7"),
          std::string(R"([{"op":"explode"}])"), std::string(R"({"$patch":"nope"})"),
          std::string(R"({"metadata":null})"),
          std::string(R"([{"op":"replace","path":"/metadata","value":7}])")}) {
      const Reply reply = call("PATCH", std::string(kMaps) + "/a", body, options);
      EXPECT_TRUE(reply.code >= 200 && reply.code < 500)
          << type << ": " << reply.code << " " << body.substr(0, 60);
    }
  }
  expect_alive();
}

TEST_F(HttpTest, DeepestAllowedDocumentsDoNotOverflowAThread) {
  std::string nested = "1";
  for (int i = 0; i < 980; ++i) nested = R"({"a":)" + nested + "}";
  const std::string body =
      R"({"metadata":{"name":"deep","managedFields":[{"manager":"m","fieldsV1":)" + nested +
      R"(}]}})";
  // Brackets in a string close nothing.
  const std::string hidden =
      R"({"data":{"a":")" + std::string(1000, '}') + R"("},)" + body.substr(1);
  std::string blocks = "metadata: {name: deep}\ndata:\n ";
  for (int i = 0; i < 480; ++i) blocks += "- ";
  for (const char* type : {"application/json", "application/yaml", "application/yaml;as=json"}) {
    CallOptions options;
    options.headers = {std::string("Content-Type: ") + type};
    for (const std::string& text : {body, hidden, blocks}) {
      const Reply reply = call("POST", kMaps, text, options);
      EXPECT_NE(reply.code, 0) << type;
      EXPECT_LT(reply.code, 500) << type;
    }
  }
  post(kMaps, config_map("deep"));
  const std::string unknown = R"({"x":")" + std::string(1000, '}') + R"(","y":)" + nested + "}";
  for (const char* type :
       {"application/merge-patch+json", "application/strategic-merge-patch+json"}) {
    CallOptions options;
    options.headers = {std::string("Content-Type: ") + type};
    for (const std::string& text : {body, hidden, unknown}) {
      const Reply reply = call("PATCH", std::string(kMaps) + "/deep", text, options);
      EXPECT_NE(reply.code, 0) << type;
      EXPECT_LT(reply.code, 500) << type << reply.body.substr(0, 200);
    }
  }
  expect_alive();
}

TEST_F(HttpTest, OversizeIs413) {
  const Reply reply = post(kMaps, config_map("big", std::string(3 * 1024 * 1024 + 1, 'x')));
  EXPECT_EQ(reply.code, 413);
  EXPECT_EQ(reply.reason(), "RequestEntityTooLarge");
  EXPECT_THAT(reply.body, ::testing::HasSubstr("limit is 3145728"));
  const std::string huge = raw(head("POST /api/v1/namespaces/default/configmaps HTTP/1.1",
                                    "Content-Length: 99999999999999999999\r\n"));
  EXPECT_EQ(status_code(huge), 413);
  const std::string line = raw(head("GET /" + std::string(100'000, 'a') + " HTTP/1.1"));
  if (!line.empty()) expect_4xx(line, "long line");
  expect_alive();
}

TEST_F(HttpTest, HostilePaths) {
  for (const char* path :
       {"/api/v1/namespaces/default%2fconfigmaps", "/api/v1/namespaces/default/configmaps/a%2Fb",
        "/api/v1/../../etc/passwd", "/api/v1/namespaces/./default", "/api/v1/%2e%2e/v1/pods",
        "/livez/../api", "/api/v1/pods/%00", "/api/v1/pods/%zz", "//api", "/api//v1"}) {
    const Reply reply = get(path);
    EXPECT_TRUE(reply.code >= 400 && reply.code < 500) << path << " " << reply.code;
    EXPECT_EQ(json_string(reply.json(), {"kind"}), "Status") << path << reply.body;
  }
}

TEST_F(HttpTest, MalformedRequests) {
  const std::string post_line = "POST /api/v1/namespaces/default/configmaps HTTP/1.1";
  const std::pair<const char*, std::string> cases[] = {
      {"no method", head(" / HTTP/1.1")},
      {"garbage", "garbage\r\n\r\n"},
      {"version", head("GET /api HTTP/3.7")},
      {"method", head("BREW /api/v1/namespaces HTTP/1.1")},
      {"length text", head(post_line, "Content-Length: abc\r\n")},
      {"length trailing", head(post_line, "Content-Length: 2x\r\n") + "{}"},
      {"length negative", head(post_line, "Content-Length: -1\r\n")},
      {"two lengths", head(post_line, "Content-Length: 2\r\nContent-Length: 3\r\n") + "{}"},
      {"length and chunked",
       head(post_line, "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n") +
           "2\r\n{}\r\n0\r\n\r\n"},
      {"bad chunk", head(post_line, "Transfer-Encoding: chunked\r\n") + "zz\r\n{}\r\n0\r\n\r\n"},
      {"huge chunk", head(post_line, "Transfer-Encoding: chunked\r\n") + "ffffffffffffffff\r\n{}"},
      {"coding", head(post_line, "Transfer-Encoding: gzip\r\n") + "xx"},
      {"body cut short", head(post_line, "Content-Length: 50\r\n") + "{}"},
  };
  for (const auto& [what, text] : cases) {
    SCOPED_TRACE(what);
    expect_4xx(raw(text), what);
  }
  expect_alive();
}

TEST_F(HttpTest, ChunkedAndExpectedBodies) {
  const std::string line = "POST /api/v1/namespaces/default/configmaps HTTP/1.1";
  const std::string chunked =
      raw(head(line, "Transfer-Encoding: chunked\r\n") +
          "1b\r\n{\"metadata\":{\"name\":\"chunk\"\r\n2\r\n}}\r\n0\r\n\r\n");
  EXPECT_EQ(status_code(chunked), 201) << chunked;
  const std::string body = R"({"metadata":{"name":"expected"}})";
  const std::string expected =
      raw(head(line,
               "Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) + "\r\n") +
          body);
  EXPECT_TRUE(expected.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201")) << expected;
}

TEST_F(HttpTest, RandomBytes) {
  std::mt19937 engine(20'240'601);
  for (int i = 0; i < 30; ++i) {
    std::string bytes(1 + engine() % 600, '\0');
    for (char& c : bytes) c = static_cast<char>(engine());
    const int fd = connect_tcp();
    (void)!write(fd, bytes.data(), bytes.size());
    close(fd);
    if (i % 3 == 0) {
      const std::string answer = raw(bytes + "\r\n\r\n");
      if (!answer.empty()) expect_4xx(answer, "random bytes inside TLS");
    }
  }
  expect_alive();
}

TEST_F(HttpTest, SilentConnectionsDoNotHoldUpOthers) {
  std::vector<int> silent;
  for (int i = 0; i < 200; ++i) silent.push_back(connect_tcp());  // more than there are threads
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get("/api/v1/namespaces").code, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  for (const int fd : silent) close(fd);
}

TEST_F(HttpTest, ConnectionsThatStallInTheHandshakeAreDropped) {
  std::vector<int> stalled;
  for (int i = 0; i < 24; ++i) {
    stalled.push_back(connect_tcp());
    (void)!write(stalled.back(), "\x16\x03\x01", 3);
  }
  EXPECT_EQ(get("/api/v1/namespaces").code, 200);
  char byte = 0;
  const auto start = std::chrono::steady_clock::now();
  for (const int fd : stalled) {
    EXPECT_LE(recv(fd, &byte, 1, 0), 0);
    close(fd);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(12));
}

TEST_F(HttpTest, ParallelRequests) {
  std::vector<std::jthread> clients;
  std::atomic<int> good{0};
  for (int i = 0; i < 12; ++i)
    clients.emplace_back([this, i, &good] {
      for (int j = 0; j < 10; ++j)
        good +=
            post(kMaps, config_map("p" + std::to_string(i) + "-" + std::to_string(j))).code == 201
                ? 1
                : 0;
    });
  clients.clear();
  EXPECT_EQ(good, 120);
  EXPECT_EQ(get(kMaps).json()["items"].size(), 120U);
}

}  // namespace
}  // namespace coracle
