#include "node/dns/routes.h"

#include <gtest/gtest.h>

#include "fake_clock.h"
#include "fake_upstream_server.h"
#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using test::name;

TEST(StaticNames, AreRead) {
  const auto names = parse_static_names(
      {"corp.example=192.0.2.1", "example=192.0.2.9:5353", "corp.example=[2001:db8::1]:54"},
      {"nas.home=192.0.2.5", "NAS.home.=2001:db8::5"});
  ASSERT_TRUE(names) << names.error().message;
  ASSERT_EQ(names->stubs.size(), 2U);
  EXPECT_EQ(names->stubs[0].zone, name("corp.example"));
  EXPECT_EQ(names->stubs[0].servers,
            (std::vector<UpstreamServer>{{*Ip::parse("192.0.2.1"), 53},
                                         {*Ip::parse("2001:db8::1"), 54}}));
  EXPECT_EQ(names->stubs[1].servers,
            (std::vector<UpstreamServer>{{*Ip::parse("192.0.2.9"), 5353}}));
  ASSERT_EQ(names->hosts.size(), 1U);
  EXPECT_EQ(names->hosts.begin()->second.size(), 2U);
}

TEST(StaticNames, WhatIsWrongIsNamed) {
  struct Case {
    std::vector<std::string> stubs, hosts;
    const char* problem;
  };
  for (const Case& c :
       {Case{{"corp.example"}, {}, "stub domain: \"corp.example\" has no ="},
        Case{{"a..b=192.0.2.1"}, {}, "\"a..b\" is no DNS name"},
        Case{{"a.b=nowhere"}, {}, "\"nowhere\" is neither IP nor IP:PORT"},
        Case{{"a.b=192.0.2.1:0"}, {}, "neither"}, Case{{"a.b=192.0.2.1:70000"}, {}, "neither"},
        Case{{"a.b=:53"}, {}, "neither"},
        Case{{}, {"nas=192.0.2.1"}, "host: the host \"nas=192.0.2.1\" has one label"},
        Case{{}, {"nas.home=x"}, "\"x\" is no IP address"},
        Case{{}, {"=192.0.2.1"}, "is no DNS name"}}) {
    SCOPED_TRACE(c.problem);
    const auto names = parse_static_names(c.stubs, c.hosts);
    ASSERT_FALSE(names);
    EXPECT_EQ(names.error().code, Code::BadRequest);
    EXPECT_NE(names.error().message.find(c.problem), std::string::npos) << names.error().message;
  }
}

class DnsRoutes : public ::testing::Test {
 protected:
  void start(const std::vector<std::string>& stubs, const std::vector<std::string>& hosts) {
    auto names = parse_static_names(stubs, hosts);
    ASSERT_TRUE(names) << names.error().message;
    auto routes = Routes::create(clock_, {}, std::move(*names));
    ASSERT_TRUE(routes) << routes.error().message;
    routes_ = std::move(*routes);
    routes_->set_servers({others_.address()});
  }
  // The first record of the answer at once, or "" and it is asked elsewhere.
  std::string ask(const std::string& text, std::uint16_t type = type::kA) {
    const auto out = std::make_shared<std::string>();  // the answer may come when nobody waits
    routes_->ask({name(text), type}, [out](const Result<Reply>& reply) {
      *out = !reply ? reply.error().message
                    : (reply->answer.empty() ? "nothing" : to_string(reply->answer.front()));
    });
    return *out;
  }
  std::string server(const test::FakeServer& fake) const {
    return fake.address().ip.to_string() + ":" + std::to_string(fake.address().port);
  }

  test::FakeClock clock_;
  test::FakeServer stub_, others_;
  std::unique_ptr<Routes> routes_;
};

TEST_F(DnsRoutes, HostsAreAnsweredAtOnce) {
  start({}, {"nas.home=192.0.2.5"});
  EXPECT_EQ(ask("nas.home"), "nas.home. 60 IN A 192.0.2.5");
  EXPECT_EQ(ask("nas.home", type::kAaaa), "nothing");
  EXPECT_EQ(ask("x.nas.home"), "");
}

TEST_F(DnsRoutes, StubDomainsAskTheirServersAndAllElseTheOthers) {
  start({"corp.example=" + server(stub_)}, {});
  EXPECT_EQ(ask("a.corp.example"), "");
  EXPECT_EQ(stub_.next().question.name, name("a.corp.example"));
  EXPECT_EQ(ask("a.example"), "");
  EXPECT_EQ(others_.next().question.name, name("a.example"));
  EXPECT_TRUE(routes_->deadline());
}

}  // namespace
}  // namespace coracle::dns
