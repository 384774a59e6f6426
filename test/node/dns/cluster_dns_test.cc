// The DNS as the agent runs it: Services come from the API, answers go over real sockets.
#include "node/dns/cluster_dns.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <nlohmann/json.hpp>
#include <utility>

#include "fake_upstream_server.h"
#include "node/dns/socket_address.h"
#include "store/temp_dir.h"
#include "support/eventually.h"
#include "support/registry_client.h"
#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using coracle::test::eventually;
using test::name;

const Ip kLoopback = Ip::v4(INADDR_LOOPBACK);

// A server that is away.
class Nobody final : public Client {
 public:
  Result<Object> get(const Resource&, const ObjectKey&) override { return gone(); }
  Result<ObjectList> list(const Resource&, const ListOptions&) override { return gone(); }
  Result<std::unique_ptr<ClientWatch>> watch(const Resource&, const ListOptions&,
                                             Revision) override {
    return gone();
  }
  Result<Object> create(const Resource&, const Object&) override { return gone(); }
  Result<Object> update(const Resource&, const Object&, const std::string&) override {
    return gone();
  }
  Result<Object> patch(const Resource&, const ObjectKey&, PatchType, const Json&,
                       const std::string&) override {
    return gone();
  }
  Result<void> remove(const Resource&, const ObjectKey&, const DeleteOptions&) override {
    return gone();
  }

 private:
  static Error gone() { return {Code::Unavailable, "nobody answers"}; }
};

class ClusterDnsTest : public ::testing::Test {
 protected:
  ~ClusterDnsTest() override { stop(); }
  static ClusterDnsOptions options(Port port = 0) {
    return {.address = kLoopback,
            .port = port,
            .domain = "cluster.local",
            .pod_cidr = test::config().pod_cidr,
            .service_cidr = test::config().service_cidr,
            .resolv_conf = ""};
  }
  void make(Client& client, ClusterDnsOptions with = options(), const std::string& kept = "") {
    cache_ = std::make_unique<ServiceCache>(client, kept);
    auto made = ClusterDns::create(*cache_, system_clock(), std::move(with));
    ASSERT_TRUE(made) << made.error().message;
    dns_ = std::move(*made);
  }
  void start() {
    dns_->start();
    cache_->start();
    ASSERT_TRUE(eventually([&] { return dns_->port() != 0; }));
  }
  void stop() {
    if (cache_) cache_->stop();
    dns_.reset();
    cache_.reset();
  }
  // The rcode, or the data of the first answer.
  std::string ask(const std::string& text, std::uint16_t type = type::kA) const {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const SocketAddress to(kLoopback, dns_->port());
    const std::string question = encode_question(7, {name(text), type});
    std::string packet(4096, '\0');
    ssize_t size = -1;
    if (::connect(fd, to.get(), to.size) == 0 &&
        ::send(fd, question.data(), question.size(), 0) > 0 && test::wait_readable(fd))
      size = ::recv(fd, packet.data(), packet.size(), 0);
    ::close(fd);
    if (size < 0) return "no answer";
    packet.resize(static_cast<std::size_t>(size));
    const auto response = parse_response(test::bytes_of(packet));
    if (!response) return "no DNS";
    if (response->reply.answer.empty()) return to_string(response->reply.rcode);
    const std::string record = to_string(response->reply.answer.front());
    return record.substr(record.rfind(' ') + 1);
  }
  bool becomes(const std::string& answer, const std::string& text,
               std::uint16_t type = type::kA) const {
    const bool became = eventually([&] { return ask(text, type) == answer; });
    EXPECT_TRUE(became) << text << ": " << ask(text, type);
    return became;
  }
  static Object service(const std::string& service_name, const std::string& ip) {
    return Object(Json{{"metadata", {{"name", service_name}, {"namespace", "default"}}},
                       {"spec", {{"clusterIP", ip}, {"ports", {{{"port", 80}}}}}}});
  }
  static Object slice(const std::string& slice_name, const std::string& of, const std::string& ip) {
    return Object(Json{{"metadata",
                        {{"name", slice_name},
                         {"namespace", "default"},
                         {"labels", {{"kubernetes.io/service-name", of}}}}},
                       {"addressType", "IPv4"},
                       {"endpoints", {{{"addresses", {ip}}, {"conditions", {{"ready", true}}}}}},
                       {"ports", Json::array()}});
  }

  coracle::test::RegistryClient client_{system_clock()};
  std::unique_ptr<ServiceCache> cache_;
  std::unique_ptr<ClusterDns> dns_;
};

TEST_F(ClusterDnsTest, FollowsServicesAndTheirEndpoints) {
  ASSERT_TRUE(client_->create(resources::kServices, service("web", "10.96.1.1")));
  make(*client_);
  start();
  EXPECT_TRUE(becomes("10.96.1.1", "web.default.svc.cluster.local"));
  EXPECT_TRUE(dns_->synced());
  EXPECT_EQ(ask("later.default.svc.cluster.local"), "NXDOMAIN");
  ASSERT_TRUE(client_->create(resources::kServices, service("later", "None")));
  ASSERT_TRUE(client_->create(resources::kEndpointSlices, slice("s", "later", "10.42.0.9")));
  EXPECT_TRUE(becomes("10.42.0.9", "later.default.svc.cluster.local"));
  EXPECT_TRUE(
      becomes("10-42-0-9.later.default.svc.cluster.local.", "9.0.42.10.in-addr.arpa", type::kPtr));
  // It may be another Service's one day.
  Object moved = *client_->get(resources::kEndpointSlices, {"default", "s"});
  Json changed = moved.json();
  changed["metadata"]["labels"]["kubernetes.io/service-name"] = "else";
  ASSERT_TRUE(client_->update(resources::kEndpointSlices, Object(changed), ""));
  EXPECT_TRUE(becomes("NXDOMAIN", "later.default.svc.cluster.local"));
  ASSERT_TRUE(client_->remove(resources::kServices, {"default", "web"}, {}));
  EXPECT_TRUE(becomes("NXDOMAIN", "web.default.svc.cluster.local"));
}

TEST_F(ClusterDnsTest, ANameIsToldOnceItsRulesAreMade) {
  ASSERT_TRUE(client_->create(resources::kServices, service("web", "10.96.1.1")));
  std::promise<void> asked, made;
  ClusterDnsOptions with = options();
  with.await_rules = [&, first = true](auto) mutable {
    if (!std::exchange(first, false)) return;
    asked.set_value();
    made.get_future().wait();
  };
  make(*client_, std::move(with));
  start();
  // What was there at the start has its rules.
  EXPECT_TRUE(becomes("10.96.1.1", "web.default.svc.cluster.local"));
  ASSERT_TRUE(client_->create(resources::kServices, service("later", "10.96.1.2")));
  ASSERT_EQ(asked.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_EQ(ask("later.default.svc.cluster.local"), "NXDOMAIN");
  made.set_value();
  EXPECT_TRUE(becomes("10.96.1.2", "later.default.svc.cluster.local"));
}

TEST_F(ClusterDnsTest, UntilTheServicesAreKnownItDoesNotKnow) {
  make(*client_);
  dns_->start();  // the cache is not
  ASSERT_TRUE(eventually([&] { return dns_->port() != 0; }));
  EXPECT_EQ(ask("web.default.svc.cluster.local"), "SERVFAIL");
  EXPECT_FALSE(dns_->synced());
  cache_->start();
  EXPECT_TRUE(becomes("NXDOMAIN", "web.default.svc.cluster.local"));
}

TEST_F(ClusterDnsTest, WhatWasKeptIsServedWhileTheServerIsAway) {
  const TempDir dir;
  ASSERT_TRUE(client_->create(resources::kServices, service("web", "10.96.1.1")));
  make(*client_, options(), dir.path() + "/kept");
  start();
  EXPECT_TRUE(becomes("10.96.1.1", "web.default.svc.cluster.local"));
  stop();
  Nobody nobody;
  make(nobody, options(), dir.path() + "/kept");
  start();
  EXPECT_TRUE(becomes("10.96.1.1", "web.default.svc.cluster.local"));
  EXPECT_EQ(ask("other.default.svc.cluster.local"), "NXDOMAIN");
}

TEST_F(ClusterDnsTest, AnAddressThatSomebodyHasIsToldAndTakenWhenItIsFree) {
  int holder = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  SocketAddress at(kLoopback, 0);
  ASSERT_EQ(::bind(holder, at.get(), at.size), 0);
  ASSERT_EQ(::getsockname(holder, at.get(), &at.size), 0);
  make(*client_, options(at.port()));
  std::atomic<int> told = 0;
  std::string why;
  dns_->on_trouble([&](const std::string& text) {
    why = text;
    ++told;
  });
  dns_->start();
  cache_->start();
  ASSERT_TRUE(eventually([&] { return told == 1; }));
  EXPECT_NE(why.find("is used by another program"), std::string::npos) << why;
  ::close(holder);
  ASSERT_TRUE(eventually([&] { return dns_->synced(); }));
  EXPECT_EQ(told, 1);
}

TEST_F(ClusterDnsTest, SearchesForThePodsItWasToldOf) {
  ASSERT_TRUE(client_->create(resources::kServices, service("web", "10.96.1.1")));
  make(*client_);
  start();
  ASSERT_TRUE(becomes("10.96.1.1", "web.default.svc.cluster.local"));
  const std::string searched = "web.default.other.svc.cluster.local";
  EXPECT_EQ(ask(searched), "NXDOMAIN");
  dns_->set_pod("uid", "other", kLoopback);  // as if we were that Pod
  EXPECT_TRUE(eventually([&] { return ask(searched) != "NXDOMAIN"; }));
  dns_->set_pod("uid", "", std::nullopt);
  EXPECT_TRUE(becomes("NXDOMAIN", searched));
}

TEST_F(ClusterDnsTest, TheMetricsSayWhatWasAsked) {
  make(*client_);
  start();
  ASSERT_TRUE(becomes("NXDOMAIN", "missing.default.svc.cluster.local"));
  EXPECT_EQ(ask("dns-version.cluster.local", type::kTxt), "\"1.1.0\"");
  EXPECT_EQ(ask("www.example.com"), "SERVFAIL");
  const auto says = [](const std::string& line) {
    return metrics::Family::text().find("\n" + line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(eventually([&] { return says("coracle_dns_requests_total{type=\"TXT\"} 1"); }));
  EXPECT_TRUE(says("coracle_dns_responses_total{rcode=\"NOERROR\"} 1"));
  EXPECT_TRUE(eventually([&] { return says("coracle_dns_cache_total{result=\"miss\"} 1"); }));
  EXPECT_TRUE(says("coracle_dns_upstream_failures_total 1"));
  stop();
  EXPECT_EQ(metrics::Family::text().find("coracle_dns_requests_total"), std::string::npos);
}

TEST_F(ClusterDnsTest, ADomainHasToBeAName) {
  ServiceCache cache(*client_, "");
  for (const char* domain : {"", ".", "a..b"}) {
    ClusterDnsOptions with = options();
    with.domain = domain;
    const auto made = ClusterDns::create(cache, system_clock(), std::move(with));
    ASSERT_FALSE(made) << domain;
    EXPECT_EQ(made.error().code, Code::BadRequest);
  }
}

}  // namespace
}  // namespace coracle::dns
