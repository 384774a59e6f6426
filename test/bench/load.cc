// The load of the API's benchmarks, light enough to share two cores with the server it measures:
// HTTP/1.1 over OpenSSL, one thread and one connection per client.
//
//   bench_load PKI PORT rate CLIENTS SECONDS METHOD PATH [BODY]   "%" in PATH and BODY is replaced
//     by a number of its own for each request; prints requests per second and latencies
//   bench_load PKI PORT watch WATCHERS EVENTS PATH BODY           from sending a POST until the
//   last
//     watcher has the event; the watchers share one thread
//   bench_load PKI PORT follow WATCH_PATH EVENTS TRIGGER_METHOD TRIGGER_PATH BODY_A BODY_B
//     from sending a request, whose bodies take turns, until one watcher sees anything
//
// PKI is a directory with ca.crt, admin.crt and admin.key.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using SteadyClock = std::chrono::steady_clock;

double milliseconds(SteadyClock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

class Connection {
 public:
  Connection(SSL_CTX* context, int port) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<in_port_t>(port));
    const int on = 1;
    (void)setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) fail("connect");
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd_);
    if (SSL_connect(ssl_) != 1) fail("TLS handshake");
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    SSL_free(ssl_);
    close(fd_);
  }
  int fd() const { return fd_; }

  void send(const std::string& method, const std::string& path, const std::string& body) {
    std::string out = method + " " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    const char* type = method == "PATCH" ? "application/merge-patch+json" : "application/json";
    if (!body.empty())
      out += std::string("Content-Type: ") + type +
             "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
    out += "\r\n" + body;
    if (SSL_write(ssl_, out.data(), static_cast<int>(out.size())) <= 0) fail("write");
  }
  // The answer's body.
  std::string receive() {
    std::size_t head = std::string::npos;
    while ((head = in_.find("\r\n\r\n")) == std::string::npos)
      if (!read_more()) fail("the server closed the connection");
    if (in_.compare(9, 1, "2") != 0) fail(in_.substr(0, 600));
    const auto at = in_.find("Content-Length: ");
    if (at == std::string::npos || at > head) fail("no length: " + in_.substr(0, head));
    const std::size_t size = head + 4 + std::stoul(in_.substr(at + 16, 20));
    while (in_.size() < size)
      if (!read_more()) fail("the server closed the connection");
    std::string body = in_.substr(head + 4, size - head - 4);
    in_.erase(0, size);
    return body;
  }
  // Past the head of a stream.
  void begin_stream() {
    std::size_t head = 0;
    while ((head = in_.find("\r\n\r\n")) == std::string::npos)
      if (!read_more()) fail("the server closed the stream");
    if (in_.compare(9, 3, "200") != 0) fail(in_.substr(0, 600));
    in_.erase(0, head + 4);
    (void)fcntl(fd_, F_SETFL, O_NONBLOCK);
  }
  // Events of the stream after one read: called again when there is more.
  std::size_t events() {
    std::size_t count = 0;
    do {
      if (!read_more()) break;
      std::size_t from = 0;
      for (std::size_t end; (end = in_.find('\n', from)) != std::string::npos; from = end + 1)
        if (in_.compare(from, 8, "{\"type\":") == 0) ++count;
      in_.erase(0, from);
    } while (SSL_has_pending(ssl_) != 0);
    return count;
  }

 private:
  bool read_more() {
    char buffer[16384];
    const int size = SSL_read(ssl_, buffer, sizeof(buffer));
    if (size > 0) in_.append(buffer, static_cast<std::size_t>(size));
    return size > 0;
  }
  int fd_ = -1;
  SSL* ssl_ = nullptr;
  std::string in_;
};

std::string numbered(std::string text, const std::string& number) {
  for (auto at = text.find('%'); at != std::string::npos; at = text.find('%', at))
    text.replace(at, 1, number);
  return text;
}

void print_latencies(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](std::size_t p) {
    return samples.empty() ? 0.0 : samples[std::min(samples.size() - 1, samples.size() * p / 100)];
  };
  std::printf("p50 %.4f\np99 %.4f\nmax %.4f\n", at(50), at(99),
              samples.empty() ? 0 : samples.back());
}

struct Load {
  SSL_CTX* context;
  int port;
};

void rate(const Load& load, int clients, double seconds, const std::string& method,
          const std::string& path, const std::string& body) {
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < clients; ++i)
    connections.push_back(std::make_unique<Connection>(load.context, load.port));
  std::mutex mutex;
  std::vector<double> samples;
  std::string error;
  const auto begin = SteadyClock::now();
  const auto end = begin + std::chrono::duration_cast<SteadyClock::duration>(
                               std::chrono::duration<double>(seconds));
  const std::string tag = std::to_string(getpid()) + "-";
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < clients; ++i)
      threads.emplace_back([&, i] {
        std::vector<double> mine;
        try {
          for (int n = 0;; ++n) {
            const auto began = SteadyClock::now();
            if (began >= end) break;
            const std::string number = tag + std::to_string(i) + "-" + std::to_string(n);
            connections[static_cast<std::size_t>(i)]->send(method, numbered(path, number),
                                                           numbered(body, number));
            connections[static_cast<std::size_t>(i)]->receive();
            mine.push_back(milliseconds(SteadyClock::now() - began));
          }
        } catch (const std::exception& e) {
          const std::lock_guard lock(mutex);
          error = e.what();
        }
        const std::lock_guard lock(mutex);
        samples.insert(samples.end(), mine.begin(), mine.end());
      });
  }
  if (!error.empty()) fail(error);
  const double passed = milliseconds(SteadyClock::now() - begin) / 1000;
  std::printf("rate %.1f\n", static_cast<double>(samples.size()) / passed);
  print_latencies(std::move(samples));
}

// Watches one path with many connections; tells when all have seen so many events.
class Watchers {
 public:
  Watchers(const Load& load, int count, const std::string& path) : epoll_(epoll_create1(0)) {
    for (int i = 0; i < count; ++i) {
      auto c = std::make_unique<Connection>(load.context, load.port);
      c->send("GET", path, "");
      c->begin_stream();
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u32 = static_cast<std::uint32_t>(i);
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c->fd(), &event) != 0) fail("epoll");
      connections_.push_back(std::move(c));
    }
    seen_.resize(connections_.size());
  }
  Watchers(const Watchers&) = delete;
  Watchers& operator=(const Watchers&) = delete;
  ~Watchers() { close(epoll_); }

  // Until every watcher has seen `events` more. False after ten seconds.
  bool await(std::size_t events) {
    for (auto& seen : seen_) seen = 0;
    std::size_t missing = seen_.size();
    const auto deadline = SteadyClock::now() + std::chrono::seconds(10);
    std::vector<epoll_event> ready(256);
    while (missing > 0) {
      if (SteadyClock::now() > deadline) return false;
      const int n = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), 1000);
      for (int i = 0; i < n; ++i) {
        const std::size_t index = ready[static_cast<std::size_t>(i)].data.u32;
        const std::size_t before = seen_[index];
        seen_[index] += connections_[index]->events();
        if (before < events && seen_[index] >= events) --missing;
      }
    }
    return true;
  }

 private:
  int epoll_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::size_t> seen_;
};

// A watch of what comes from now on.
std::string from_now(const Load& load, const std::string& path) {
  Connection connection(load.context, load.port);
  connection.send("GET", path + "?limit=1", "");
  const std::string body = connection.receive();
  const std::string name = "\"resourceVersion\":\"";
  const auto at = body.find(name);
  if (at == std::string::npos) fail("no resourceVersion");
  const auto from = at + name.size();
  return path + "?watch=1&resourceVersion=" + body.substr(from, body.find('"', from) - from);
}

void watch(const Load& load, int watchers, int events, const std::string& path,
           const std::string& body) {
  Watchers all(load, watchers, from_now(load, path));
  Connection writer(load.context, load.port);
  std::vector<double> samples;
  const std::string tag = std::to_string(getpid()) + "-";
  for (int i = 0; i < events; ++i) {
    const auto began = SteadyClock::now();
    writer.send("POST", path, numbered(body, tag + std::to_string(i)));
    if (!all.await(1)) fail("an event did not reach every watcher");
    samples.push_back(milliseconds(SteadyClock::now() - began));
    writer.receive();
  }
  print_latencies(std::move(samples));
}

void follow(const Load& load, const std::string& watched, int events, char** trigger) {
  Watchers one(load, 1, from_now(load, watched));
  Connection writer(load.context, load.port);
  std::vector<double> samples;
  for (int i = 0; i < events; ++i) {
    const auto began = SteadyClock::now();
    writer.send(trigger[0], trigger[1], trigger[2 + i % 2]);
    if (!one.await(1)) fail("no event");
    samples.push_back(milliseconds(SteadyClock::now() - began));
    writer.receive();
  }
  print_latencies(std::move(samples));
}

int run(int argc, char** argv) {
  if (argc < 7) fail("see the head of this program");
  const std::string pki = argv[1], mode = argv[3];
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  if (SSL_CTX_load_verify_locations(context, (pki + "/ca.crt").c_str(), nullptr) != 1 ||
      SSL_CTX_use_certificate_chain_file(context, (pki + "/admin.crt").c_str()) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, (pki + "/admin.key").c_str(), SSL_FILETYPE_PEM) != 1)
    fail("the certificates in " + pki);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_read_ahead(context, 1);
  const Load load{context, std::atoi(argv[2])};
  if (mode == "rate" && argc >= 8)
    rate(load, std::atoi(argv[4]), std::atof(argv[5]), argv[6], argv[7], argc > 8 ? argv[8] : "");
  else if (mode == "watch" && argc == 8)
    watch(load, std::atoi(argv[4]), std::atoi(argv[5]), argv[6], argv[7]);
  else if (mode == "follow" && argc == 10)
    follow(load, argv[4], std::atoi(argv[5]), argv + 6);
  else
    fail("see the head of this program");
  SSL_CTX_free(context);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench_load: %s\n", e.what());
    return 1;
  }
}
