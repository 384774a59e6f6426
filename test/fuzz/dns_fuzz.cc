#include <coracle/api/endpoint_slice.h>
#include <coracle/api/service.h>

#include <algorithm>

#include "node/dns/message.h"
#include "node/dns/responder.h"
#include "node/dns/upstream.h"
#include "node/dns/zone.h"
#include "targets.h"
#include "test/node/dns/fake_upstream_server.h"

// A question that any Pod may send, and the whole way of its answer; and what an upstream server
// may send, over a socket on loopback, too.
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
  slice.endpoints.emplace_back();
  slice.endpoints.back().addresses = {"192.0.2.7"};
  EndpointSlice six;
  six.address_type = "IPv6";
  for (int i = 1; i < 40; ++i) {
    six.endpoints.emplace_back();
    six.endpoints.back().addresses = {"fd00::" + std::to_string(i)};
  }
  table.set(
      set.meta.key(), &set,
      {std::make_shared<const EndpointSlice>(slice), std::make_shared<const EndpointSlice>(six)});
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

const std::shared_ptr<const Zone>& zone() {
  static const std::shared_ptr<const Zone> made = make_zone();
  return made;
}

void ask(Input input, Transport transport, std::size_t limit) {
  const Stopped clock;
  Echo upstream;
  Resolver resolver(clock, upstream);
  resolver.set_zone(zone(), true);
  Responder responder(clock, resolver,
                      {.pod_cidr = zone()->config().pod_cidr, .is_own_question = {}});
  const Ip pod = *Ip::parse("10.42.0.5");
  responder.set_pods(std::make_shared<const PodNamespaces>(PodNamespaces{{pod, "default"}}));
  int answers = 0;
  const auto take = [&](const std::string& answer) {
    ++answers;
    check_answer(input, answer, limit);
  };
  std::string out;
  if (responder.respond(input, {pod, 4000, transport}, out, [&] { return take; })) take(out);
  require(answers == (parse_query(input) ? 1 : 0), "what is a question has one answer");
}

// Says the same to every question.
class Fixed final : public Upstream {
 public:
  explicit Fixed(Reply reply) : reply_(std::move(reply)) {}
  void ask(const Question&, Done done) override {
    asked = true;
    done(reply_);
  }
  bool asked = false;

 private:
  const Reply reply_;
};

// The bytes of each record but its TTL: those of the type, sorted, and all others as they come.
std::pair<std::vector<std::string>, std::vector<std::string>> contents(const Reply& reply,
                                                                       std::uint16_t type) {
  std::vector<std::string> of_type, others;
  for (const dns::Record& record : reply.answer)
    (record.type == type ? of_type : others)
        .push_back(std::string(record.name.wire()) + std::to_string(record.type) + record.data);
  std::sort(of_type.begin(), of_type.end());
  return {of_type, others};
}

// From the server and from the cache: nothing is lost, and only addresses change places.
void take_turns(const Response& response) {
  const Stopped clock;
  Fixed upstream(response.reply);
  Resolver resolver(clock, upstream);
  resolver.set_zone(zone(), true);
  const std::uint16_t type = response.question->type;
  const bool turns = type == dns::type::kA || type == dns::type::kAaaa;
  for (int i = 0; i < 3; ++i)
    resolver.resolve(*response.question, "", [&](const Reply& reply) {
      if (!upstream.asked) return;
      require(contents(reply, type) == contents(response.reply, type),
              "an answer that comes in turn is the same answer");
      require(turns || reply.answer.size() < 2 ||
                  reply.answer.front().data == response.reply.answer.front().data,
              "only addresses come in turn");
    });
}

// A server that sends the same packet whatever it is asked, but for the number.
void converse(Input input, const Response& response) {
  static test::FakeServer server;
  const Stopped clock;
  const auto forwarder = std::move(*Forwarder::create(clock, {.tries = 1}));
  forwarder->set_servers({server.address()});
  const Question question = response.question.value_or(Question{});
  const Rcode rcode = response.reply.rcode;
  const bool edns = rcode == Rcode::FormErr || rcode == Rcode::NotImp || rcode == Rcode::BadVers;
  int answers = 0, asked = 0;
  bool same = true;  // names may point into the number
  forwarder->ask(question, [&](const Result<Reply>& reply) {
    ++answers;
    require(!same || !reply || *reply == response.reply, "what a server says is handed on");
  });
  for (; answers == 0 && server.has_question(0); ++asked) {
    const Query query = server.next();
    require(query.edns.has_value() == (asked == 0), "the second time it is asked without EDNS");
    std::string packet(text_of(input));
    packet[0] = static_cast<char>(query.id >> 8U);
    packet[1] = static_cast<char>(query.id & 255U);
    const auto sent = parse_response(test::bytes_of(packet));
    same = same && sent && sent->question == response.question && sent->reply == response.reply;
    server.send_udp(packet);
    forwarder->run();
  }
  if (test::wait_readable(server.tcp(), 0)) ::close(server.accept());
  if (!same || response.truncated || input.size() > 4096) return;
  require(answers == 1, "what a server says ends the question");
  require(asked == (edns ? 2 : 1), "only who takes no EDNS is asked again");
}

}  // namespace

void fuzz_dns(Input input) {
  ask(input, Transport::Udp, kMaxUdp);
  ask(input, Transport::Tcp, kMaxTcp);
  const auto response = parse_response(input);
  if (!response) return;
  if (response->question && !zone()->owns(*response->question)) take_turns(*response);
  converse(input, *response);
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
