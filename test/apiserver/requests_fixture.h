// Requests straight into the handlers: everything of the API but sockets and TLS.
#pragma once

#include <apiserver/handlers.h>

#include <map>

#include "registry_fixture.h"

namespace coracle {

struct Response {
  int code = 0;
  std::string body;
  std::shared_ptr<StreamSource> stream;
  std::vector<std::pair<std::string, std::string>> headers;
  Json json() const { return Json::parse(body, nullptr, false); }
  std::string revision() const { return json_string(json(), {"metadata", "resourceVersion"}); }
  std::string next() const { return json_string(json(), {"metadata", "continue"}); }
  // The names of a list's items, joined.
  std::string names() const {
    std::string out;
    const Json document = json();
    if (document.contains("items"))
      for (const Json& item : document["items"])
        out += (out.empty() ? "" : " ") + json_string(item, {"metadata", "name"});
    return out;
  }
};

// What a watch has to say by now. `ended` once it is over.
struct Watched {
  std::vector<Json> events;
  bool ended = false;
  // "ADDED a, BOOKMARK": types and names.
  std::string summary() const {
    std::string out;
    for (const Json& event : events) {
      out += (out.empty() ? "" : ", ") + json_string(event, {"type"});
      const std::string name = json_string(event, {"object", "metadata", "name"});
      if (!name.empty()) out += " " + name;
    }
    return out;
  }
};

class RequestsFixture : public RegistryFixture {
 protected:
  void SetUp() override {
    RegistryFixture::SetUp();
    handlers_ = std::make_unique<Handlers>(Handlers::Options{
        *registry_, clock_, authenticator_, "test", [] { return std::string("test:1"); }, times_});
  }
  Response ask(const std::string& method, const std::string& target,
               std::vector<std::pair<std::string, std::string>> headers = {},
               const std::string& body = "") const {
    HttpRequest request;
    request.method = method;
    const std::size_t mark = std::min(target.find('?'), target.size());
    request.path = target.substr(0, mark);
    request.query = mark == target.size() ? "" : target.substr(mark + 1);
    request.headers = std::move(headers);
    request.headers.emplace_back("Authorization", "Bearer token");
    request.body = body;
    HttpResponse response = handlers_->handle(request);
    return {response.code, std::move(response.body), std::move(response.stream),
            std::move(response.headers)};
  }
  Response get(const std::string& target, const std::string& accept = "") const {
    if (accept.empty()) return ask("GET", target);
    return ask("GET", target, {{"Accept", accept}});
  }
  static Watched read(const Response& response) {
    Watched out;
    if (!response.stream) return out;
    std::string text;
    out.ended = !response.stream->produce(text, std::size_t{64} << 20);
    for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
      out.events.push_back(Json::parse(text.substr(0, end), nullptr, false));
      text.erase(0, end + 1);
    }
    return out;
  }
  std::string now() const { return std::to_string(registry_->revision()); }

  WatchTimes times_;
  Authenticator authenticator_{nullptr, "token"};
  std::unique_ptr<Handlers> handlers_;
};

}  // namespace coracle
