#include "http_answer.h"

#include <algorithm>

namespace coracle {
namespace {

// RFC 9110 section 15; clients go by the number.
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
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return code < 400 ? "OK" : "Error";
  }
}

constexpr std::size_t kMostWaiting = std::size_t{32} * 1024 * 1024;

class RestOfAnswer final : public StreamSource {
 public:
  RestOfAnswer(std::string rest, std::atomic<std::size_t>& waiting)
      : rest_(std::move(rest)), waiting_(waiting) {}
  ~RestOfAnswer() override { waiting_ -= rest_.size(); }
  RestOfAnswer(const RestOfAnswer&) = delete;
  RestOfAnswer& operator=(const RestOfAnswer&) = delete;
  void start(std::function<void()> /*wake*/) override {}
  bool produce(std::string& out, std::size_t room) override {
    const std::size_t size = std::min(room, rest_.size() - sent_);
    out.append(rest_, sent_, size);
    sent_ += size;
    return sent_ < rest_.size();
  }
  std::chrono::steady_clock::time_point due() const override {
    return std::chrono::steady_clock::time_point::max();
  }

 private:
  const std::string rest_;
  std::atomic<std::size_t>& waiting_;
  std::size_t sent_ = 0;
};

}  // namespace

std::string head_of(const HttpResponse& response, const std::string& framing, bool close) {
  std::string head =
      "HTTP/1.1 " + std::to_string(response.code) + " " + reason_phrase(response.code) + "\r\n";
  head += "Content-Type: " + response.content_type + "\r\n" + framing;
  head += "Cache-Control: no-cache, private\r\nX-Content-Type-Options: nosniff\r\n";
  for (const auto& [name, value] : response.headers) {
    std::string clean = value;
    std::replace_if(
        clean.begin(), clean.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; },
        ' ');
    head.append(name).append(": ").append(clean).append("\r\n");
  }
  return head + (close ? "Connection: close\r\n\r\n" : "\r\n");
}

std::shared_ptr<StreamSource> SlowAnswers::stream(std::string rest) {
  const std::size_t size = rest.size();
  if (waiting_.fetch_add(size) + size > kMostWaiting) {
    waiting_ -= size;
    return nullptr;
  }
  return std::make_shared<RestOfAnswer>(std::move(rest), waiting_);
}

}  // namespace coracle
