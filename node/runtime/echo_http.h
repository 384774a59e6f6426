// The HTTP of the echo server: request text to answer text. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace coracle::runtime {

struct Identity {
  std::string pod, ns, pod_ip, node;
};
struct Peer {
  std::string ip;
  std::uint16_t port = 0;
};

enum class HttpGuess { No, Maybe, Yes };
// Whether the first bytes of a connection are an HTTP request line's.
HttpGuess guess_http(std::string_view text);

struct HttpRequest {
  std::string method, path, query;
  bool wants_json = false, keep_alive = true;
  int error = 0;  // the HTTP status of a request that is not understood, else 0
};
struct HttpParse {
  bool incomplete = false;
  std::size_t consumed = 0;
  HttpRequest request;
};
// At most 16 KiB of headers (431) and a body of 32 KiB (413), which is skipped; after an error the
// connection is to be closed.
HttpParse parse_request(std::string_view text);

struct HttpAnswer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8", body;
  std::chrono::milliseconds delay{0};
  bool healthy = true;  // the server's health from now on
};
HttpAnswer answer_request(const HttpRequest& request, const Identity& identity, const Peer& peer,
                          bool healthy);
std::string format_answer(const HttpRequest& request, const HttpAnswer& answer, bool keep_alive);

}  // namespace coracle::runtime
