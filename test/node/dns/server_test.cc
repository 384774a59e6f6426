// The server over real sockets on loopback.
#include "node/dns/server.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <set>

#include "fake_clock.h"
#include "fake_upstream_server.h"
#include "node/dns/socket_address.h"
#include "store/temp_dir.h"
#include "support/eventually.h"
#include "zone_fixture.h"

namespace coracle::dns {
namespace {

using namespace std::chrono_literals;
using test::name;

const Ip kLoopback = Ip::v4(INADDR_LOOPBACK);

class Socket {
 public:
  Socket(int type, Port port) : fd_(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    const SocketAddress to(kLoopback, port);
    if (::connect(fd_, to.get(), to.size) != 0) throw std::runtime_error("connect");
  }
  ~Socket() { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }
  void send(const std::string& bytes) const {
    ASSERT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  std::string receive() const {
    if (!test::wait_readable(fd_)) throw std::runtime_error("no answer");
    std::string out(65536, '\0');
    const ssize_t size = ::recv(fd_, out.data(), out.size(), 0);
    out.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    return out;
  }
  bool ended() const { return test::wait_readable(fd_) && receive().empty(); }

 private:
  int fd_;
};

class DnsServer : public ::testing::Test {
 protected:
  DnsServer() : table_(test::config()) { test::fill(table_); }
  void start(ServerOptions options = {}) {
    options.listen = {kLoopback};
    if (options.port == 53) options.port = 0;
    options.pod_cidr = test::config().pod_cidr;
    if (options.upstream.empty() && options.resolv_conf == "/etc/resolv.conf")
      options.upstream = {upstream_.address()};
    auto created = Server::create(system_clock(), std::move(options));
    ASSERT_TRUE(created) << created.error().message;
    server_ = std::move(*created);
    server_->set_zone(table_.snapshot(), true);
    server_->start();
  }
  Response ask_udp(const std::string& text, std::uint16_t type = type::kA) {
    const Socket socket(SOCK_DGRAM, server_->port());
    socket.send(encode_question(7, {name(text), type}));
    return *parse_response(test::bytes_of(socket.receive()));
  }

  test::FakeServer upstream_;
  ZoneTable table_;
  std::unique_ptr<Server> server_;
};

TEST_F(DnsServer, AnswersOverUdp) {
  start();
  const Response response = ask_udp("kubernetes.default.svc.cluster.local");
  EXPECT_EQ(response.id, 7);
  ASSERT_EQ(response.reply.answer.size(), 1U);
  EXPECT_EQ(to_string(response.reply.answer[0]),
            "kubernetes.default.svc.cluster.local. 5 IN A 10.96.0.1");
  EXPECT_EQ(ask_udp("missing.default.svc.cluster.local").reply.rcode, Rcode::NxDomain);
  EXPECT_TRUE(coracle::test::eventually([&] { return server_->counters().udp == 2; }));
}

TEST_F(DnsServer, AnswersABurst) {
  start();
  const Socket socket(SOCK_DGRAM, server_->port());
  for (std::uint16_t i = 0; i < 200; ++i)
    socket.send(encode_question(i, {name("kubernetes.default.svc.cluster.local"), type::kA}));
  std::set<std::uint16_t> ids;
  for (int i = 0; i < 200; ++i) ids.insert(parse_response(test::bytes_of(socket.receive()))->id);
  EXPECT_EQ(ids.size(), 200U);
}

TEST_F(DnsServer, UnsyncedItFailsAndJunkIsDropped) {
  start();
  server_->set_zone(table_.snapshot(), false);
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.rcode, Rcode::ServFail);
  const Socket socket(SOCK_DGRAM, server_->port());
  socket.send("junk");
  socket.send(std::string(2000, 'x'));
  EXPECT_TRUE(coracle::test::eventually([&] { return server_->counters().dropped == 1; }));
}

TEST_F(DnsServer, ForwardsAndKeeps) {
  start();
  const Socket socket(SOCK_DGRAM, server_->port());
  const Question question{name("www.example.com"), type::kA};
  socket.send(encode_question(9, question));
  const Query query = upstream_.next();
  Reply reply;
  reply.answer.push_back(make_address(question.name, 60, *Ip::parse("192.0.2.1")));
  upstream_.answer(query, reply);
  EXPECT_EQ(parse_response(test::bytes_of(socket.receive()))->reply.answer, reply.answer);
  socket.send(encode_question(10, question));
  EXPECT_EQ(parse_response(test::bytes_of(socket.receive()))->id, 10);
  EXPECT_FALSE(upstream_.has_question(0));
}

TEST_F(DnsServer, AServerThatIsItselfIsFoundOutAtOnce) {
  ServerOptions options;
  { options.port = test::FakeServer().address().port; }
  options.upstream = {{kLoopback, options.port}};
  start(options);
  EXPECT_EQ(ask_udp("www.example.com").reply.rcode, Rcode::ServFail);
  EXPECT_TRUE(coracle::test::eventually([&] { return server_->counters().loops == 3; }))
      << "each try";
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.rcode, Rcode::NoError);
}

TEST_F(DnsServer, FollowsResolvConf) {
  TempDir dir;
  ServerOptions options;
  options.resolv_conf = dir.path() + "/resolv.conf";
  start(options);
  EXPECT_EQ(ask_udp("www.example.com").reply.rcode, Rcode::ServFail);
  // A server that says nothing, at the port that resolv.conf means.
  const int silent = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(53);
  ASSERT_EQ(::inet_pton(AF_INET, "127.93.17.9", &address.sin_addr), 1);
  ASSERT_EQ(::bind(silent, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  std::ofstream(dir.path() + "/new") << "nameserver 127.93.17.9\n";
  ASSERT_EQ(::rename((dir.path() + "/new").c_str(), options.resolv_conf.c_str()), 0);
  EXPECT_TRUE(coracle::test::eventually([&] {
    (void)ask_udp("www.example.com");
    char asked[512];
    return ::recv(silent, asked, sizeof asked, MSG_DONTWAIT) > 0;
  }));
  ::close(silent);
}

TEST_F(DnsServer, ManyQuestionsOnOneConnection) {
  start();
  const Socket socket(SOCK_STREAM, server_->port());
  std::string all;
  for (std::uint16_t i = 0; i < 100; ++i)
    all += test::framed(encode_question(i, {name("web.prod.svc.cluster.local"), type::kA}));
  // In pieces that end anywhere.
  for (std::size_t at = 0; at < all.size(); at += 37) socket.send(all.substr(at, 37));
  std::set<std::uint16_t> ids;
  for (int i = 0; i < 100; ++i) {
    const std::string packet = test::read_framed(socket.fd());
    const auto response = parse_response(test::bytes_of(packet));
    ASSERT_TRUE(response);
    EXPECT_EQ(response->reply.answer.size(), 3U);
    ids.insert(response->id);
  }
  EXPECT_EQ(ids.size(), 100U);
}

TEST_F(DnsServer, MoreQuestionsThanMayWaitAreAnsweredInTheEnd) {
  ServerOptions options;
  options.tcp.waiting = 2;
  start(options);
  const Socket socket(SOCK_STREAM, server_->port());
  for (std::uint16_t i = 0; i < 6; ++i)
    socket.send(test::framed(
        encode_question(i, {name("n" + std::to_string(i) + ".example.com"), type::kA})));
  for (int i = 0; i < 6; ++i) {
    upstream_.answer(upstream_.next(), Reply{.rcode = Rcode::NxDomain});
    EXPECT_EQ(parse_response(test::bytes_of(test::read_framed(socket.fd())))->reply.rcode,
              Rcode::NxDomain);
  }
}

TEST_F(DnsServer, LargeAnswersAreWholeOverTcpOnly) {
  std::vector<Endpoint> many;
  for (int i = 0; i < 600; ++i)
    many.push_back(
        test::endpoint("10.42." + std::to_string(i / 200) + "." + std::to_string(1 + i % 200)));
  test::put(table_, test::service("prod", "large"), {test::slice(many)});
  start();
  const Response cut = ask_udp("large.prod.svc.cluster.local");
  EXPECT_TRUE(cut.truncated);
  EXPECT_GT(cut.reply.answer.size(), 60U);
  const Socket socket(SOCK_STREAM, server_->port());
  socket.send(test::framed(encode_question(1, {name("large.prod.svc.cluster.local"), type::kA})));
  const auto whole = parse_response(test::bytes_of(test::read_framed(socket.fd())));
  EXPECT_FALSE(whole->truncated);
  EXPECT_EQ(whole->reply.answer.size(), 600U);
}

TEST_F(DnsServer, OfTooManyConnectionsTheOneSilentLongestIsClosed) {
  ServerOptions options;
  options.tcp.of_one_source = 2;
  options.tcp.silence = 600s;
  start(options);
  const Socket first(SOCK_STREAM, server_->port());
  const Socket second(SOCK_STREAM, server_->port());
  const Socket third(SOCK_STREAM, server_->port());
  EXPECT_TRUE(first.ended());
  for (const Socket* open : {&second, &third}) {
    open->send(test::framed(encode_question(7, {name("web.prod.svc.cluster.local"), type::kA})));
    EXPECT_TRUE(parse_response(test::bytes_of(test::read_framed(open->fd()))));
  }
}

TEST_F(DnsServer, SilentConnectionsAndJunkAreClosed) {
  ServerOptions options;
  options.tcp.silence = 1s;
  start(options);
  const Socket silent(SOCK_STREAM, server_->port());
  EXPECT_TRUE(silent.ended());
  options.tcp.silence = 600s;
  start(options);
  const Socket junk(SOCK_STREAM, server_->port());
  junk.send(std::string("\0\4junk", 6));
  EXPECT_TRUE(junk.ended());
}

TEST_F(DnsServer, AnAddressThatIsTakenIsNamed) {
  start();
  ServerOptions options;
  options.listen = {kLoopback};
  options.port = server_->port();
  const auto second = Server::create(system_clock(), options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::AlreadyExists);
  EXPECT_NE(second.error().message.find("127.0.0.1 port"), std::string::npos);
}

TEST_F(DnsServer, ListensBeforeItsAddressIsThere) {
  ServerOptions options;
  options.listen = {*Ip::parse("192.0.2.53")};
  options.port = 0;
  EXPECT_TRUE(Server::create(system_clock(), options));
}

// What a service manager does for us.
class Manager {
 public:
  ~Manager() {
    for (const auto& [socket_name, fd] : kept_) ::close(fd);
  }
  SocketKeeper keeper() {
    return {
        .take = [this](const std::string& n) { return kept_.contains(n) ? ::dup(kept_[n]) : -1; },
        .keep =
            [this](const std::string& n, int fd) {
              if (kept_.contains(n)) ::close(kept_[n]);
              kept_[n] = ::dup(fd);
            }};
  }
  void put(const std::string& socket_name, int fd) { kept_[socket_name] = fd; }
  std::set<std::string> names() const {
    std::set<std::string> out;
    for (const auto& [socket_name, fd] : kept_) out.insert(socket_name);
    return out;
  }

 private:
  std::map<std::string, int> kept_;
};

TEST_F(DnsServer, QuestionsWaitInKeptSocketsForTheNextOne) {
  start();
  ServerOptions options;
  options.port = server_->port();  // one that is free
  server_.reset();
  Manager manager;
  options.sockets = manager.keeper();
  start(options);
  EXPECT_EQ(manager.names(), (std::set<std::string>{"dns-tcp-127.0.0.1", "dns-udp-127.0.0.1"}));
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.answer.size(), 1U);
  server_.reset();

  const std::string question =
      encode_question(8, {name("kubernetes.default.svc.cluster.local"), type::kA});
  const Socket udp(SOCK_DGRAM, options.port);
  udp.send(question);
  const Socket tcp(SOCK_STREAM, options.port);
  tcp.send(std::string{'\0', static_cast<char>(question.size())} + question);
  EXPECT_FALSE(test::wait_readable(udp.fd(), 0));
  start(options);
  EXPECT_EQ(parse_response(test::bytes_of(udp.receive()))->reply.answer.size(), 1U);
  EXPECT_EQ(parse_response(test::bytes_of(tcp.receive().substr(2)))->id, 8);
}

TEST_F(DnsServer, WhatIsKeptButDoesNotFitIsNotUsed) {
  start();
  ServerOptions options;
  options.port = server_->port();
  server_.reset();
  Manager manager;
  options.sockets = manager.keeper();
  // Of another port; of another protocol.
  const int elsewhere = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  SocketAddress any(kLoopback, 0);
  ASSERT_EQ(::bind(elsewhere, any.get(), any.size), 0);
  manager.put("dns-udp-127.0.0.1", elsewhere);
  manager.put("dns-tcp-127.0.0.1", ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  start(options);
  EXPECT_EQ(server_->port(), options.port);
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.answer.size(), 1U);
  server_.reset();
  start(options);  // what was made instead is kept
  EXPECT_EQ(ask_udp("kubernetes.default.svc.cluster.local").reply.answer.size(), 1U);
}

TEST_F(DnsServer, WhatWaitsForUpstreamIsAnsweredBeforeItStops) {
  ServerOptions options;
  options.last_answers = 60s;
  start(options);
  const Socket socket(SOCK_DGRAM, server_->port());
  socket.send(encode_question(9, {name("www.example.com"), type::kA}));
  const Query asked = upstream_.next();
  std::jthread stopping([&] { server_.reset(); });
  Reply reply;
  reply.answer.push_back(make_address(asked.question.name, 60, *Ip::parse("192.0.2.1")));
  upstream_.answer(asked, reply);
  EXPECT_EQ(parse_response(test::bytes_of(socket.receive()))->id, 9);
}

// Who is served, without sockets: nobody can send from elsewhere on loopback.
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

TEST(DnsResolvConf, TakesWhatCanBeAsked) {
  const auto config =
      compute_upstream_config({"10.96.0.10", "192.0.2.1", "junk", "192.0.2.1", "fe80::1%eth0",
                               "0.0.0.0", "2001:db8::1", "192.0.2.3", "192.0.2.4"},
                              {"corp.example", ".", "a..b"}, *Ip::parse("10.96.0.10"));
  EXPECT_EQ(config.servers, (std::vector<UpstreamServer>{{*Ip::parse("192.0.2.1")},
                                                         {*Ip::parse("2001:db8::1")},
                                                         {*Ip::parse("192.0.2.3")}}));
  EXPECT_EQ(config.search, std::vector<Name>{name("corp.example")});
}

TEST(DnsResolvConf, SeesFilesReplacedAndTargetsOfLinksChanged) {
  TempDir dir;
  const std::string path = dir.path() + "/resolv.conf";
  auto watch = std::move(*ResolvWatch::create(path));
  const auto seen = [&] { return test::wait_readable(watch->fd()) && watch->changed(); };
  std::ofstream(dir.path() + "/other") << "x";
  EXPECT_FALSE(seen()) << "another file";
  std::ofstream(path) << "a";
  EXPECT_TRUE(seen());
  while (test::wait_readable(watch->fd(), 0)) (void)watch->changed();
  ASSERT_EQ(::mkdir((dir.path() + "/run").c_str(), 0700), 0);
  std::ofstream(dir.path() + "/run/target") << "b";
  ASSERT_EQ(::symlink("run/target", (dir.path() + "/link").c_str()), 0);
  ASSERT_EQ(::rename((dir.path() + "/link").c_str(), path.c_str()), 0);
  EXPECT_TRUE(seen());
  while (test::wait_readable(watch->fd(), 0)) (void)watch->changed();
  std::ofstream(dir.path() + "/run/target") << "c";
  EXPECT_TRUE(seen());
}

}  // namespace
}  // namespace coracle::dns
