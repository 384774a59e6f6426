// Client over HTTPS (libcurl): what agents and the command line use. Thread-safe; watches share one
// connection pool and one thread.
#pragma once

#include <coracle/byte_stream.h>
#include <coracle/client.h>
#include <coracle/result.h>

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

namespace coracle {

struct HttpClientOptions {
  std::string server;  // "https://10.250.0.1:6443"
  std::string ca_pem;  // the only authority that is trusted
  std::string client_cert_pem, client_key_pem;
  std::string token;  // bearer token, used when there is no client certificate
  // Of agents. The server's certificate must name this instead of the address, so that a cluster is
  // known by its authority and the name `kubernetes`, whatever the address or host name by which it
  // is reached. And a server certificate that is not valid yet is accepted: then this machine's
  // clock is wrong (a Raspberry Pi begins in 1970), which is logged.
  std::string server_name = {};
};

class HttpClient : public Client {
 public:
  // Another address or other credentials, for what is asked from now on. What waits is ended as by
  // reconnect(). BadRequest as of make_http_client; then nothing changes.
  virtual Result<void> use(const HttpClientOptions& options) = 0;
  // Called, from any thread, when a request or a watch did not reach the server. Must return
  // quickly. To be set before the first request.
  virtual void on_unreachable(std::function<void()> told) = 0;
  // A connection to another port of the server, both ends proved as for requests; ended by use()
  // and reconnect() as they are. May take 5 s, or a second once stop is requested. Must not outlive
  // the client. Unavailable or Timeout.
  virtual Result<std::unique_ptr<ByteStream>> connect(int port, const std::stop_token& stop) = 0;
};

// Connects to nothing yet. BadRequest for an address that is no https URL or PEM text that is none.
Result<std::unique_ptr<HttpClient>> make_http_client(const HttpClientOptions& options);

// The text of a path that names no object ("/version", "/metrics"). Unavailable when nobody
// answers; else what the server's Status says.
Result<std::string> http_get(const HttpClientOptions& options, const std::string& path);

}  // namespace coracle
