// The stage for tests on the real kernel: a namespace that is the node, three
// Pods with echo servers, one client Pod and an outside machine behind it. Needs root; touches
// nothing but namespaces that it makes, whose names carry the pid.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "node/proxy/iptables_backend.h"

namespace coracle::proxy {

using namespace std::chrono_literals;

inline Ip ip(const std::string& text) {
  return Ip::parse(text).value();
}

inline void run(const std::vector<std::string>& argv) {
  const auto done = run_process(argv, "", 60s);
  ASSERT_TRUE(done) << done.error().message;
  ASSERT_EQ(done->exit_code, 0) << ::testing::PrintToString(argv) << done->err;
}
inline std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> out;
  std::string word;
  for (const char c : line + " ") {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      out.push_back(std::exchange(word, ""));
    }
  }
  return out;
}
inline void ip_command(const std::string& arguments) {
  run(split("/usr/sbin/ip " + arguments));
}

// Runs `f` on a thread inside the namespace.
inline void in_namespace(const std::string& name, const std::function<void()>& f) {
  std::jthread([&] {
    const int fd = ::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    const bool entered = fd >= 0 && ::setns(fd, CLONE_NEWNET) == 0;
    if (fd >= 0) ::close(fd);
    ASSERT_TRUE(entered) << name;
    f();
  }).join();
}

inline sockaddr_in address(const std::string& text, Port port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  ::inet_pton(AF_INET, text.c_str(), &out.sin_addr);
  return out;
}
inline sockaddr* raw(sockaddr_in& a) {
  return reinterpret_cast<sockaddr*>(&a);
}  // NOLINT

// Answers "name client-address" on TCP and UDP port 8080 until it is destroyed.
class EchoServer {
 public:
  EchoServer(const std::string& ns, std::string name) : name_(std::move(name)) {
    in_namespace(ns, [&] {
      sockaddr_in any = address("0.0.0.0", 8080);
      const int one = 1;
      for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
        const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        ASSERT_EQ(::bind(fd, raw(any), sizeof any), 0);
        if (type == SOCK_STREAM) {
          ASSERT_EQ(::listen(fd, 128), 0);
        }
        fds_.push_back(fd);
      }
    });
    thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  }
  ~EchoServer() {
    thread_ = {};
    for (const int fd : fds_) ::close(fd);
  }
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

 private:
  std::string reply(const sockaddr_in& peer) const {
    char text[INET_ADDRSTRLEN] = {};
    ::inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text);
    return name_ + " " + text;
  }
  void serve(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd polls[2] = {{fds_[0], POLLIN, 0}, {fds_[1], POLLIN, 0}};
      if (::poll(polls, 2, 50) <= 0) continue;
      sockaddr_in peer{};
      socklen_t size = sizeof peer;
      const int fd = ::accept4(fds_[0], raw(peer), &size, SOCK_CLOEXEC);
      if (fd >= 0) {
        const std::string text = reply(peer);
        (void)!::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        ::close(fd);
      }
      char byte = 0;
      size = sizeof peer;
      if (::recvfrom(fds_[1], &byte, 1, 0, raw(peer), &size) >= 0) {
        const std::string text = reply(peer);
        (void)!::sendto(fds_[1], text.data(), text.size(), 0, raw(peer), size);
      }
    }
  }
  std::string name_;
  std::vector<int> fds_;
  std::jthread thread_;
};

// How long an answer may take where one is expected, and where none is.
inline constexpr std::chrono::seconds kPatience{20}, kShortPatience{2};

// What the server answers to one new connection from the calling thread's namespace, or the error.
inline std::string ask(const std::string& to, Port port, int type = SOCK_STREAM,
                       std::chrono::seconds patience = kPatience) {
  const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  const timeval limit{.tv_sec = patience.count(), .tv_usec = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (type == SOCK_DGRAM) {
    // The kernel's choice may repeat within conntrack's memory, and then it is the old flow, not a
    // new one.
    static std::atomic<Port> next = 20000;
    sockaddr_in source = address("0.0.0.0", next++);
    if (::bind(fd, raw(source), sizeof source) != 0) return std::strerror(errno);
  }
  sockaddr_in target = address(to, port);
  std::string out;
  char buffer[200];
  if (::connect(fd, raw(target), sizeof target) != 0) {
    out = errno == ECONNREFUSED  ? "refused"
          : errno == EINPROGRESS ? "timeout"
                                 : std::strerror(errno);
  } else {
    if (type == SOCK_DGRAM) (void)!::send(fd, "x", 1, MSG_NOSIGNAL);
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    out = n > 0                   ? std::string(buffer, static_cast<std::size_t>(n))
          : errno == ECONNREFUSED ? "refused"
                                  : "timeout";
  }
  ::close(fd);
  return out;
}

inline const std::string kVip = "10.96.0.50";
inline const std::string kNode = "192.0.2.1";
inline const std::string kOutside = "192.0.2.2";

class IptablesKernel : public ::testing::TestWithParam<IptablesVariant> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    // p0 to p2 serve, p3 is a client.
    for (const std::string& name : names()) ip_command("netns add " + ns(name));
    ip_command("-n " + ns("node") + " link set lo up");
    ip_command("-n " + ns("node") + " link add br0 type bridge");
    ip_command("-n " + ns("node") + " addr add 10.42.0.1/24 dev br0");
    ip_command("-n " + ns("node") + " link set br0 up");
    for (int i = 0; i < 4; ++i) {
      const std::string pod = "p" + std::to_string(i);
      ip_command("-n " + ns("node") + " link add " + pod + " type veth peer name eth0 netns " +
                 ns(pod));
      ip_command("-n " + ns("node") + " link set " + pod + " master br0 up");
      ip_command("-n " + ns("node") + " link set " + pod + " type bridge_slave hairpin on");
      link_up(pod, "10.42.0." + std::to_string(i + 2), "10.42.0.1");
    }
    ip_command("-n " + ns("node") + " link add up0 type veth peer name eth0 netns " + ns("out"));
    ip_command("-n " + ns("node") + " addr add " + kNode + "/24 dev up0");
    ip_command("-n " + ns("node") + " link set up0 up");
    ip_command("-n " + ns("node") + " route add default via " + kOutside);
    link_up("out", kOutside, kNode);
    in_namespace(ns("node"), [] {
      for (const char* file :
           {"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/bridge/bridge-nf-call-iptables"}) {
        const int fd = ::open(file, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
          continue;  // without br_netfilter, Pods of one bridge only meet the rules by routing
        EXPECT_EQ(::write(fd, "1", 1), 1) << file;
        ::close(fd);
      }
    });
    for (int i = 0; i < 3; ++i) {
      servers_.push_back(
          std::make_unique<EchoServer>(ns("p" + std::to_string(i)), "p" + std::to_string(i)));
    }
    auto tool = IptablesTool::open(GetParam());
    ASSERT_TRUE(tool) << tool.error().message;
    tool_.emplace(*tool);
    backend_ = std::make_unique<IptablesBackend>(*tool_, config());
  }
  void TearDown() override {
    servers_.clear();
    for (const std::string& name : names())
      (void)run_process({"/usr/sbin/ip", "netns", "del", ns(name)}, "", 60s);
  }

  static std::vector<std::string> names() { return {"node", "p0", "p1", "p2", "p3", "out"}; }
  static std::string ns(const std::string& name) {
    return "ptest-" + std::to_string(::getpid()) + "-" + name;
  }
  static void link_up(const std::string& name, const std::string& address,
                      const std::string& gateway) {
    ip_command("-n " + ns(name) + " link set lo up");
    ip_command("-n " + ns(name) + " addr add " + address + "/24 dev eth0");
    ip_command("-n " + ns(name) + " link set eth0 up");
    ip_command("-n " + ns(name) + " route add default via " + gateway);
  }
  static IptablesConfig config() { return {Cidr::parse("10.42.0.0/16").value(), false}; }

  static ServicePort web(int endpoints) {
    ServicePort port;
    port.service = {"default", "web"};
    port.cluster_ip = ip(kVip);
    port.port = 80;
    port.node_port = 30080;
    for (int i = 0; i < endpoints; ++i) {
      port.cluster_endpoints.push_back(
          {ip("10.42.0.2").plus(static_cast<std::uint64_t>(i)), 8080, true});
    }
    port.local_endpoints = port.cluster_endpoints;
    return port;
  }
  void sync(std::vector<ServicePort> ports) {
    std::sort(ports.begin(), ports.end(), [](const ServicePort& a, const ServicePort& b) {
      return std::tie(a.service, a.port_name, a.protocol) <
             std::tie(b.service, b.port_name, b.protocol);
    });
    in_namespace(ns("node"), [&] {
      const auto done = backend_->sync({std::move(ports)});
      ASSERT_TRUE(done) << done.error().message;
    });
  }
  bool intact() {
    bool out = false;
    in_namespace(ns("node"), [&] { out = backend_->intact().value(); });
    return out;
  }
  std::string saved(bool counters = false) {
    std::string out;
    in_namespace(ns("node"), [&] {
      const std::string program = "/usr/sbin/" + tool_->name() + "-save";
      std::vector<std::string> argv{program};
      if (counters) argv.emplace_back("-c");
      out = run_process(argv, "", 60s).value().out;
    });
    // The header says when.
    std::string kept;
    for (std::size_t at = 0; at < out.size();) {
      const std::size_t end = std::min(out.find('\n', at), out.size());
      // Those of a chain's policy come with its name.
      const std::size_t last = out[at] == ':' && !counters ? std::min(out.find('[', at), end) : end;
      if (out[at] != '#') kept += out.substr(at, last - at) + "\n";
      at = end + 1;
    }
    return kept;
  }
  // How often each answer came.
  std::map<std::string, int> tally(const std::string& from, const std::string& to, Port port,
                                   int count, int type = SOCK_STREAM,
                                   std::chrono::seconds patience = kPatience) {
    std::map<std::string, int> out;
    in_namespace(ns(from), [&] {
      for (int i = 0; i < count; ++i) ++out[ask(to, port, type, patience)];
    });
    return out;
  }
  using Tally = std::map<std::string, int>;

  std::vector<std::unique_ptr<EchoServer>> servers_;
  std::optional<IptablesTool> tool_;
  std::unique_ptr<IptablesBackend> backend_;
};

}  // namespace coracle::proxy
