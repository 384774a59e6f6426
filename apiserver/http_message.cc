#include "http_message.h"

#include <strings.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "handlers_media.h"
#include "status.h"

namespace coracle {
namespace {

constexpr int kShallow = 64;

Error bad_request(const std::string& why) {
  return {Code::BadRequest, why};
}

}  // namespace

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  constexpr int kGzip = 15 + 16;
  if (deflateInit2(&stream, 1, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return "";  // NOLINT: macro
  std::string out(deflateBound(&stream, static_cast<uLong>(text.size())), '\0');
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // NOLINT: zlib reads only
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());  // NOLINT
  stream.avail_out = static_cast<uInt>(out.size());
  const bool ok = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  out.resize(ok ? stream.total_out : 0);
  deflateEnd(&stream);
  return out;
}

std::string gunzip(const std::string& packed) {
  z_stream stream{};
  constexpr int kGzip = 15 + 16;
  if (inflateInit2(&stream, kGzip) != Z_OK) return "";  // NOLINT: macro
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));  // NOLINT: zlib reads only
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out;
  std::array<char, std::size_t{16} * 1024> block{};
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(block.data());  // NOLINT
    stream.avail_out = static_cast<uInt>(block.size());
    result = inflate(&stream, Z_NO_FLUSH);
    out.append(block.data(), block.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  return result == Z_STREAM_END ? out : "";
}

bool accepts_gzip(const HttpRequest& request) {
  return request.header("Accept-Encoding").find("gzip") != std::string::npos;
}

// civetweb takes "12x" as 12 and the first of two lengths; both are how requests get smuggled.
Result<Framing> framing_of(const HttpRequest& request, std::size_t max_body) {
  const Error too_large{Code::TooLarge,
                        "Request entity too large: limit is " + std::to_string(max_body)};
  Framing framing;
  framing.chunked = request.count("Transfer-Encoding") > 0 &&
                    !same_name(request.header("Transfer-Encoding"), "identity");
  const std::size_t lengths = request.count("Content-Length");
  if (lengths == 0) return framing;
  if (framing.chunked) return bad_request("both Content-Length and Transfer-Encoding are set");
  const std::string text = request.header("Content-Length");
  if (lengths > 1 || text.empty() || text.find_first_not_of("0123456789") != std::string::npos)
    return bad_request("the Content-Length header is malformed");
  if (text.size() > 18) return too_large;
  framing.length = std::stoull(text);
  if (framing.length > max_body) return too_large;
  return framing;
}

bool may_nest_deeply(const HttpRequest& request) {
  if (request.body.empty()) return false;
  const std::string type = parse_media_type(request.header("Content-Type")).type;
  if (!type.empty() && !type.ends_with("json")) return true;
  int depth = 0;
  bool quoted = false;
  bool escaped = false;
  for (const char c : request.body) {
    if (quoted) {  // a bracket in a string opens and closes nothing
      quoted = escaped || c != '"';
      escaped = !escaped && c == '\\';
      continue;
    }
    quoted = c == '"';
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (depth > kShallow) return true;
  }
  return false;
}

std::string HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (same_name(key, name)) return value;
  return "";
}

std::size_t HttpRequest::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(
      headers.begin(), headers.end(), [&](const auto& h) { return same_name(h.first, name); }));
}

HttpResponse error_response(const Error& error) {
  HttpResponse response;
  response.code = http_code(error.code);
  if (error.code == Code::TooManyRequests || error.retry_after_seconds > 0)
    response.headers.emplace_back("Retry-After",
                                  std::to_string(std::max(1, error.retry_after_seconds)));
  response.body =
      error_status(error, {}).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return response;
}

}  // namespace coracle
