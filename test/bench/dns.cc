// bench_dns [SERVICES] [SECONDS]: the cluster's DNS without a cluster, one JSON line: memory of the
// names, time of a change and of an answer, and questions a second over UDP on loopback, with one
// client beside the server. Then names outside the cluster as a Pod's resolver asks for them first,
// with the search path's first domain at their end: one question each.
// bench_dns ask IP PORT NAMES SECONDS: the answers a second of any server to names from a file, to
// a client that costs the machine less than dnsperf does.
#include <coracle/api/service.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "node/dns/server.h"
#include "node/dns/socket_address.h"

namespace coracle::dns {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string service_name(int i) {
  return "service-" + std::to_string(i);
}

Service make_service(int i, int turn) {
  Service out;
  out.meta.ns = "namespace-" + std::to_string(i % 50);
  out.meta.name = service_name(i);
  out.cluster_ip =
      Ip::v4(0x0A600000U + static_cast<std::uint32_t>(i) * 4U + static_cast<std::uint32_t>(turn))
          .to_string();
  coracle::ServicePort port;
  port.name = "http";
  port.port = 80;
  out.ports.push_back(port);
  return out;
}

Name name_of(int i) {
  return *Name::parse(service_name(i) + ".namespace-" + std::to_string(i % 50) +
                      ".svc.cluster.local");
}

int connected_to(const UpstreamServer& server) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const SocketAddress to(server.ip, server.port);
  return fd >= 0 && ::connect(fd, to.get(), to.size) == 0 ? fd : -1;
}

// Asks for the names in turn, a window of them at a time; the answers that came.
std::size_t load(const UpstreamServer& server, const std::function<Name(int)>& name,
                 double seconds) {
  constexpr std::size_t kWindow = 64;
  const int fd = connected_to(server);
  if (fd < 0) return 0;
  std::array<std::string, kWindow> questions;
  std::array<std::array<char, 1500>, kWindow> answers{};
  std::array<iovec, kWindow> out{}, in{};
  std::array<mmsghdr, kWindow> sends{}, receives{};
  for (std::size_t i = 0; i < kWindow; ++i) {
    questions[i] =
        encode_question(static_cast<std::uint16_t>(i), {name(static_cast<int>(i)), type::kA});
    out[i] = {questions[i].data(), questions[i].size()};
    in[i] = {answers[i].data(), answers[i].size()};
    sends[i].msg_hdr.msg_iov = &out[i];
    receives[i].msg_hdr.msg_iov = &in[i];
    sends[i].msg_hdr.msg_iovlen = receives[i].msg_hdr.msg_iovlen = 1;
  }
  std::size_t got = 0;
  std::size_t due = kWindow;  // questions that nothing is on its way for
  for (const auto begin = Clock::now(); seconds_since(begin) < seconds;) {
    (void)::sendmmsg(fd, sends.data(), static_cast<unsigned>(due), 0);
    pollfd readable{fd, POLLIN, 0};
    if (::poll(&readable, 1, 1000) != 1) {  // all are lost
      due = kWindow;
      continue;
    }
    const int count = ::recvmmsg(fd, receives.data(), kWindow, MSG_DONTWAIT, nullptr);
    due = static_cast<std::size_t>(std::max(count, 0));
    got += due;
    std::rotate(sends.begin(), sends.begin() + static_cast<std::ptrdiff_t>(due), sends.end());
  }
  ::close(fd);
  return got;
}

// A server outside the cluster, where every name has an address.
class Outside {
 public:
  Outside() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    (void)::bind(fd_, at_.get(), at_.size);
    (void)::getsockname(fd_, at_.get(), &at_.size);
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  ~Outside() {
    thread_.request_stop();
    thread_.join();
    ::close(fd_);
  }
  Outside(const Outside&) = delete;
  Outside& operator=(const Outside&) = delete;
  UpstreamServer server() const { return {Ip::v4(INADDR_LOOPBACK), at_.port()}; }

 private:
  void run(const std::stop_token& stop) const {
    std::array<std::uint8_t, 1500> packet{};
    std::string out;
    while (!stop.stop_requested()) {
      pollfd readable{fd_, POLLIN, 0};
      if (::poll(&readable, 1, 50) != 1) continue;
      SocketAddress from;
      const ssize_t size = ::recvfrom(fd_, packet.data(), packet.size(), 0, from.get(), &from.size);
      const auto query =
          parse_query({packet.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))});
      if (!query) continue;
      Reply reply;
      reply.answer.push_back(make_address(query->question.name, 3600, Ip::v4(0xC0000207U)));
      encode(*query, reply, 512, out);
      (void)::sendto(fd_, out.data(), out.size(), 0, from.get(), from.size);
    }
  }

  int fd_;
  SocketAddress at_{Ip::v4(INADDR_LOOPBACK), 0};
  std::jthread thread_;
};

Name searched_name(int i) {
  return *Name::parse("www-" + std::to_string(i) + ".example.com.default.svc.cluster.local");
}

// Microseconds of a question whose answer has to be fetched, one after the other; 0 when one of
// them has not led to an address.
double fetch(const UpstreamServer& server, int names) {
  const int fd = connected_to(server);
  std::array<std::uint8_t, 1500> packet{};
  const auto begin = Clock::now();
  for (int i = 0; i < names; ++i) {
    const std::string question =
        encode_question(static_cast<std::uint16_t>(i), {searched_name(i), type::kA});
    pollfd readable{fd, POLLIN, 0};
    if (::send(fd, question.data(), question.size(), 0) < 0 || ::poll(&readable, 1, 1000) != 1)
      return 0;
    const ssize_t size = ::recv(fd, packet.data(), packet.size(), 0);
    const auto response =
        parse_response({packet.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))});
    if (!response || response->reply.answer.empty() ||
        response->reply.answer.back().type != type::kA)
      return 0;
  }
  ::close(fd);
  return seconds_since(begin) * 1e6 / names;
}

int run(int services, double seconds) {
  const auto heap = [] { return ::mallinfo2().uordblks + ::mallinfo2().hblkhd; };
  const auto before = heap();
  ZoneTable table({.domain = *Name::parse("cluster.local"),
                   .dns_address = *Ip::parse("10.96.0.10"),
                   .pod_cidr = *Cidr::parse("10.42.0.0/16"),
                   .service_cidr = *Cidr::parse("10.96.0.0/12")});
  for (int i = 0; i < services; ++i) {
    const Service service = make_service(i, 0);
    table.set(service.meta.key(), &service, {});
  }
  const double mib = static_cast<double>(heap() - before) / (1 << 20);
  auto begin = Clock::now();
  for (int i = 0; i < 1000; ++i) {
    const Service service = make_service(i % services, 1 + i % 3);
    table.set(service.meta.key(), &service, {});
    (void)table.snapshot();
  }
  const double change = seconds_since(begin) * 1000;

  const auto zone = table.snapshot();
  const std::string packet = encode_question(1, {name_of(services / 2), type::kA});
  const Bytes bytes(reinterpret_cast<const std::uint8_t*>(packet.data()), packet.size());
  std::string out;
  Query query;
  constexpr int kAnswers = 300'000;
  begin = Clock::now();
  for (std::uint32_t i = 0; i < kAnswers; ++i) {
    if (!parse_query(bytes, query)) return 1;
    encode(query, zone->answer(query.question, i).reply, udp_limit(query), out);
  }
  const double answer = seconds_since(begin) * 1e6 / kAnswers;

  const Outside outside;
  ServerOptions options;
  options.listen = {Ip::v4(INADDR_LOOPBACK)};
  options.port = 0;
  options.pod_cidr = zone->config().pod_cidr;
  options.upstream = {outside.server()};
  auto server = Server::create(system_clock(), options);
  if (!server) return std::fprintf(stderr, "%s\n", server.error().message.c_str()), 1;
  (*server)->set_zone(zone, true);
  (*server)->set_pods({{Ip::v4(INADDR_LOOPBACK), "default"}});
  (*server)->start();
  const UpstreamServer here{Ip::v4(INADDR_LOOPBACK), (*server)->port()};
  const auto served = load(
      here, [&](int i) { return name_of(i * 131 % services); }, seconds);
  const double fetched = fetch(here, 2000);
  const auto kept = load(here, searched_name, seconds);
  std::printf(
      "{\"benchmark\":\"dns\",\"services\":%d,\"names_mib\":%.2f,\"change_us\":%.1f,"
      "\"answer_us\":%.3f,\"queries_per_second\":%.0f,\"outside_fetched_us\":%.1f,"
      "\"outside_kept_per_second\":%.0f}\n",
      services, mib, change * 1000 / 1000, answer, static_cast<double>(served) / seconds, fetched,
      static_cast<double>(kept) / seconds);
  return fetched > 0 ? 0 : 1;
}

int ask(const UpstreamServer& server, const char* file, double seconds) {
  std::vector<Name> names;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);)
    if (const auto name = Name::parse(line.substr(0, line.find(' ')))) names.push_back(*name);
  if (names.empty()) return 1;
  const auto name = [&](int i) { return names[static_cast<std::size_t>(i) % names.size()]; };
  const auto got = static_cast<double>(load(server, name, seconds));
  std::printf("{\"answers_per_second\":%.0f}\n", got / seconds);
  return got > 0 ? 0 : 1;
}

}  // namespace
}  // namespace coracle::dns

int main(int argc, char** argv) {
  if (argc == 6 && std::string_view(argv[1]) == "ask") {
    const auto ip = coracle::Ip::parse(argv[2]);
    const auto port = static_cast<coracle::Port>(std::atoi(argv[3]));
    return ip ? coracle::dns::ask({*ip, port}, argv[4], std::atof(argv[5])) : 1;
  }
  return coracle::dns::run(argc > 1 ? std::atoi(argv[1]) : 10'000,
                           argc > 2 ? std::atof(argv[2]) : 3);
}
