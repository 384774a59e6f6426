#include "runtime/echo_http.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace coracle::runtime {
namespace {

constexpr std::size_t kMaxHead = std::size_t{16} << 10U;
constexpr std::size_t kMaxBody = std::size_t{32} << 10U;
constexpr int kMaxDelayMs = 60'000;
constexpr std::string_view kMethods[] = {"GET ",    "HEAD ",    "POST ", "PUT ",
                                         "DELETE ", "OPTIONS ", "PATCH "};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r'))
    text.remove_suffix(1);
  return text;
}

// The next line without its end; `text` goes on after it.
std::string_view take_line(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return trim(line);
}

HttpParse broken(int status) {
  HttpParse out;
  out.request.error = status;
  out.request.keep_alive = false;
  return out;
}

bool parse_request_line(std::string_view line, HttpRequest& out) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || last == first) return false;
  const std::string_view version = line.substr(last + 1);
  std::string_view target = line.substr(first + 1, last - first - 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return false;
  if (target.empty() || target.front() != '/') return false;
  out.method = line.substr(0, first);
  out.keep_alive = version == "HTTP/1.1";
  const auto mark = target.find('?');
  out.path = target.substr(0, mark);
  if (mark != std::string_view::npos) out.query = target.substr(mark + 1);
  return true;
}

// The number of a header or query value, -1 when it is none.
std::int64_t number(std::string_view text) {
  std::int64_t out = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() ? out : -1;
}

std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + "\"";
}

std::string description(const Identity& id, const Peer& peer, bool json) {
  const std::string port = std::to_string(peer.port);
  if (json)
    return "{\"pod\":" + json_text(id.pod) + ",\"namespace\":" + json_text(id.ns) +
           ",\"podIP\":" + json_text(id.pod_ip) + ",\"node\":" + json_text(id.node) +
           ",\"clientIP\":" + json_text(peer.ip) + ",\"clientPort\":" + port + "}\n";
  return "pod " + id.pod + "\nnamespace " + id.ns + "\npodIP " + id.pod_ip + "\nnode " + id.node +
         "\nclient " + peer.ip + ":" + port + "\n";
}

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

HttpAnswer refusal(int status, bool healthy) {
  HttpAnswer out;
  out.status = status;
  out.body = std::string(reason(status)) + "\n";
  out.healthy = healthy;
  return out;
}

}  // namespace

HttpGuess guess_http(std::string_view text) {
  for (const std::string_view method : kMethods) {
    if (text.starts_with(method)) return HttpGuess::Yes;
    if (method.starts_with(text)) return HttpGuess::Maybe;
  }
  return HttpGuess::No;
}

HttpParse parse_request(std::string_view text) {
  const auto end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (text.size() > kMaxHead) return broken(431);
    HttpParse out;
    out.incomplete = true;
    return out;
  }
  if (end > kMaxHead) return broken(431);
  HttpParse out;
  std::string_view head = text.substr(0, end + 2);
  if (!parse_request_line(take_line(head), out.request)) return broken(400);
  std::int64_t length = 0;
  while (!head.empty()) {
    const std::string_view line = take_line(head);
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return broken(400);
    const std::string name = lower(line.substr(0, colon));
    const std::string_view value = trim(line.substr(colon + 1));
    if (name == "content-length") length = number(value);
    if (name == "transfer-encoding") return broken(411);
    if (name == "accept" && lower(value).find("application/json") != std::string::npos)
      out.request.wants_json = true;
    if (name == "connection") {
      const std::string wanted = lower(value);
      if (wanted.find("close") != std::string::npos) out.request.keep_alive = false;
      if (wanted.find("keep-alive") != std::string::npos) out.request.keep_alive = true;
    }
  }
  if (length < 0) return broken(400);
  if (static_cast<std::size_t>(length) > kMaxBody) return broken(413);
  out.consumed = end + 4 + static_cast<std::size_t>(length);
  if (out.consumed > text.size()) out.incomplete = true;
  return out;
}

HttpAnswer answer_request(const HttpRequest& request, const Identity& identity, const Peer& peer,
                          bool healthy) {
  if (request.error != 0) return refusal(request.error, healthy);
  HttpAnswer out;
  out.healthy = healthy;
  const bool post = request.method == "POST";
  if (request.path == "/healthz/fail" || request.path == "/healthz/ok") {
    if (!post) return refusal(405, healthy);
    out.healthy = request.path == "/healthz/ok";
    out.body = out.healthy ? "healthy\n" : "unhealthy\n";
  } else if (request.path == "/healthz") {
    if (!healthy) return refusal(503, healthy);
    out.body = "ok\n";
  } else if (request.path == "/hostname") {
    out.body = identity.pod + "\n";
  } else if (request.path == "/clientip") {
    out.body = peer.ip + ":" + std::to_string(peer.port) + "\n";
  } else if (request.path == "/" || request.path == "/slow") {
    if (request.path == "/slow") {
      const std::int64_t ms =
          request.query.starts_with("ms=") ? number(std::string_view(request.query).substr(3)) : -1;
      if (ms < 0) return refusal(400, healthy);
      out.delay = std::chrono::milliseconds(std::min<std::int64_t>(ms, kMaxDelayMs));
    }
    out.body = description(identity, peer, request.wants_json);
    if (request.wants_json) out.type = "application/json";
  } else {
    return refusal(404, healthy);
  }
  return out;
}

std::string format_answer(const HttpRequest& request, const HttpAnswer& answer, bool keep_alive) {
  std::string out = "HTTP/1.1 " + std::to_string(answer.status) + " " + reason(answer.status) +
                    "\r\nContent-Type: " + answer.type +
                    "\r\nContent-Length: " + std::to_string(answer.body.size()) +
                    "\r\nConnection: " + (keep_alive ? "keep-alive" : "close") + "\r\n\r\n";
  if (request.method != "HEAD") out += answer.body;
  return out;
}

}  // namespace coracle::runtime
