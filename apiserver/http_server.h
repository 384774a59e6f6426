// HTTPS for the API: requests in, responses out. The only user of civetweb; knows nothing of
// resources. A request holds a thread from its head to its answer; before that its connection waits
// in the HttpGate, and a stream (a watch, or an answer that its client is slow to read) then goes
// to the thread that all streams share. Every error, civetweb's own too, is a Status.
#pragma once

#include <coracle/result.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace coracle {

struct HttpRequest {
  std::string method;
  std::string path;   // raw: nothing decoded, nothing normalised
  std::string query;  // raw, without '?'
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string remote_address;
  std::string certificate_der;  // the client's, not verified; "" = none
  // The first header of that name in any case; "" when absent.
  std::string header(std::string_view name) const;
  std::size_t count(std::string_view name) const;
};

class StreamSource;  // stream_loop.h

struct HttpResponse {
  int code = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool packed = false;                        // the body is gzip already
  std::shared_ptr<StreamSource> stream = {};  // set: headers go out at once, `body` is not used
};

class HttpServer {
 public:
  struct Options {
    std::string bind_address;  // "" or an unspecified address: every address, IPv4 and IPv6
    int port = 0;              // 0: any free one
    std::string certificate_pem, key_pem, client_ca_pem;
    int threads = 32;
    std::size_t max_connections = 1024;  // streams not counted
    std::size_t max_per_source = 512;    // of them, by address
    std::size_t max_streams = 4096;
    std::size_t reserved_streams = 256;  // of them, for those who are `privileged`
    std::size_t max_body = std::size_t{3} * 1024 * 1024;
    std::chrono::milliseconds header_timeout{
        10'000};                                      // TLS handshake, and the headers of a request
    std::chrono::milliseconds idle_timeout{180'000};  // between requests of one connection
    std::chrono::milliseconds body_timeout{30'000};   // a whole request body
    std::chrono::milliseconds write_timeout{60'000};  // a client may take nothing for so long
    // Before the body is read: a response ends the request here (who is it, may they).
    std::function<std::optional<HttpResponse>(const HttpRequest&)> admit;
    std::function<HttpResponse(const HttpRequest&)> handle;
    // One of the cluster's own clients, without which it stops working.
    std::function<bool(const HttpRequest&)> privileged;
  };
  // Internal when the port is taken, naming it.
  static Result<std::unique_ptr<HttpServer>> create(Options options);
  virtual ~HttpServer() = default;
  virtual int port() const = 0;
  // For connections that begin from now on. Thread-safe. Internal for a key that does not fit; then
  // the old certificate stays.
  virtual Result<void> set_certificate(const std::string& certificate_pem,
                                       const std::string& key_pem) = 0;
  // Ends streams and connections, and waits for their threads. Idempotent.
  virtual void stop() = 0;
};

// An error as a response, without details.
HttpResponse error_response(const Error& error);

}  // namespace coracle
