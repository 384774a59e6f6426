#include "http_request.h"

#include <coracle/clock.h>
#include <coracle/log.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <utility>

namespace coracle {
namespace {

constexpr std::pair<const char*, Code> kReasons[] = {
    {"BadRequest", Code::BadRequest},
    {"Unauthorized", Code::Unauthorized},
    {"Forbidden", Code::Forbidden},
    {"NotFound", Code::NotFound},
    {"MethodNotAllowed", Code::MethodNotAllowed},
    {"NotAcceptable", Code::NotAcceptable},
    {"AlreadyExists", Code::AlreadyExists},
    {"Conflict", Code::Conflict},
    {"Expired", Code::Expired},
    {"Gone", Code::Expired},
    {"RequestEntityTooLarge", Code::TooLarge},
    {"UnsupportedMediaType", Code::UnsupportedMediaType},
    {"Invalid", Code::Invalid},
    {"TooManyRequests", Code::TooManyRequests},
    {"InternalError", Code::Internal},
    {"ServiceUnavailable", Code::Unavailable},
    {"Timeout", Code::Timeout},
    {"ServerTimeout", Code::Timeout},
};

Code code_of(const std::string& reason, long http_status) {
  for (const auto& [name, code] : kReasons)
    if (reason == name) return code;
  switch (http_status) {
    case 400:
      return Code::BadRequest;
    case 401:
      return Code::Unauthorized;
    case 403:
      return Code::Forbidden;
    case 404:
      return Code::NotFound;
    case 405:
      return Code::MethodNotAllowed;
    case 406:
      return Code::NotAcceptable;
    case 409:
      return Code::Conflict;
    case 410:
      return Code::Expired;
    case 413:
      return Code::TooLarge;
    case 415:
      return Code::UnsupportedMediaType;
    case 422:
      return Code::Invalid;
    case 429:
      return Code::TooManyRequests;
    case 502:
    case 503:
      return Code::Unavailable;
    case 504:
      return Code::Timeout;
    default:
      return Code::Internal;
  }
}

void set_blob(CURL* handle, CURLoption option, const std::string& pem) {
  if (pem.empty()) return;
  curl_blob blob{};
  // libcurl only reads it.
  blob.data = const_cast<char*>(pem.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  blob.len = pem.size();
  blob.flags = CURL_BLOB_NOCOPY;
  curl_easy_setopt(handle, option, &blob);
}

// A certificate from the future means that the clock is behind.
int accept_early_certificate(int ok, X509_STORE_CTX* context) {
  if (ok == 1 || X509_STORE_CTX_get_error(context) != X509_V_ERR_CERT_NOT_YET_VALID) return ok;
  X509_STORE_CTX_set_error(context, X509_V_OK);
  static std::atomic<bool> told{false};
  if (!told.exchange(true))
    log::warn("client",
              "this machine's clock is wrong: the server's certificate is not valid yet; trusting "
              "it, as its authority is the cluster's",
              {{"clock", format_time(system_clock().now())}});
  return 1;
}

CURLcode tolerate_early_clock(CURL* /*handle*/, void* context, void* /*unused*/) {
  SSL_CTX_set_verify(static_cast<SSL_CTX*>(context), SSL_VERIFY_PEER, accept_early_certificate);
  return CURLE_OK;
}

// What follows "https://", with a port.
std::string host_port(const std::string& server) {
  std::string out = server.substr(server.find("://") + 3);
  const auto colon = out.rfind(':');
  const auto bracket = out.rfind(']');
  const bool port = colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  return port ? out : out + ":443";
}

}  // namespace

std::string request_url(const HttpClientOptions& options, const std::string& path) {
  return (options.server_name.empty() ? options.server : "https://" + options.server_name) + path;
}

CurlHeaders apply_credentials(CURL* handle, const HttpClientOptions& options) {
  set_blob(handle, CURLOPT_CAINFO_BLOB, options.ca_pem);
  set_blob(handle, CURLOPT_SSLCERT_BLOB, options.client_cert_pem);
  set_blob(handle, CURLOPT_SSLKEY_BLOB, options.client_key_pem);
  curl_easy_setopt(handle, CURLOPT_SSLCERTTYPE, "PEM");
  curl_easy_setopt(handle, CURLOPT_SSLKEYTYPE, "PEM");
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https");
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, 5'000L);
  if (options.server_name.empty()) return nullptr;
  curl_easy_setopt(handle, CURLOPT_SSL_CTX_FUNCTION, &tolerate_early_clock);
  CurlHeaders route(curl_slist_append(
      nullptr, (options.server_name + ":443:" + host_port(options.server)).c_str()));
  curl_easy_setopt(handle, CURLOPT_CONNECT_TO, route.get());
  return route;
}

void Connections::attach(CURL* handle) {
  curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, &Connections::open);
  curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, this);
  curl_easy_setopt(handle, CURLOPT_CLOSESOCKETFUNCTION, &Connections::close);
  curl_easy_setopt(handle, CURLOPT_CLOSESOCKETDATA, this);
}

void Connections::end() {
  const std::lock_guard lock(mutex_);
  for (const curl_socket_t socket : sockets_) (void)::shutdown(socket, SHUT_RDWR);
}

curl_socket_t Connections::open(void* self, curlsocktype /*purpose*/, curl_sockaddr* address) {
  const int socket = ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (socket < 0) return CURL_SOCKET_BAD;
  // Idle: three probes in vain. Busy: nothing acknowledged for so long.
  const auto set = [socket](int level, int option, int value) {
    (void)::setsockopt(socket, level, option, &value, sizeof(value));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 10'000);
  auto& connections = *static_cast<Connections*>(self);
  const std::lock_guard lock(connections.mutex_);
  connections.sockets_.insert(socket);
  return socket;
}

int Connections::close(void* self, curl_socket_t socket) {
  auto& connections = *static_cast<Connections*>(self);
  const std::lock_guard lock(connections.mutex_);
  connections.sockets_.erase(socket);
  return ::close(socket);
}

CurlHeaders request_headers(const HttpClientOptions& options, const std::string& content_type) {
  curl_slist* list = curl_slist_append(nullptr, "Accept: application/json");
  list = curl_slist_append(list, "Expect:");  // no round trip before a body
  if (!content_type.empty())
    list = curl_slist_append(list, ("Content-Type: " + content_type).c_str());
  if (options.client_cert_pem.empty() && !options.token.empty())
    list = curl_slist_append(list, ("Authorization: Bearer " + options.token).c_str());
  return CurlHeaders(list);
}

std::string url_escape(const std::string& text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    }
  }
  return out;
}

std::string resource_path(const Resource& resource, const ObjectKey& key,
                          const std::string& subresource) {
  std::string out = resource.group.empty() ? "/api/" : "/apis/" + resource.group + "/";
  out += resource.version;
  if (resource.namespaced && !key.ns.empty()) out += "/namespaces/" + url_escape(key.ns);
  out += "/" + resource.plural;
  if (!key.name.empty()) out += "/" + url_escape(key.name);
  if (!subresource.empty()) out += "/" + subresource;
  return out;
}

Error error_from_status(const std::string& body, long http_status) {
  const Json status = Json::parse(body, nullptr, false);
  Error out;
  out.code = code_of(json_string(status, {"reason"}), http_status);
  out.message = json_string(status, {"message"});
  if (out.message.empty())
    out.message = "the server answered " + std::to_string(http_status) + ": " + body.substr(0, 200);
  const Json* causes = json_find(status, {"details", "causes"});
  if (causes != nullptr && causes->is_array())
    for (const Json& c : *causes)
      out.causes.push_back(
          {json_string(c, {"reason"}), json_string(c, {"message"}), json_string(c, {"field"})});
  out.retry_after_seconds = static_cast<int>(json_int(status, {"details", "retryAfterSeconds"}));
  return out;
}

Error error_from_curl(CURLcode code, const char* detail) {
  const bool said = detail != nullptr && detail[0] != '\0';
  const Code kind = code == CURLE_OPERATION_TIMEDOUT ? Code::Timeout : Code::Unavailable;
  return {kind,
          std::string("talking to the server: ") + (said ? detail : curl_easy_strerror(code))};
}

}  // namespace coracle
