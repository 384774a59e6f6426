#include "http_server.h"

#include <civetweb.h>
#include <coracle/log.h>
#include <coracle/metrics.h>
#include <coracle/net.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <semaphore>

#include "big_stack.h"
#include "http_answer.h"
#include "http_deadlines.h"
#include "http_gate.h"
#include "http_message.h"
#include "http_tls.h"
#include "status.h"
#include "stream_loop.h"

namespace coracle {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kReadBlock = std::size_t{16} * 1024;
constexpr std::size_t kCompressFrom = std::size_t{128} * 1024;
constexpr std::size_t kMaxHead = std::size_t{64} * 1024;
// A thread waits so long for a connection's next request before the gate does, and for a client to
// take an answer before the streams' thread does.
constexpr auto kLinger = std::chrono::milliseconds(20);
constexpr auto kPatience = std::chrono::milliseconds(1000);
// For one of the threads that may read bodies.
constexpr auto kBodyQueue = std::chrono::milliseconds(250);

// False when nothing came or went for so long.
bool wait_for(const TlsSocket& socket, TlsSocket::Step step, std::chrono::milliseconds timeout) {
  const bool writes = step == TlsSocket::Step::WantsWrite;
  pollfd entry{socket.fd(), static_cast<short>(writes ? POLLOUT : POLLIN), 0};
  return poll(&entry, 1, static_cast<int>(timeout.count())) > 0;
}

HttpRequest read_head(const mg_connection* connection) {
  const mg_request_info& info = *mg_get_request_info(connection);
  HttpRequest request;
  request.method = info.request_method == nullptr ? "" : info.request_method;
  request.path = info.local_uri_raw == nullptr ? "" : info.local_uri_raw;
  request.query = info.query_string == nullptr ? "" : info.query_string;
  for (int i = 0; i < info.num_headers; ++i)
    request.headers.emplace_back(info.http_headers[i].name, info.http_headers[i].value);
  request.remote_address = info.remote_addr;
  return request;
}

class Server : public HttpServer {
 public:
  explicit Server(Options options)
      : options_(std::move(options)), body_readers_(std::max(1, options_.threads * 3 / 4)) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override { halt(); }

  Result<void> start();
  int port() const override { return gate_->port(); }
  Result<void> set_certificate(const std::string& certificate_pem,
                               const std::string& key_pem) override;
  void stop() override { halt(); }

 private:
  void halt();
  Result<void> start_threads();
  Result<void> start_gate();
  static int on_next(mg_connection* connection, void* handed, int keep_alive, char* buffer,
                     int size, int* length);
  static int on_request(mg_connection* connection);
  static int on_error(mg_connection* connection, int status, const char* message);
  static int on_log(const mg_connection* connection, const char* message);
  bool next(int keep_alive, char* buffer, int size, int* length);
  bool fetch_head(char* buffer, int size, int* length);
  void serve(mg_connection* connection);
  Result<void> read_body(mg_connection* connection, HttpRequest& request);
  Result<void> receive(mg_connection* connection, const Framing& framing, std::string& body) const;
  HttpResponse handle(const HttpRequest& request) const;
  void refuse(mg_connection* connection, const HttpRequest& request, HttpResponse response);
  void send(mg_connection* connection, const HttpRequest& request, HttpResponse response);
  void send_stream(mg_connection* connection, const HttpRequest& request,
                   const HttpResponse& response);
  bool has_room_for_stream(const HttpRequest& request) const;
  void deliver(mg_connection* connection, std::string_view head, std::string_view body = {});

  // What this thread serves. `stream`: what its connection does next.
  struct Serving {
    GateConnection* connection = nullptr;
    std::shared_ptr<StreamSource> stream;
    bool chunked = false;
  };
  static thread_local Serving serving_;

  Options options_;
  SocketDeadlines deadlines_;
  std::counting_semaphore<> body_readers_;
  std::atomic<int> queued_{0};  // connections that wait for a thread
  SharedTlsContext tls_;
  SlowAnswers slow_answers_;
  std::unique_ptr<HttpGate> gate_;
  std::unique_ptr<StreamLoop> streams_;
  std::optional<metrics::Gauge> watchers_;  // after what it asks
  mg_context* context_ = nullptr;
};

thread_local Server::Serving Server::serving_;

int Server::on_log(const mg_connection* /*connection*/, const char* message) {
  log::debug("http", message);
  return 1;
}

int Server::on_error(mg_connection* connection, int status, const char* message) {
  const HttpResponse response =
      error_response({code_from_http(status), message == nullptr ? "" : message});
  mg_disable_connection_keep_alive(connection);
  const std::string length = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  auto* self = static_cast<Server*>(mg_get_user_data(mg_get_context(connection)));
  self->deliver(connection, head_of(response, length, true) + response.body);
  return 0;
}

int Server::on_request(mg_connection* connection) {
  auto* self = static_cast<Server*>(mg_get_user_data(mg_get_context(connection)));
  self->serve(connection);
  return 200;  // for a log nobody keeps
}

int Server::on_next(mg_connection* connection, void* handed, int keep_alive, char* buffer, int size,
                    int* length) {
  auto* self = static_cast<Server*>(mg_get_user_data(mg_get_context(connection)));
  if (serving_.connection == nullptr) {  // the gate has just handed it over, with a head
    serving_.connection = static_cast<GateConnection*>(handed);
    --self->queued_;
    std::string& received = serving_.connection->received;
    *length = static_cast<int>(received.copy(buffer, static_cast<std::size_t>(size)));
    std::string().swap(received);
    return 1;
  }
  if (self->next(keep_alive, buffer, size, length)) return 1;
  serving_ = {};
  return 0;
}

// After an answer. False: the connection is no longer this thread's.
bool Server::next(int keep_alive, char* buffer, int size, int* length) {
  GateConnection& connection = *serving_.connection;
  if (serving_.stream) {
    streams_->add(gate_->take(connection), std::move(serving_.stream), serving_.chunked);
    return false;
  }
  if (keep_alive == 0) {
    gate_->close(connection);
    return false;
  }
  if (fetch_head(buffer, size, length)) return true;
  connection.received.assign(buffer, static_cast<std::size_t>(*length));
  gate_->give_back(connection);
  return false;
}

// A client that goes on at once keeps its thread, unless others wait for one.
bool Server::fetch_head(char* buffer, int size, int* length) {
  TlsSocket& socket = serving_.connection->socket;
  bool waited = false;
  for (;;) {
    const auto filled = static_cast<std::size_t>(*length);
    if (holds_head({buffer, filled}) || *length == size) return true;
    const auto moved = socket.read(buffer + filled, static_cast<std::size_t>(size) - filled);
    *length += static_cast<int>(moved.bytes);
    if (moved.step == TlsSocket::Step::Done) continue;
    if (moved.step == TlsSocket::Step::Broken || waited || queued_ > 0) return false;
    if (!wait_for(socket, moved.step, kLinger)) return false;
    waited = true;
  }
}

void Server::serve(mg_connection* connection) {
  HttpRequest request = read_head(connection);
  request.certificate_der = serving_.connection->certificate_der;
  // civetweb stops reading headers there, and one of the rest may say that there is a body.
  if (request.headers.size() >= MG_MAX_HEADERS) {
    request.headers = {{"Transfer-Encoding", "unknown"}};
    return refuse(connection, request,
                  error_response({Code::BadRequest, "the request has too many headers"}));
  }
  if (options_.admit) {
    if (auto refusal = options_.admit(request))
      return refuse(connection, request, std::move(*refusal));
  }
  if (const auto read = read_body(connection, request); !read)
    return refuse(connection, request, error_response(read.error()));
  send(connection, request, handle(request));
}

// Ends the connection when there is a body that was not read.
void Server::refuse(mg_connection* connection, const HttpRequest& request, HttpResponse response) {
  const auto framing = framing_of(request, options_.max_body);
  if (!framing || framing->chunked || framing->length > 0) {
    mg_disable_connection_keep_alive(connection);
    response.headers.emplace_back("Connection", "close");
  }
  send(connection, request, std::move(response));
}

HttpResponse Server::handle(const HttpRequest& request) const {
  if (!may_nest_deeply(request)) return options_.handle(request);
  HttpResponse response;
  if (!call_on_big_stack([&] { response = options_.handle(request); }))
    return error_response(
        {Code::TooManyRequests, "Too many requests, please try again later.", {}, 1});
  return response;
}

// Bodies take no more than some of the threads: clients that are slow to send theirs leave the rest
// to others.
Result<void> Server::read_body(mg_connection* connection, HttpRequest& request) {
  const Framing framing = TRY(framing_of(request, options_.max_body));
  if (!framing.chunked && framing.length == 0) return {};
  if (!body_readers_.try_acquire_for(kBodyQueue))
    return Error{Code::TooManyRequests, "Too many requests, please try again later.", {}, 1};
  if (same_name(request.header("Expect"), "100-continue"))
    deliver(connection, "HTTP/1.1 100 Continue\r\n\r\n");
  const SocketDeadlines::Guard guard(deadlines_, serving_.connection->socket.fd(),
                                     options_.body_timeout);
  auto received = receive(connection, framing, request.body);
  body_readers_.release();
  return received;
}

Result<void> Server::receive(mg_connection* connection, const Framing& framing,
                             std::string& body) const {
  std::array<char, kReadBlock> block{};
  while (framing.chunked || body.size() < framing.length) {
    const int n = mg_read(connection, block.data(), block.size());
    if (n < 0) return Error{Code::BadRequest, "the request body is malformed or did not arrive"};
    if (n == 0) break;
    body.append(block.data(), static_cast<std::size_t>(n));
    if (body.size() > options_.max_body)
      return Error{Code::TooLarge,
                   "Request entity too large: limit is " + std::to_string(options_.max_body)};
  }
  if (!framing.chunked && body.size() != framing.length)
    return Error{Code::BadRequest, "the request body is shorter than its Content-Length"};
  return {};
}

// A client that is slow to read gets the rest from the streams' thread.
void Server::deliver(mg_connection* connection, std::string_view head, std::string_view body) {
  TlsSocket& socket = serving_.connection->socket;
  const auto deadline = steady_clock::now() + kPatience;
  while (!head.empty() || !body.empty()) {
    std::string_view& part = head.empty() ? body : head;
    const auto moved = socket.write(part);
    part.remove_prefix(moved.bytes);
    if (moved.step == TlsSocket::Step::Done) continue;
    if (moved.step == TlsSocket::Step::Broken) return mg_disable_connection_keep_alive(connection);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now());
    if (left.count() > 0 && wait_for(socket, moved.step, left)) continue;
    mg_disable_connection_keep_alive(connection);
    serving_.stream = slow_answers_.stream(std::string(head).append(body));
    serving_.chunked = false;
    return;
  }
}

void Server::send(mg_connection* connection, const HttpRequest& request, HttpResponse response) {
  if (response.stream && request.method != "HEAD")
    return send_stream(connection, request, response);
  std::string framing;
  if (response.body.size() >= kCompressFrom && !response.packed && accepts_gzip(request)) {
    std::string packed = gzip(response.body);
    if (!packed.empty()) {
      response.body = std::move(packed);
      response.packed = true;
    }
  }
  if (response.packed) framing = "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n";
  if (response.code != 304)
    framing += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  std::string head = head_of(response, framing, false);
  if (request.method == "HEAD" || response.code == 304) response.body.clear();
  if (response.body.size() > kReadBlock) return deliver(connection, head, response.body);
  deliver(connection, head.append(response.body));
}

void Server::send_stream(mg_connection* connection, const HttpRequest& request,
                         const HttpResponse& response) {
  if (!has_room_for_stream(request))
    return send(connection, request,
                error_response(
                    {Code::TooManyRequests, "Too many requests, please try again later.", {}, 1}));
  const char* version = mg_get_request_info(connection)->http_version;
  const bool chunked = version != nullptr && std::string_view(version) == "1.1";
  mg_disable_connection_keep_alive(connection);
  deliver(connection, head_of(response, chunked ? "Transfer-Encoding: chunked\r\n" : "", true));
  if (serving_.stream) return;  // it does not even take the head: that, and the end
  serving_.stream = response.stream;
  serving_.chunked = chunked;
}

bool Server::has_room_for_stream(const HttpRequest& request) const {
  const std::size_t taken = streams_->size();
  if (taken + options_.reserved_streams < options_.max_streams) return true;
  return taken < options_.max_streams && options_.privileged && options_.privileged(request);
}

Result<void> Server::start_threads() {
  mg_callbacks callbacks{};
  callbacks.begin_request = on_request;
  callbacks.http_error = on_error;
  callbacks.log_message = on_log;
  callbacks.next_request = on_next;
  const std::string threads = std::to_string(options_.threads);
  const std::string head = std::to_string(kMaxHead);
  const std::string patience = std::to_string(options_.header_timeout.count());
  const std::string queue = std::to_string(options_.max_connections + 1);
  const char* settings[] = {"listening_ports",
                            "",
                            "num_threads",
                            threads.c_str(),
                            "request_timeout_ms",
                            patience.c_str(),
                            "enable_keep_alive",
                            "yes",
                            "decode_url",
                            "no",
                            "connection_queue",
                            queue.c_str(),
                            "max_request_size",
                            head.c_str(),
                            "enable_auth_domain_check",
                            "no",
                            nullptr};
  context_ = mg_start(&callbacks, this, settings);
  if (context_ == nullptr) return Error{Code::Internal, "the server's threads cannot be started"};
  return {};
}

Result<void> Server::start_gate() {
  HttpGate::Options gate;
  gate.bind_address = options_.bind_address;
  gate.port = options_.port;
  gate.tls = &tls_;
  gate.max_connections = options_.max_connections;
  gate.max_per_source = options_.max_per_source;
  gate.max_head = kMaxHead;
  gate.header_timeout = options_.header_timeout;
  gate.idle_timeout = options_.idle_timeout;
  gate.serve = [this](GateConnection& connection) {
    ++queued_;
    mg_hand_over(context_, connection.socket.fd(), connection.socket.ssl(), &connection.local,
                 &connection.remote, &connection);
  };
  gate_ = TRY(HttpGate::create(std::move(gate)));
  gate_->start();
  return {};
}

Result<void> Server::start() {
  TRY(set_certificate(options_.certificate_pem, options_.key_pem));
  streams_ = TRY(StreamLoop::create(options_.write_timeout));
  watchers_.emplace("apiserver_watchers", "Watches that are open.",
                    [this] { return static_cast<double>(streams_->size()); });
  TRY(start_threads());
  return start_gate();
}

Result<void> Server::set_certificate(const std::string& certificate_pem,
                                     const std::string& key_pem) {
  tls_.set(TRY(tls_context(certificate_pem, key_pem, options_.client_ca_pem)));
  return {};
}

void Server::halt() {
  if (gate_) gate_->stop();
  if (streams_) streams_->stop();
  if (context_ != nullptr) mg_stop(context_);
  context_ = nullptr;
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::create(Options options) {
  auto server = std::make_unique<Server>(std::move(options));
  TRY(server->start());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace coracle
