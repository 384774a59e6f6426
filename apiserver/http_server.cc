#include "http_server.h"

#include <civetweb.h>
#include <coracle/metrics.h>
#include <coracle/net.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <thread>

#include "http_deadlines.h"
#include "http_message.h"
#include "http_tls.h"
#include "status.h"
#include "stream_loop.h"

namespace coracle {
namespace {

constexpr std::size_t kReadBlock = std::size_t{16} * 1024;
constexpr std::size_t kWriteBlock = std::size_t{256} * 1024;
constexpr std::size_t kCompressFrom = std::size_t{128} * 1024;
constexpr std::size_t kMostDrained = std::size_t{32} * 1024 * 1024;

const char* reason_phrase(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 409:
      return "Conflict";
    default:
      return mg_get_response_code_text(nullptr, code);
  }
}

bool write_all(mg_connection* connection, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t size = std::min(bytes.size(), kWriteBlock);
    if (mg_write(connection, bytes.data(), size) != static_cast<int>(size)) return false;
    bytes.remove_prefix(size);
  }
  return true;
}

std::string head_of(const HttpResponse& response, const std::string& framing, bool close) {
  std::string head =
      "HTTP/1.1 " + std::to_string(response.code) + " " + reason_phrase(response.code) + "\r\n";
  head += "Content-Type: " + response.content_type + "\r\n" + framing;
  head += "Cache-Control: no-cache, private\r\nX-Content-Type-Options: nosniff\r\n";
  for (const auto& [name, value] : response.headers) {
    std::string clean = value;  // what came from a client must not start a header of its own
    std::replace_if(
        clean.begin(), clean.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; },
        ' ');
    head += name + ": " + clean + "\r\n";
  }
  return head + (close ? "Connection: close\r\n\r\n" : "\r\n");
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
  request.certificate_der = current_peer_certificate();
  return request;
}

class Server : public HttpServer {
 public:
  explicit Server(Options options) : options_(std::move(options)) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override { halt(); }

  Result<void> start();
  int port() const override { return port_; }
  void stop() override { halt(); }

 private:
  void halt();
  mg_context* listen(const std::string& where);
  static int on_request(mg_connection* connection);
  static int on_error(mg_connection* connection, int status, const char* message);
  static int on_log(const mg_connection* connection, const char* message);
  static int on_tls(void* context, void* self);
  static void on_closed(const mg_connection* connection);
  void serve(mg_connection* connection);
  Result<void> read_body(mg_connection* connection, HttpRequest& request);
  HttpResponse handle(const HttpRequest& request) const;
  void drain(mg_connection* connection);
  void send(mg_connection* connection, const HttpRequest& request, HttpResponse response);
  void send_stream(mg_connection* connection, const HttpRequest& request,
                   const HttpResponse& response);

  // A connection on its way from civetweb's thread to the streams'.
  struct Leaving {
    TlsSocket socket;
    std::shared_ptr<StreamSource> source;
    bool chunked = false;
  };
  static thread_local Leaving leaving_;

  Options options_;
  SocketDeadlines deadlines_;
  std::unique_ptr<StreamLoop> streams_;
  std::optional<metrics::Gauge> watchers_;  // after what it asks
  mg_context* context_ = nullptr;
  int port_ = 0;
};

thread_local Server::Leaving Server::leaving_;

int Server::on_tls(void* context, void* self) {
  const Options& options = static_cast<Server*>(self)->options_;
  return configure_tls(static_cast<ssl_ctx_st*>(context), options.certificate_pem, options.key_pem,
                       options.client_ca_pem)
             ? 1
             : -1;
}

int Server::on_log(const mg_connection* /*connection*/, const char* message) {
  spdlog::debug("http: {}", message);
  return 1;
}

int Server::on_error(mg_connection* connection, int status, const char* message) {
  const HttpResponse response =
      error_response({code_from_http(status), message == nullptr ? "" : message});
  mg_disable_connection_keep_alive(connection);
  const std::string length = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  write_all(connection, head_of(response, length, true) + response.body);
  return 0;
}

int Server::on_request(mg_connection* connection) {
  auto* self = static_cast<Server*>(mg_get_user_data(mg_get_context(connection)));
  self->serve(connection);
  return 200;  // for a log nobody keeps
}

void Server::serve(mg_connection* connection) {
  HttpRequest request = read_head(connection);
  if (options_.admit) {
    if (auto refusal = options_.admit(request)) {
      drain(connection);
      return send(connection, request, std::move(*refusal));
    }
  }
  const auto read = read_body(connection, request);
  if (!read) {
    mg_disable_connection_keep_alive(connection);
    if (read.error().code == Code::TooLarge) drain(connection);
    request.headers.emplace_back("Connection", "close");
    HttpResponse response = error_response(read.error());
    response.headers.emplace_back("Connection", "close");
    return send(connection, request, std::move(response));
  }
  send(connection, request, handle(request));
}

HttpResponse Server::handle(const HttpRequest& request) const {
  if (!may_nest_deeply(request)) return options_.handle(request);
  HttpResponse response;
  try {
    std::jthread([&] { response = options_.handle(request); });  // joined at once
  } catch (const std::system_error&) {
    return error_response(
        {Code::TooManyRequests, "Too many requests, please try again later.", {}, 1});
  }
  return response;
}

Result<void> Server::read_body(mg_connection* connection, HttpRequest& request) {
  const Framing framing = TRY(framing_of(request, options_.max_body));
  if (!framing.chunked && framing.length == 0) return {};
  if (same_name(request.header("Expect"), "100-continue"))
    write_all(connection, "HTTP/1.1 100 Continue\r\n\r\n");
  const SocketDeadlines::Guard guard(deadlines_, current_socket(), options_.body_timeout);
  std::array<char, kReadBlock> block{};
  request.body.reserve(framing.length);
  while (framing.chunked || request.body.size() < framing.length) {
    const int n = mg_read(connection, block.data(), block.size());
    if (n < 0) return Error{Code::BadRequest, "the request body is malformed or did not arrive"};
    if (n == 0) break;
    request.body.append(block.data(), static_cast<std::size_t>(n));
    if (request.body.size() > options_.max_body)
      return Error{Code::TooLarge,
                   "Request entity too large: limit is " + std::to_string(options_.max_body)};
  }
  if (!framing.chunked && request.body.size() != framing.length)
    return Error{Code::BadRequest, "the request body is shorter than its Content-Length"};
  return {};
}

// A client that is still sending would otherwise meet a reset before it reads the answer. Bounded
// in size and time.
void Server::drain(mg_connection* connection) {
  const mg_request_info& info = *mg_get_request_info(connection);
  if (mg_get_header(connection, "Expect") != nullptr ||
      info.content_length > static_cast<long long>(kMostDrained)) {
    mg_disable_connection_keep_alive(connection);
    return;
  }
  const SocketDeadlines::Guard guard(deadlines_, current_socket(), options_.header_timeout);
  std::array<char, kReadBlock> block{};
  std::size_t total = 0;
  while (total < kMostDrained) {
    const int n = mg_read(connection, block.data(), block.size());
    if (n <= 0) return;
    total += static_cast<std::size_t>(n);
  }
}

void Server::send(mg_connection* connection, const HttpRequest& request, HttpResponse response) {
  if (response.stream && request.method != "HEAD")
    return send_stream(connection, request, response);
  std::string framing;
  if (response.body.size() >= kCompressFrom &&
      request.header("Accept-Encoding").find("gzip") != std::string::npos) {
    std::string packed = gzip(response.body);
    if (!packed.empty()) {
      response.body = std::move(packed);
      framing = "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n";
    }
  }
  if (response.code != 304)
    framing += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  std::string out = head_of(response, framing, false);
  if (request.method != "HEAD" && response.code != 304) out += response.body;
  const SocketDeadlines::Guard guard(deadlines_, current_socket(), options_.write_timeout);
  if (!write_all(connection, out)) mg_disable_connection_keep_alive(connection);
}

void Server::send_stream(mg_connection* connection, const HttpRequest& request,
                         const HttpResponse& response) {
  if (streams_->size() >= options_.max_streams)
    return send(connection, request,
                error_response(
                    {Code::TooManyRequests, "Too many requests, please try again later.", {}, 1}));
  const char* version = mg_get_request_info(connection)->http_version;
  const bool chunked = version != nullptr && std::string_view(version) == "1.1";
  mg_disable_connection_keep_alive(connection);
  {
    const SocketDeadlines::Guard guard(deadlines_, current_socket(), options_.write_timeout);
    if (!write_all(connection,
                   head_of(response, chunked ? "Transfer-Encoding: chunked\r\n" : "", true)))
      return;
  }
  auto socket = detach_current_connection();
  if (!socket) return spdlog::error("http: {}", socket.error().message);
  leaving_ = {std::move(*socket), response.stream, chunked};
}

// civetweb has closed the stand-in of a connection that became a stream.
void Server::on_closed(const mg_connection* connection) {
  if (!leaving_.source) return;
  auto* self = static_cast<Server*>(mg_get_user_data(mg_get_context(connection)));
  Leaving leaving = std::exchange(leaving_, {});
  leaving.socket.revive();
  self->streams_->add(std::move(leaving.socket), std::move(leaving.source), leaving.chunked);
}

std::string listening_port(const std::string& address, int port) {
  const auto ip = Ip::parse(address);
  const std::string suffix = std::to_string(port) + "s";
  if (!ip || ip->is_unspecified()) return "+" + suffix;
  return (ip->is_v4() ? ip->to_string() : "[" + ip->to_string() + "]") + ":" + suffix;
}

mg_context* Server::listen(const std::string& where) {
  mg_callbacks callbacks{};
  callbacks.begin_request = on_request;
  callbacks.http_error = on_error;
  callbacks.log_message = on_log;
  callbacks.init_ssl = on_tls;
  callbacks.connection_closed = on_closed;
  const std::string threads = std::to_string(options_.threads);
  const std::string header = std::to_string(options_.header_timeout.count());
  const std::string idle = std::to_string(options_.idle_timeout.count());
  const char* settings[] = {"listening_ports",
                            where.c_str(),
                            "num_threads",
                            threads.c_str(),
                            "request_timeout_ms",
                            header.c_str(),
                            "keep_alive_timeout_ms",
                            idle.c_str(),
                            "enable_keep_alive",
                            "yes",
                            "decode_url",
                            "no",
                            "tcp_nodelay",
                            "1",
                            "listen_backlog",
                            "1024",
                            "connection_queue",
                            "1024",
                            "max_request_size",
                            "65536",
                            "enable_auth_domain_check",
                            "no",
                            nullptr};
  return mg_start(&callbacks, this, settings);
}

Result<void> Server::start() {
  streams_ = TRY(StreamLoop::create(options_.write_timeout));
  watchers_.emplace("apiserver_watchers", "Watches that are open.",
                    [this] { return static_cast<double>(streams_->size()); });
  const std::string where = listening_port(options_.bind_address, options_.port);
  context_ = listen(where);
  // A machine without IPv6 has no dual-stack sockets.
  if (context_ == nullptr && where.front() == '+') context_ = listen("0.0.0.0:" + where.substr(1));
  if (context_ == nullptr)
    return Error{Code::Internal, "cannot serve on " + options_.bind_address + " port " +
                                     std::to_string(options_.port) +
                                     ": it is taken, or the address is not this machine's"};
  std::array<mg_server_port, 4> ports{};
  if (mg_get_server_ports(context_, static_cast<int>(ports.size()), ports.data()) < 1)
    return Error{Code::Internal, "the server has no port"};
  port_ = ports[0].port;
  defer_silent_connections(port_);
  return {};
}

void Server::halt() {
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
