// Clients that are many, slow or endless: the others are served meanwhile, and what they take is
// bounded.
#include <apiserver/x509.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/resource.h>

#include <thread>

#include "support/api_fixture.h"
#include "support/tls_client.h"

namespace coracle {
namespace {

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
constexpr int kThreads = 8;
constexpr std::size_t kConnections = 200, kPerSource = 150, kWatches = 40, kReserved = 10;

class AttackTest : public ClusterFixture {
 protected:
  AttackTest() {
    tune_ = [](ApiServerOptions& options) {
      options.threads = kThreads;
      options.max_connections = kConnections;
      options.max_per_source = kPerSource;
      options.max_watches = kWatches;
      options.reserved_watches = kReserved;
      options.header_timeout = std::chrono::seconds(60);  // nobody is saved by a deadline
    };
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  std::unique_ptr<TlsClient> client(
      const TlsClient::Options& options = TlsClient::Options{}) const {
    return std::make_unique<TlsClient>(server_->port(), options);
  }
  std::string head(const std::string& line, const std::string& headers = "") const {
    return line + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + admin_token() + "\r\n" +
           headers + "\r\n";
  }
  // An honest client on a connection of its own. Far less patient than any deadline of the server.
  void expect_served() const {
    CallOptions options;
    options.timeout_ms = 15'000;
    EXPECT_EQ(call("GET", "/api/v1/namespaces", "", options).code, 200);
  }
  double metric(const std::string& name) const {
    const std::string text = "\n" + get("/metrics").body;
    const std::size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }
};

int status_code(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::atoi(answer.c_str() + 9) : 0;
}

bool is_closed(int fd) {
  pollfd entry{fd, POLLIN | POLLRDHUP, 0};
  char byte = 0;
  return poll(&entry, 1, 0) > 0 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

TEST_F(AttackTest, HeadsThatNeverEndHoldNoThread) {
  std::vector<std::unique_ptr<TlsClient>> slow;
  for (int i = 0; i < kThreads * 4; ++i) {
    slow.push_back(client());
    EXPECT_TRUE(slow.back()->send("GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nX-Slow: "));
  }
  expect_served();
  for (auto& one : slow) EXPECT_TRUE(one->send("a"));
  expect_served();
  // One that ends after all is served.
  EXPECT_TRUE(slow.front()->send("\r\nAuthorization: Bearer " + admin_token() + "\r\n\r\n"));
  EXPECT_EQ(status_code(slow.front()->read("items")), 200);
}

TEST_F(AttackTest, HandshakesThatStallHoldNoThread) {
  std::vector<int> stalled;
  for (int i = 0; i < kThreads * 4; ++i) {
    stalled.push_back(connect_loopback(server_->port()));
    EXPECT_EQ(write(stalled.back(), "\x16\x03\x01", 3), 3);
  }
  expect_served();
  for (const int fd : stalled) close(fd);
}

TEST_F(AttackTest, IdleConnectionsHoldNoThread) {
  std::vector<std::unique_ptr<TlsClient>> idle;
  for (int i = 0; i < kThreads * 4; ++i) {
    idle.push_back(client());
    EXPECT_TRUE(idle.back()->send(head("GET /livez")));
    EXPECT_EQ(status_code(idle.back()->read("ok")), 200);
    idle.back()->forget();
  }
  expect_served();
  for (auto& one : idle) {
    EXPECT_TRUE(one->send(head("GET /livez")));
    EXPECT_EQ(status_code(one->read("ok")), 200);
  }
}

TEST_F(AttackTest, SlowBodiesLeaveThreadsToOthers) {
  std::vector<std::unique_ptr<TlsClient>> slow;
  for (int i = 0; i < kThreads * 2; ++i) {
    slow.push_back(client());
    EXPECT_TRUE(slow.back()->send(head(std::string("POST ") + kMaps, "Content-Length: 100\r\n")));
  }
  expect_served();
  // More bodies than may be read at a time: an answer, not silence.
  int refused = 0;
  for (auto& one : slow) {
    (void)one->send(std::string(100, ' '));
    const std::string answer = one->read("\r\n\r\n");
    const int code = status_code(answer);
    EXPECT_TRUE(code == 400 || code == 429) << answer;
    if (code != 429) continue;
    ++refused;
    EXPECT_THAT(answer, ::testing::HasSubstr("Retry-After: 1\r\n"));
  }
  EXPECT_GE(refused, 1);
  expect_served();
}

TEST_F(AttackTest, SlowReadersHoldNoThread) {
  for (int i = 0; i < 10; ++i)
    ASSERT_EQ(post(kMaps, config_map("big" + std::to_string(i), std::string(900'000, 'x'))).code,
              201);
  std::vector<std::unique_ptr<TlsClient>> slow;
  for (int i = 0; i < kThreads * 2; ++i) {
    slow.push_back(client({.receive_buffer = 4096}));
    EXPECT_TRUE(slow.back()->send(head(std::string("GET ") + kMaps)));
  }
  expect_served();
  // One who then reads gets all of it, or, where slow readers hold too much, an end.
  std::size_t whole = 0;
  for (auto& one : slow) {
    const std::string answer = one->read();
    const std::size_t body = answer.find("\r\n\r\n");
    const Json list = Json::parse(answer.substr(std::min(body, answer.size())), nullptr, false);
    if (list.is_object() && list["items"].size() == 10) ++whole;
  }
  EXPECT_GE(whole, 2U);
  EXPECT_LT(whole, slow.size());
}

TEST_F(AttackTest, SurplusConnectionsAreClosedAndANewOneIsServed) {
  constexpr int kMany = 2'000;
  std::vector<int> idle;
  for (int i = 0; i < kMany; ++i) idle.push_back(connect_loopback(server_->port()));
  expect_served();
  EXPECT_LE(metric("apiserver_connections"), static_cast<double>(kPerSource));
  EXPECT_GT(metric("apiserver_connections_closed_early_total{reason=\"surplus\"}"),
            static_cast<double>(kMany) - static_cast<double>(kPerSource) - 1);
  int open = 0;
  for (const int fd : idle) {
    open += is_closed(fd) ? 0 : 1;
    close(fd);
  }
  EXPECT_LE(open, static_cast<int>(kPerSource));
  expect_served();
}

TEST_F(AttackTest, SurplusTlsConnectionsAreClosedAndANewOneIsServed) {
  std::vector<std::unique_ptr<TlsClient>> idle;
  for (std::size_t i = 0; i < kPerSource + 50; ++i) idle.push_back(client());
  expect_served();
  EXPECT_LE(metric("apiserver_connections"), static_cast<double>(kPerSource));
}

TEST_F(AttackTest, LongHeadsShareALimit) {
  std::vector<std::unique_ptr<TlsClient>> greedy;
  const std::string much = "GET / HTTP/1.1\r\nX: " + std::string(60'000, 'a');
  for (int i = 0; i < 148; ++i) {  // 8.9 MB
    greedy.push_back(client());
    (void)greedy.back()->send(much);
  }
  expect_served();
  EXPECT_GE(metric("apiserver_connections_closed_early_total{reason=\"surplus\"}"), 1);
}

TEST_F(AttackTest, AHugeBodyIsRefusedBeforeItIsRead) {
  auto one = client();
  EXPECT_TRUE(
      one->send(head(std::string("POST ") + kMaps, "Content-Length: 1073741824\r\n") + "{"));
  const std::string answer = one->read("\r\n\r\n");
  EXPECT_EQ(status_code(answer), 413);
  // Who goes on sending can still read the answer, and is cut off in the end.
  bool cut = false;
  for (int i = 0; i < 20'000 && !cut; ++i) cut = !one->send(std::string(16'384, 'x'));
  EXPECT_TRUE(cut);
  expect_served();
}

TEST_F(AttackTest, ChunksWithoutEndAreRefused) {
  auto one = client();
  EXPECT_TRUE(one->send(head(std::string("POST ") + kMaps, "Transfer-Encoding: chunked\r\n")));
  const std::string chunk = "4000\r\n" + std::string(0x4000, 'x') + "\r\n";
  for (int i = 0; i < 250; ++i)  // 4 MB
    if (!one->send(chunk)) break;
  EXPECT_EQ(status_code(one->read("\r\n\r\n")), 413);
  expect_served();
}

TEST_F(AttackTest, TooManyHeadersAreRefused) {
  std::string headers;
  for (int i = 0; i < 1000; ++i) headers += "X-" + std::to_string(i) + ": a\r\n";
  auto one = client();
  EXPECT_TRUE(one->send(head("GET /api/v1/namespaces", headers)));
  const std::string answer = one->read();
  EXPECT_EQ(status_code(answer), 400);
  EXPECT_THAT(answer, ::testing::HasSubstr("too many headers"));
  // 64 KiB of them are no head.
  auto other = client();
  (void)other->send("GET / HTTP/1.1\r\nX: " + std::string(70'000, 'a') + "\r\n\r\n");
  EXPECT_EQ(status_code(other->read()) / 100, 4);
  expect_served();
}

TEST_F(AttackTest, PipelinedRequestsAreAnsweredInOrder) {
  auto one = client();
  std::string requests;
  for (int i = 0; i < 300; ++i)
    requests += head(i % 2 == 0 ? "GET /livez" : "GET /api/v1/namespaces/nope");
  EXPECT_TRUE(one->send(requests + head("GET /api/v1/namespaces/default")));
  const std::string answers = one->read("\"phase\":\"Active\"");
  std::vector<int> codes;
  for (std::size_t at = answers.find("HTTP/1.1 "); at != std::string::npos;
       at = answers.find("HTTP/1.1 ", at + 1))
    codes.push_back(std::atoi(answers.c_str() + at + 9));
  ASSERT_EQ(codes.size(), 301U);
  for (std::size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i], i % 2 == 0 ? 200 : 404) << i;
}

TEST_F(AttackTest, PlainHttpIsToldSo) {
  const int fd = connect_loopback(server_->port());
  const std::string text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  std::string answer(4096, '\0');
  const ssize_t n = recv(fd, answer.data(), answer.size(), 0);
  ASSERT_GT(n, 0);
  EXPECT_THAT(answer, ::testing::HasSubstr("HTTP request to an HTTPS server"));
  close(fd);
}

TEST_F(AttackTest, WatchFloodsLeaveRoomForNodes) {
  const std::string watch = head(std::string("GET ") + kMaps + "?watch=1");
  std::vector<std::unique_ptr<TlsClient>> watches;
  for (std::size_t i = 0; i < kWatches - kReserved; ++i) {
    watches.push_back(client());
    EXPECT_TRUE(watches.back()->send(watch));
    EXPECT_EQ(status_code(watches.back()->read("\r\n\r\n")), 200);
  }
  while (metric("apiserver_watchers") < static_cast<double>(kWatches - kReserved))
    std::this_thread::yield();
  auto surplus = client();
  EXPECT_TRUE(surplus->send(watch));
  const std::string answer = surplus->read("\r\n\r\n");
  EXPECT_EQ(status_code(answer), 429);
  EXPECT_THAT(answer, ::testing::HasSubstr("Retry-After: "));
  expect_served();

  const auto ca = certificate_from_pem(read("pki/ca.crt"));
  const auto ca_key = key_from_pem(read("pki/ca.key"));
  const auto key = make_key();
  const CertificateRequest request{.common_name = "system:node:n1",
                                   .organization = "system:nodes",
                                   .dns = {},
                                   .ips = {},
                                   .use = CertificateRequest::Use::Client,
                                   .now = std::chrono::system_clock::now(),
                                   .life = std::chrono::hours(1)};
  const auto certificate = make_certificate(request, key->get(), ca->get(), ca_key->get());
  auto node = client({.certificate_pem = *certificate_to_pem(certificate->get()),
                      .key_pem = *key_to_pem(key->get())});
  EXPECT_TRUE(node->send("GET /api/v1/services?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_EQ(status_code(node->read("\r\n\r\n")), 200);
}

}  // namespace
}  // namespace coracle
