// A connection to the server that is not used for HTTP/1: libcurl makes it as it makes all others,
// and then only carries bytes.
#include <curl/curl.h>

#include <utility>

#include "http_request.h"

namespace coracle {
namespace {

std::string with_port(const std::string& server, int port) {
  const auto begin = server.find("://") + 3;
  const auto colon = server.rfind(':');
  const auto bracket = server.rfind(']');
  const bool has_port = colon != std::string::npos && colon >= begin &&
                        (bracket == std::string::npos || colon > bracket);
  return server.substr(0, has_port ? colon : server.size()) + ":" + std::to_string(port);
}

class CurlStream final : public ByteStream {
 public:
  CurlStream(HttpClientOptions options, Connections& connections)
      : options_(std::move(options)), handle_(curl_easy_init()) {
    route_ = apply_credentials(handle_.get(), options_);
    connections.attach(handle_.get());
  }

  Result<void> open(const std::stop_token& stop) {
    CURL* h = handle_.get();
    char problem[CURL_ERROR_SIZE] = {};
    const std::string url = request_url(options_, "/");
    curl_easy_setopt(h, CURLOPT_URL, url.c_str());
    curl_easy_setopt(h, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, problem);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, &stop);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, &CurlStream::on_progress);
    const CURLcode code = curl_easy_perform(h);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, nullptr);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, nullptr);
    if (code != CURLE_OK) return error_from_curl(code, problem);
    curl_socket_t socket = CURL_SOCKET_BAD;
    curl_easy_getinfo(h, CURLINFO_ACTIVESOCKET, &socket);
    fd_ = socket;
    if (fd_ >= 0) return {};
    return Error{Code::Unavailable, "talking to the server: the connection is gone"};
  }

  int fd() const override { return fd_; }
  Moved read(char* into, std::size_t size) override {
    std::size_t n = 0;
    const CURLcode code = curl_easy_recv(handle_.get(), into, size, &n);
    if (code == CURLE_AGAIN) return {Step::WantsRead, 0};
    return {code == CURLE_OK && n > 0 ? Step::Done : Step::Broken, n};
  }
  Moved write(std::string_view bytes) override {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      std::size_t n = 0;
      const CURLcode code =
          curl_easy_send(handle_.get(), bytes.data() + sent, bytes.size() - sent, &n);
      if (code == CURLE_AGAIN || (code == CURLE_OK && n == 0)) return {Step::WantsWrite, sent};
      if (code != CURLE_OK) return {Step::Broken, sent};
      sent += n;
    }
    return {Step::Done, sent};
  }

 private:
  static int on_progress(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return stop != nullptr && static_cast<const std::stop_token*>(stop)->stop_requested() ? 1 : 0;
  }

  const HttpClientOptions options_;  // libcurl reads it where it is
  CurlHeaders route_;
  CurlHandle handle_;
  int fd_ = -1;
};

}  // namespace

Result<std::unique_ptr<ByteStream>> connect_to_server(HttpClientOptions options, int port,
                                                      Connections& connections,
                                                      const std::stop_token& stop) {
  options.server = with_port(options.server, port);
  auto stream = std::make_unique<CurlStream>(std::move(options), connections);
  TRY(stream->open(stop));
  return std::unique_ptr<ByteStream>(std::move(stream));
}

}  // namespace coracle
