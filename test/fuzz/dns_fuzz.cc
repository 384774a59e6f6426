#include <coracle/api/endpoint_slice.h>
#include <coracle/api/service.h>

#include "node/dns/message.h"
#include "node/dns/responder.h"
#include "node/dns/zone.h"
#include "targets.h"

// A question that any Pod may send, and the whole way of its answer; and what an upstream server
// may send.
namespace coracle::fuzz {
namespace {

using namespace coracle::dns;

// Answers what it is asked by repeating the question's name as an alias.
class Echo final : public Upstream {
 public:
  void ask(const Question& question, Done done) override {
    Reply reply;
    reply.answer.push_back(
        {question.name, dns::type::kCname, 60, std::string(question.name.wire())});
    done(reply);
  }
};

// Its time stands still: what comes out depends on the input alone.
class Stopped final : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override { return {}; }
  std::chrono::steady_clock::time_point steady_now() const override { return {}; }
};

std::shared_ptr<const Zone> make_zone() {
  ZoneTable table({.domain = *Name::parse("cluster.local"),
                   .dns_address = *Ip::parse("10.96.0.10"),
                   .pod_cidr = *Cidr::parse("10.42.0.0/16"),
                   .service_cidr = *Cidr::parse("10.96.0.0/16")});
  Service web;
  web.meta.ns = "default";
  web.meta.name = "web";
  web.cluster_ip = "10.96.0.7";
  coracle::ServicePort port;
  port.name = "http";
  port.port = 80;
  web.ports.push_back(port);
  table.set(web.meta.key(), &web, {});
  Service set = web;
  set.meta.name = "set";
  set.cluster_ip = "None";
  EndpointSlice slice;
  slice.address_type = "IPv4";
  for (int i = 1; i < 120; ++i) {
    slice.endpoints.emplace_back();
    slice.endpoints.back().addresses = {"10.42.0." + std::to_string(i)};
  }
  slice.ports.push_back({"http", "TCP", 8080, ""});
  table.set(set.meta.key(), &set, {std::make_shared<const EndpointSlice>(slice)});
  Service alias = web;
  alias.meta.name = "alias";
  alias.type = "ExternalName";
  alias.external_name = "www.example.com";
  table.set(alias.meta.key(), &alias, {});
  return table.snapshot();
}

void check_answer(Input question, const std::string& answer, std::size_t limit) {
  const Input bytes(reinterpret_cast<const std::uint8_t*>(answer.data()), answer.size());
  require(answer.size() >= 12 && answer.size() <= limit, "an answer fits");
  require(bytes[0] == question[0] && bytes[1] == question[1],
          "an answer has its question's number");
  require((bytes[2] & 0x80U) != 0, "an answer says that it is one");
  require(!parse_query(bytes), "nobody answers an answer");
  const auto query = parse_query(question);
  const bool readable = bytes[5] == 1 && query->class_ == kClassIn;
  require(!readable || parse_response(bytes).has_value(), "ldns reads every answer");
}

void ask(Input input, Transport transport, std::size_t limit) {
  static const std::shared_ptr<const Zone> zone = make_zone();
  const Stopped clock;
  Echo upstream;
  Resolver resolver(clock, upstream);
  resolver.set_zone(zone, true);
  Responder responder(clock, resolver,
                      {.pod_cidr = zone->config().pod_cidr, .is_own_question = {}});
  const Ip pod = *Ip::parse("10.42.0.5");
  responder.set_pods(std::make_shared<const PodNamespaces>(PodNamespaces{{pod, "default"}}));
  int answers = 0;
  responder.respond(input, {pod, 4000, transport}, [&](const std::string& answer) {
    ++answers;
    check_answer(input, answer, limit);
  });
  require(answers == (parse_query(input) ? 1 : 0), "what is a question has one answer");
}

}  // namespace

void fuzz_dns(Input input) {
  ask(input, Transport::Udp, kMaxUdp);
  ask(input, Transport::Tcp, kMaxTcp);
  const auto response = parse_response(input);
  if (!response) return;
  // What upstream says is passed on to Pods.
  Query query;
  if (response->question) {
    query.asked = std::string(response->question->name.wire()) + std::string("\0\1\0\1", 4);
    query.question = *response->question;
  }
  std::string out;
  encode(query, response->reply, kMaxTcp, out);
  const Input bytes(reinterpret_cast<const std::uint8_t*>(out.data()), out.size());
  require(parse_response(bytes).has_value(), "what is passed on is read again");
  for (const auto* section : {&response->reply.answer, &response->reply.authority})
    for (const auto& record : *section)
      require(!to_string(record).empty(), "records can be printed");
}

}  // namespace coracle::fuzz
