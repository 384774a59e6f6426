// Who is served, without sockets: nobody can send from elsewhere on loopback.
#include "node/dns/responder.h"

#include <gtest/gtest.h>

#include "fake_clock.h"
#include "fake_upstream_server.h"
#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using test::name;

TEST(DnsResponder, ServesPodsAndTheNodeOnly) {
  struct Silent final : Upstream {
    void ask(const Question&, Done done) override { done(Error{Code::Unavailable, "none"}); }
  } upstream;
  ZoneTable table(test::config());
  test::fill(table);
  const test::FakeClock clock;
  Resolver resolver(clock, upstream);
  resolver.set_zone(table.snapshot(), true);
  Responder responder(clock, resolver,
                      {.pod_cidr = test::config().pod_cidr,
                       .is_own_question = [](const Ip&, Port port) { return port == 99; }});
  responder.set_own({*Ip::parse("192.168.1.5")});
  responder.set_pods(
      std::make_shared<const PodNamespaces>(PodNamespaces{{*Ip::parse("10.42.0.9"), "prod"}}));
  const auto rcode = [&](const char* ip, const std::string& text, Port port = 5000) -> std::string {
    std::string out;
    const auto later = [&] { return [&](const std::string& packet) { out = packet; }; };
    responder.respond(test::bytes_of(encode_question(1, {name(text), type::kA})),
                      {*Ip::parse(ip), port}, out, later);
    if (out.empty()) return "silence";
    return to_string(parse_response(test::bytes_of(out))->reply.rcode);
  };
  const std::string good = "kubernetes.default.svc.cluster.local";
  EXPECT_EQ(rcode("10.42.7.7", good), "NOERROR");
  EXPECT_EQ(rcode("127.0.0.1", good), "NOERROR");
  EXPECT_EQ(rcode("192.168.1.5", good), "NOERROR");
  EXPECT_EQ(rcode("192.168.1.6", good), "silence");
  EXPECT_EQ(rcode("10.43.0.1", good), "silence");
  EXPECT_EQ(responder.counters().strangers, 2U);
  EXPECT_EQ(rcode("192.168.1.5", good, 99), "SERVFAIL") << "our own question";
  EXPECT_EQ(responder.counters().loops, 1U);
  // The Pod's namespace is known by its address.
  const std::string searched = "kubernetes.default.prod.svc.cluster.local";
  EXPECT_EQ(rcode("10.42.0.9", searched), "NOERROR");
  EXPECT_EQ(rcode("10.42.0.8", searched), "NXDOMAIN");
  EXPECT_EQ(responder.counters().udp, 6U);
  EXPECT_EQ(responder.counters().rcodes[3], 1U);
  EXPECT_EQ(responder.counters().took[0], 5U);
}

}  // namespace
}  // namespace coracle::dns
