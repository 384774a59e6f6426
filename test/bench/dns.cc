// bench_dns [SERVICES] [SECONDS]: the cluster's DNS without a cluster, one JSON line: memory of the
// names, time of a change and of an answer, and questions a second over UDP on loopback, with one
// client beside the server.
#include <coracle/api/service.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

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

// Keeps `window` questions on their way; the answers that came.
std::size_t load(Port port, int services, double seconds) {
  constexpr std::size_t kWindow = 64;
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const SocketAddress to(Ip::v4(INADDR_LOOPBACK), port);
  if (fd < 0 || ::connect(fd, to.get(), to.size) != 0) return 0;
  std::array<std::string, kWindow> questions;
  std::array<std::array<char, 1500>, kWindow> answers{};
  std::array<iovec, kWindow> out{}, in{};
  std::array<mmsghdr, kWindow> sends{}, receives{};
  for (std::size_t i = 0; i < kWindow; ++i) {
    questions[i] = encode_question(static_cast<std::uint16_t>(i),
                                   {name_of(static_cast<int>(i * 131) % services), type::kA});
    out[i] = {questions[i].data(), questions[i].size()};
    in[i] = {answers[i].data(), answers[i].size()};
    sends[i].msg_hdr.msg_iov = &out[i];
    receives[i].msg_hdr.msg_iov = &in[i];
    sends[i].msg_hdr.msg_iovlen = receives[i].msg_hdr.msg_iovlen = 1;
  }
  std::size_t got = 0;
  for (const auto begin = Clock::now(); seconds_since(begin) < seconds;) {
    (void)::sendmmsg(fd, sends.data(), kWindow, 0);
    for (std::size_t left = kWindow; left > 0;) {
      pollfd readable{fd, POLLIN, 0};
      if (::poll(&readable, 1, 1000) != 1) break;  // lost
      const int count = ::recvmmsg(fd, receives.data(), kWindow, MSG_DONTWAIT, nullptr);
      left -= std::min(left, static_cast<std::size_t>(std::max(count, 0)));
      got += static_cast<std::size_t>(std::max(count, 0));
    }
  }
  ::close(fd);
  return got;
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

  ServerOptions options;
  options.listen = {Ip::v4(INADDR_LOOPBACK)};
  options.port = 0;
  options.pod_cidr = zone->config().pod_cidr;
  auto server = Server::create(system_clock(), options);
  if (!server) return std::fprintf(stderr, "%s\n", server.error().message.c_str()), 1;
  (*server)->set_zone(zone, true);
  (*server)->start();
  const std::size_t served = load((*server)->port(), services, seconds);
  std::printf(
      "{\"benchmark\":\"dns\",\"services\":%d,\"names_mib\":%.2f,\"change_us\":%.1f,"
      "\"answer_us\":%.3f,\"queries_per_second\":%.0f}\n",
      services, mib, change * 1000 / 1000, answer, static_cast<double>(served) / seconds);
  return 0;
}

}  // namespace
}  // namespace coracle::dns

int main(int argc, char** argv) {
  return coracle::dns::run(argc > 1 ? std::atoi(argv[1]) : 10'000,
                           argc > 2 ? std::atof(argv[2]) : 3);
}
