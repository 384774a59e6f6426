// One request as libcurl sees it: address, credentials, and how an answer becomes a Result.
#pragma once

#include <coracle/http_client.h>
#include <coracle/object.h>
#include <curl/curl.h>

#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>

namespace coracle {

struct CurlFree {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using CurlHandle = std::unique_ptr<CURL, CurlFree>;
struct SlistFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using CurlHeaders = std::unique_ptr<curl_slist, SlistFree>;

// Server, pinned authority and credentials on a handle. `options` must outlive its use, and so must
// what is returned.
[[nodiscard]] CurlHeaders apply_credentials(CURL* handle, const HttpClientOptions& options);
// The sockets of a client. A server that is gone is noticed within some ten seconds, busy or idle:
// a cable that is pulled out tells nobody. Thread-safe; must outlive the handles.
class Connections {
 public:
  void attach(CURL* handle);
  // What waits on them fails.
  void end();

 private:
  static curl_socket_t open(void* self, curlsocktype purpose, curl_sockaddr* address);
  static int close(void* self, curl_socket_t socket);

  std::mutex mutex_;
  std::set<curl_socket_t> sockets_;
};

// The address to ask for: that of the server, or of options.server_name, to which apply_credentials
// has given the server's address.
std::string request_url(const HttpClientOptions& options, const std::string& path);
CurlHeaders request_headers(const HttpClientOptions& options, const std::string& content_type);

// "/api/v1/namespaces/x/pods/y/status". Empty name: the collection.
std::string resource_path(const Resource& resource, const ObjectKey& key,
                          const std::string& subresource);
std::string url_escape(const std::string& text);

// A connection to another port of that server, see HttpClient::connect. One of `connections`, which
// must outlive it.
Result<std::unique_ptr<ByteStream>> connect_to_server(HttpClientOptions options, int port,
                                                      Connections& connections,
                                                      const std::stop_token& stop);

// A Status document as an Error; `http_status` decides when the body is none.
Error error_from_status(const std::string& body, long http_status);
Error error_from_curl(CURLcode code, const char* detail);

}  // namespace coracle
