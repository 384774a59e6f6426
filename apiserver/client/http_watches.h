// All watches of a client: one libcurl multi handle, one thread.
#pragma once

#include <coracle/client.h>
#include <coracle/http_client.h>
#include <curl/curl.h>

#include <functional>
#include <memory>
#include <string>

#include "http_request.h"

namespace coracle {

class HttpWatches {
 public:
  using Options = std::function<std::shared_ptr<const HttpClientOptions>()>;
  // `connections` must outlive it. `options` are asked for with each watch; `unreachable` is called
  // from the thread when one did not reach the server.
  HttpWatches(Connections& connections, Options options, std::function<void()> unreachable);
  ~HttpWatches();  // every watch must be gone
  HttpWatches(const HttpWatches&) = delete;
  HttpWatches& operator=(const HttpWatches&) = delete;
  // Starts at once; errors of the connection come from next().
  std::unique_ptr<ClientWatch> open(const std::string& path);

 private:
  class Loop;
  class Stream;
  class Watch;
  std::shared_ptr<Loop> loop_;
};

}  // namespace coracle
