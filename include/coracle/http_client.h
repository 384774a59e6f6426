// Client over HTTPS (libcurl): what agents and the command line use. Thread-safe; watches share one
// connection pool and one thread.
#pragma once

#include <coracle/client.h>
#include <coracle/result.h>

#include <memory>
#include <string>

namespace coracle {

struct HttpClientOptions {
  std::string server;  // "https://10.250.0.1:6443"
  std::string ca_pem;  // the only authority that is trusted
  std::string client_cert_pem, client_key_pem;
  std::string token;  // bearer token, used when there is no client certificate
};

// Connects to nothing yet. BadRequest for an address that is no https URL or PEM text that is none.
Result<std::unique_ptr<Client>> make_http_client(const HttpClientOptions& options);

// The text of a path that names no object ("/version", "/metrics"). Unavailable when nobody
// answers; else what the server's Status says.
Result<std::string> http_get(const HttpClientOptions& options, const std::string& path);

}  // namespace coracle
