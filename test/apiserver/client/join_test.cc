// Joining a real API server over TLS: what is trusted, what is refused, and what is said of it.
#include <apiserver/authorizer.h>
#include <apiserver/tokens.h>
#include <coracle/files.h>
#include <coracle/join.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "support/api_fixture.h"
#include "support/eventually.h"
#include "support/tcp_server.h"

namespace coracle {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kSecret = "0123456789abcdef";
const std::string kHash(64, 'a');

TEST(JoinTokens, AreThreePartsAndSayWhatIsWrong) {
  const auto token = JoinToken::parse(" abcdef.0123456789abcdef." + kHash + "\n");
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(token->bootstrap_token(), "abcdef.0123456789abcdef");
  EXPECT_EQ(token->ca_hash, kHash);
  EXPECT_EQ(token->to_string(), "abcdef.0123456789abcdef." + kHash);
  const struct {
    std::string text;
    const char* problem;
  } cases[] = {
      {"", "empty"},
      {"  \n", "empty"},
      {"abcdef.0123456789abcdef", "three parts"},
      {"abcdef.0123456789abcdef." + kHash + ".x", "three parts"},
      {"abcde.0123456789abcdef." + kHash, "id has 5 characters instead of 6"},
      {"abcdeF.0123456789abcdef." + kHash, "id has a character other than"},
      {"abcdef.0123456789abcde." + kHash, "secret has 15 characters instead of 16"},
      {"abcdef.0123456789abcdef." + kHash.substr(1), "hash has 63 characters instead of 64"},
      {"abcdef.0123456789abcdef." + kHash.substr(1) + "g", "hash has a character other than"},
  };
  for (const auto& c : cases) {
    const auto bad = JoinToken::parse(c.text);
    ASSERT_FALSE(bad) << c.text;
    EXPECT_EQ(bad.error().code, Code::BadRequest);
    EXPECT_THAT(bad.error().message, AllOf(HasSubstr(c.problem), Not(HasSubstr("0123456789"))));
  }
}

TEST(JoinServers, AddressesGetAPort) {
  EXPECT_EQ(*server_address("https://pi.local"), "https://pi.local:6443");
  EXPECT_EQ(*server_address("10.0.0.1"), "https://10.0.0.1:6443");
  EXPECT_EQ(*server_address("https://10.0.0.1:7443/"), "https://10.0.0.1:7443");
  EXPECT_EQ(*server_address("https://[fd00::1]"), "https://[fd00::1]:6443");
  EXPECT_EQ(*server_address("https://[fd00::1]:1"), "https://[fd00::1]:1");
  for (const char* bad : {"", "http://x", "https://", "https://x:0", "https://x:65536",
                          "https://x:y", "https://x/path", "https://a@x", "https://x y", ":6443"})
    EXPECT_FALSE(server_address(bad)) << bad;
}

class FutureClock : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override {
    return std::chrono::system_clock::now() + std::chrono::hours(24 * 3650);
  }
  std::chrono::steady_clock::time_point steady_now() const override {
    return std::chrono::steady_clock::now();
  }
};

class JoinTest : public ClusterFixture {
 protected:
  JoinTest() {
    tune_ = [](ApiServerOptions& options) {
      options.facts = {.pod_cidr = *Cidr::parse("10.42.0.0/16"),
                       .service_cidr = *Cidr::parse("10.96.0.0/16"),
                       .cluster_domain = "cluster.local",
                       .cluster_dns = *Ip::parse("10.96.0.10")};
    };
  }
  void SetUp() override {
    ClusterFixture::SetUp();
    const Json ns = {{"metadata", {{"name", kTokenNamespace}}}};
    ASSERT_TRUE(registry_->create(kind("", "v1", "namespaces"), "", ns, {}));
    keep({"abcdef", kSecret, "", std::nullopt});
  }
  void keep(const BootstrapToken& token) {
    ASSERT_TRUE(registry_->create(kind("", "v1", "secrets"), kTokenNamespace,
                                  bootstrap_token_secret(token), {}));
  }
  std::string url() const { return "https://127.0.0.1:" + std::to_string(server_->port()); }
  ClusterJoin flags(const std::string& name, const std::string& directory) const {
    ClusterJoin out;
    out.server = url();
    out.token = {"abcdef", kSecret, *certificate_hash(read("pki/ca.crt"))};
    out.directory = dir_ + "/" + directory;
    out.node_name = name;
    out.addresses = {*Ip::parse("192.0.2.9")};
    return out;
  }
  Error refusal(const ClusterJoin& join) const {
    const auto joined = join_cluster(join, system_clock());
    EXPECT_FALSE(joined);
    return joined ? Error{} : joined.error();
  }
  static Result<ObjectList> list(const NodeCredential& as, const Resource& resource) {
    return (*make_http_client(as.client_options()))->list(resource, {});
  }
};

TEST_F(JoinTest, GivesACredentialThatIsKeptAndLetsIn) {
  const auto joined = join_cluster(flags("n1", "a"), system_clock());
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_EQ(joined->servers, std::vector<std::string>{url()});
  EXPECT_EQ(joined->cluster.pod_cidr.to_string(), "10.42.0.0/16");
  EXPECT_EQ(joined->cluster.cluster_dns.to_string(), "10.96.0.10");
  const auto days =
      std::chrono::duration_cast<std::chrono::hours>(joined->renew_at - system_clock().now())
          .count() /
      24;
  EXPECT_NEAR(static_cast<double>(days), 243, 1);
  for (const char* file : {"/a/node.key", "/a/credential.json"}) {
    struct stat entry {};
    ASSERT_EQ(stat((dir_ + file).c_str(), &entry), 0) << file;
    EXPECT_EQ(entry.st_mode & 0777, 0600U) << file;
  }
  const auto kept = load_credential(dir_ + "/a");
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->certificate_pem, joined->certificate_pem);
  const auto nodes = list(*kept, resources::kNodes);
  ASSERT_TRUE(nodes) << nodes.error().message;
  ASSERT_EQ(nodes->items.size(), 1U);
  EXPECT_EQ(nodes->items.front().name(), "n1");
  const auto secrets = list(*kept, resources::kSecrets);
  ASSERT_FALSE(secrets);
  EXPECT_EQ(secrets.error().code, Code::Forbidden);
  EXPECT_THAT(secrets.error().message, HasSubstr("User \"system:node:n1\" cannot list"));
  EXPECT_EQ(load_credential(dir_ + "/none").error().code, Code::NotFound);
  std::ofstream(dir_ + "/a/credential.json") << "{}";
  EXPECT_THAT(load_credential(dir_ + "/a").error().message,
              HasSubstr("credential.json is damaged"));
}

TEST_F(JoinTest, ANameBelongsToTheKeyThatHadItFirst) {
  const auto first = join_cluster(flags("n1", "a"), system_clock());
  ASSERT_TRUE(first);
  EXPECT_TRUE(join_cluster(flags("n1", "a"), system_clock())) << "the answer may have been lost";
  ClusterJoin again = flags("n1", "b");
  const Error taken = refusal(again);
  EXPECT_EQ(taken.code, Code::Conflict);
  EXPECT_THAT(taken.message, HasSubstr("--replace"));
  EXPECT_TRUE(list(*first, resources::kNodes));
  again.replace = true;
  const auto second = join_cluster(again, system_clock());
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(list(*second, resources::kNodes));
  const auto replaced = list(*first, resources::kNodes);
  ASSERT_FALSE(replaced);
  EXPECT_THAT(replaced.error().message, HasSubstr("another key"));
  EXPECT_FALSE(renew_credential(dir_ + "/a", *first, system_clock()));
  const Json own = {
      {"metadata", {{"name", "srv"}, {"labels", {{"node-role.kubernetes.io/control-plane", ""}}}}}};
  ASSERT_TRUE(registry_->create(kind("", "v1", "nodes"), "", own, {}));
  ClusterJoin server = flags("srv", "c");
  server.replace = true;
  EXPECT_THAT(refusal(server).message, HasSubstr("the server's own node"));
  EXPECT_EQ(refusal(flags("Bad_Name", "d")).code, Code::Invalid);
}

TEST_F(JoinTest, SaysWhetherTokenOrAuthorityWasWrong) {
  ClusterJoin join = flags("n1", "a");
  join.token.ca_hash = kHash;
  EXPECT_EQ(refusal(join).code, Code::Forbidden);
  EXPECT_THAT(refusal(join).message, HasSubstr("another cluster's than the token's"));
  join = flags("n1", "a");
  join.token.secret = "0000000000000000";
  EXPECT_EQ(refusal(join).code, Code::Unauthorized);
  EXPECT_THAT(refusal(join).message, HasSubstr("refuses the token: "));
  keep({"oldold", kSecret, "", system_clock().now() - std::chrono::hours(1)});
  join = flags("n1", "a");
  join.token.id = "oldold";
  EXPECT_THAT(refusal(join).message, HasSubstr("expired at "));
  EXPECT_THAT(refusal(join).message, HasSubstr("not known")) << "it was removed";
}

TEST_F(JoinTest, SaysWhenThePortIsWrong) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ClusterJoin join = flags("n1", "a");
  join.server = "https://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  EXPECT_EQ(refusal(join).code, Code::Unavailable);
  EXPECT_THAT(refusal(join).message, HasSubstr("nobody answers at " + join.server));
  ASSERT_EQ(listen(listener, 1), 0);
  const std::jthread plain([listener] {
    const int client = accept(listener, nullptr, nullptr);
    const std::string answer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    (void)!write(client, answer.data(), answer.size());
    close(client);
  });
  const Error error = refusal(join);
  EXPECT_EQ(error.code, Code::BadRequest);
  EXPECT_THAT(error.message, HasSubstr("does not speak HTTPS"));
  close(listener);
  join.server = "https://no-such-host.invalid";
  EXPECT_THAT(refusal(join).message, HasSubstr("host name"));
}

TEST_F(JoinTest, RenewsWithItsOwnCertificateOnly) {
  const auto joined = join_cluster(flags("n1", "a"), system_clock());
  ASSERT_TRUE(joined);
  const auto renewed = renew_credential(dir_ + "/a", *joined, system_clock());
  ASSERT_TRUE(renewed) << renewed.error().message;
  EXPECT_NE(renewed->certificate_pem, joined->certificate_pem);
  EXPECT_EQ(load_credential(dir_ + "/a")->certificate_pem, renewed->certificate_pem);
  NodeCredential other = *joined;
  other.node_name = "n2";
  const auto refused = renew_credential(dir_ + "/b", other, system_clock());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::Forbidden);
}

class ShortLived : public JoinTest {
 protected:
  ShortLived() {
    tune_ = [before = tune_](ApiServerOptions& options) {
      before(options);
      options.node_certificate_life = std::chrono::hours(-1);
    };
  }
};

TEST_F(ShortLived, AnExpiredCertificateIsGoodForItsRenewal) {
  const auto joined = join_cluster(flags("n1", "a"), system_clock());
  ASSERT_TRUE(joined) << joined.error().message;
  const auto refused = list(*joined, resources::kNodes);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("expired"));
  EXPECT_TRUE(renew_credential(dir_ + "/a", *joined, system_clock()));
}

TEST_F(JoinTest, AClockThatIsBehindLocksNobodyOut) {
  const FutureClock future;
  const std::string elsewhere = dir_ + "/future";
  ASSERT_EQ(mkdir(elsewhere.c_str(), 0700), 0);
  ApiServerOptions options{*registry_, future};
  options.bind_address = "127.0.0.1";
  options.port = 0;
  options.data_dir = elsewhere;
  tune_(options);
  const auto server = ApiServer::create(options);
  ASSERT_TRUE(server) << server.error().message;
  ClusterJoin join = flags("n1", "a");
  join.server = "https://127.0.0.1:" + std::to_string((*server)->port());
  join.token.ca_hash = *certificate_hash(*read_whole_file(elsewhere + "/pki/ca.crt"));
  const auto joined = join_cluster(join, system_clock());
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_TRUE(list(*joined, resources::kNodes));
  HttpClientOptions strict = joined->client_options();
  strict.server_name.clear();
  const auto refused = http_get(strict, "/version");
  ASSERT_FALSE(refused) << "who asks as kubectl does is told";
  EXPECT_THAT(refused.error().message, HasSubstr("not yet valid"));
}

TEST_F(JoinTest, TheServerIsFoundAgainAtAnAddressOfItsNode) {
  auto joined = join_cluster(flags("n1", "a"), system_clock());
  ASSERT_TRUE(joined);
  const auto still = find_server(dir_ + "/a", *joined);
  ASSERT_TRUE(still) << still.error().message;
  EXPECT_FALSE(*still);
  const Json srv = {
      {"metadata", {{"name", "srv"}, {"labels", {{"node-role.kubernetes.io/control-plane", ""}}}}}};
  const auto made = registry_->create(kind("", "v1", "nodes"), "", srv, {});
  ASSERT_TRUE(made);
  Json node = *made;
  node["status"]["addresses"] = {{{"type", "InternalIP"}, {"address", "127.0.0.1"}},
                                 {{"type", "InternalIP"}, {"address", "rubbish"}},
                                 {{"type", "InternalIP"}, {"address", "fd00::1"}}};
  ASSERT_TRUE(registry_->update(kind("", "v1", "nodes"), {"", "srv"}, "status", node, {}));
  const std::string port = url().substr(url().rfind(':'));
  joined->servers = {"https://localhost" + port};
  ASSERT_TRUE(find_server(dir_ + "/a", *joined));
  const std::vector<std::string> known = {"https://localhost" + port, url(),
                                          "https://[fd00::1]" + port};
  EXPECT_EQ(joined->servers, known);
  EXPECT_EQ(load_credential(dir_ + "/a")->servers, known);
  joined->servers = {"https://127.0.0.1:1", url()};
  const auto moved = find_server(dir_ + "/a", *joined);
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_TRUE(*moved);
  EXPECT_EQ(load_credential(dir_ + "/a")->servers.front(), url());
  joined->servers = {"https://127.0.0.1:1"};
  EXPECT_FALSE(find_server(dir_ + "/a", *joined));
}

TEST_F(JoinTest, AHintIsFollowedWhenTheServerIsThere) {
  auto joined = join_cluster(flags("n1", "a"), system_clock());
  ASSERT_TRUE(joined);
  const auto vain = find_server(dir_ + "/a", *joined, "https://127.0.0.1:1");
  ASSERT_TRUE(vain) << vain.error().message;
  EXPECT_FALSE(*vain);
  EXPECT_EQ(joined->servers, std::vector<std::string>{url()});
  for (std::size_t i = 1; i <= kMostServers; ++i)
    joined->servers.insert(joined->servers.begin(), "https://127.0.0.1:" + std::to_string(i));
  joined->servers.resize(kMostServers);
  const auto moved = find_server(dir_ + "/a", *joined, url());
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_TRUE(*moved);
  EXPECT_EQ(joined->servers.size(), kMostServers);
  EXPECT_EQ(load_credential(dir_ + "/a")->servers.front(), url());
  std::stop_source stopped;
  stopped.request_stop();
  EXPECT_FALSE(find_server(dir_ + "/a", *joined, "", stopped.get_token()));
}

// Somebody knows better where the server is: nobody waits for the one that says nothing.
TEST_F(JoinTest, ALookForTheServerIsCutShort) {
  auto joined = join_cluster(flags("n1", "a"), system_clock());
  ASSERT_TRUE(joined);
  const test::Server silent("");
  joined->servers = {"https://127.0.0.1:" + std::to_string(silent.port())};
  std::stop_source over;
  const std::jthread cutter([&] {
    EXPECT_TRUE(test::eventually([&] { return silent.connections() == 1; }));
    over.request_stop();
  });
  const auto found = find_server(dir_ + "/a", *joined, "", over.get_token());
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::Unavailable)
      << "not after its time: " << found.error().message;
}

TEST_F(JoinTest, TheServerIsKnownByItsAuthorityNotByItsAddress) {
  const auto joined = join_cluster(flags("n1", "a"), system_clock());
  ASSERT_TRUE(joined);
  HttpClientOptions options = joined->client_options();
  // 127.0.0.2 is in no certificate, nor is the node's own certificate a server's.
  options.server_name = "kubernetes";
  EXPECT_TRUE(http_get(options, "/version"));
  options.server_name = "another";
  EXPECT_FALSE(http_get(options, "/version"));
}

TEST_F(JoinTest, BadBodiesAreRefusedWithAStatus) {
  CallOptions token;
  token.token = std::string("abcdef.") + kSecret;
  const auto code = [&](const std::string& body) {
    const Reply reply = call("POST", "/coracle/v1/join", body, token);
    EXPECT_EQ(json_string(reply.json(), {"kind"}), "Status") << body;
    return reply.code;
  };
  EXPECT_EQ(code("rubbish"), 400);
  EXPECT_EQ(code("[]"), 400);
  EXPECT_EQ(code("{}"), 422);
  EXPECT_EQ(code(R"({"nodeName":7})"), 422);
  EXPECT_EQ(code(R"({"nodeName":"n1"})"), 400);
  EXPECT_EQ(code(R"({"nodeName":"n1","csr":"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"})"), 400);
  EXPECT_EQ(code(R"({"nodeName":"n1","csr":")" + std::string(20'000, 'A') + "\"}"), 400);
  EXPECT_EQ(call("GET", "/coracle/v1/join", "", token).code, 403);
  EXPECT_EQ(get("/coracle/v1/join").code, 405);
  EXPECT_EQ(call("GET", "/api/v1/nodes", "", token).code, 403);
  CallOptions nobody;
  nobody.certificate = false;
  EXPECT_EQ(call("POST", "/coracle/v1/join", "{}", nobody).code, 401);
  EXPECT_EQ(call("GET", "/cacerts", "", nobody).body, read("pki/ca.crt"));
}

}  // namespace
}  // namespace coracle
