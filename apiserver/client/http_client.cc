// Client over HTTPS: short requests on pooled libcurl handles, each with its own kept connection.
#include <coracle/http_client.h>

#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

#include "http_request.h"
#include "http_watches.h"

namespace coracle {
namespace {

constexpr std::size_t kPooledHandles = 8;
constexpr long kRequestTimeoutMs = 30'000;
constexpr std::size_t kPageSize = 500;
constexpr int kListAttempts = 3;  // a continue token may expire under way

class Https final : public HttpClient {
 public:
  explicit Https(HttpClientOptions options)
      : current_(std::make_shared<const HttpClientOptions>(std::move(options))),
        watches_(
            connections_, [this] { return current(); }, [this] { unreachable(); }) {}

  Result<Object> get(const Resource& resource, const ObjectKey& key) override {
    return object(TRY(call("GET", resource_path(resource, key, ""), "", "")));
  }

  Result<ObjectList> list(const Resource& resource, const ListOptions& options) override {
    for (int attempt = 1;; ++attempt) {
      auto pages = list_pages(resource, options);
      if (pages || !is_expired(pages.error()) || attempt == kListAttempts) return pages;
    }
  }

  Result<std::unique_ptr<ClientWatch>> watch(const Resource& resource, const ListOptions& options,
                                             Revision from) override {
    return watches_.open(resource_path(resource, {options.ns, ""}, "") +
                         "?watch=1&allowWatchBookmarks=true&resourceVersion=" +
                         std::to_string(from) + selectors(options));
  }

  Result<Object> create(const Resource& resource, const Object& o) override {
    return object(TRY(call("POST", resource_path(resource, {o.ns(), ""}, ""), "application/json",
                           body_of(resource, o))));
  }

  Result<Object> update(const Resource& resource, const Object& o,
                        const std::string& subresource) override {
    const char* method = subresource == "binding" ? "POST" : "PUT";
    const std::string body = subresource == "binding" ? o.dump() : body_of(resource, o);
    return object(
        TRY(call(method, resource_path(resource, o.key(), subresource), "application/json", body)));
  }

  Result<Object> patch(const Resource& resource, const ObjectKey& key, PatchType type,
                       const Json& patch, const std::string& subresource) override {
    const char* content = type == PatchType::JsonMerge   ? "application/merge-patch+json"
                          : type == PatchType::JsonPatch ? "application/json-patch+json"
                                                         : "application/strategic-merge-patch+json";
    return object(TRY(call("PATCH", resource_path(resource, key, subresource), content,
                           patch.dump(-1, ' ', false, Json::error_handler_t::replace))));
  }

  Result<void> remove(const Resource& resource, const ObjectKey& key,
                      const DeleteOptions& options) override {
    Json body = {{"kind", "DeleteOptions"}, {"apiVersion", "v1"}};
    if (options.grace_period_seconds) body["gracePeriodSeconds"] = *options.grace_period_seconds;
    if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
    if (options.revision != 0)
      body["preconditions"]["resourceVersion"] = std::to_string(options.revision);
    if (!options.propagation_policy.empty()) body["propagationPolicy"] = options.propagation_policy;
    TRY(call("DELETE", resource_path(resource, key, ""), "application/json", body.dump()));
    return {};
  }

  void reconnect() override { connections_.end(); }

  Result<void> use(const HttpClientOptions& options) override {
    auto next = std::make_shared<const HttpClientOptions>(TRY(checked(options)));
    {
      const std::lock_guard lock(mutex_);
      current_ = std::move(next);
      idle_.clear();
    }
    connections_.end();
    return {};
  }

  void on_unreachable(std::function<void()> told) override { told_ = std::move(told); }

  Result<std::unique_ptr<ByteStream>> connect(int port, const std::stop_token& stop) override {
    return connect_to_server(*current(), port, connections_, stop);
  }

  // With what is wrong about an address or a PEM text as an error.
  static Result<HttpClientOptions> checked(HttpClientOptions o) {
    const std::string given = o.server;
    while (!o.server.empty() && o.server.back() == '/') o.server.pop_back();
    if (o.server.compare(0, 8, "https://") != 0 || o.server.size() == 8)
      return Error{Code::BadRequest, "\"" + given + "\" is no https:// address"};
    if (!looks_like_pem(o.ca_pem))
      return Error{Code::BadRequest, "the authority's certificate is no PEM text"};
    if (!o.client_cert_pem.empty() && !looks_like_pem(o.client_cert_pem))
      return Error{Code::BadRequest, "the client certificate is no PEM text"};
    if (!o.client_key_pem.empty() && !looks_like_pem(o.client_key_pem))
      return Error{Code::BadRequest, "the client key is no PEM text"};
    return o;
  }

  Result<std::string> text(const std::string& path) { return call("GET", path, "", ""); }

 private:
  // With kind and apiVersion, which the server wants in a body and leaves out of a list's items.
  static Object named(const Resource& resource, Object o) {
    if (!o.json().is_object() || (!o.kind().empty() && !o.api_version().empty())) return o;
    o.json()["kind"] = resource.kind;
    o.json()["apiVersion"] = resource.api_version();
    return o;
  }
  static std::string body_of(const Resource& resource, const Object& o) {
    return named(resource, o).dump();
  }

  static std::string selectors(const ListOptions& options) {
    std::string out;
    if (!options.label_selector.empty())
      out += "&labelSelector=" + url_escape(options.label_selector);
    if (!options.field_selector.empty())
      out += "&fieldSelector=" + url_escape(options.field_selector);
    return out;
  }

  static Result<Object> object(const std::string& body) {
    auto parsed = Object::parse(body);
    if (!parsed) return Error{Code::Internal, "the server's answer: " + parsed.error().message};
    return parsed;
  }

  Result<ObjectList> list_pages(const Resource& resource, const ListOptions& options) {
    ObjectList out;
    std::string token;
    do {
      std::string path = resource_path(resource, {options.ns, ""}, "") +
                         "?limit=" + std::to_string(kPageSize) + selectors(options);
      if (!token.empty()) path += "&continue=" + url_escape(token);
      const Object page = TRY(object(TRY(call("GET", path, "", ""))));
      out.revision = page.revision();
      token = json_string(page.json(), {"metadata", "continue"});
      const Json* items = json_find(page.json(), {"items"});
      if (items == nullptr || !items->is_array()) break;
      for (const Json& item : *items) out.items.push_back(named(resource, Object(item)));
    } while (!token.empty());
    return out;
  }

  Result<std::string> call(const char* method, const std::string& path,
                           const std::string& content_type, const std::string& body) {
    const auto options = current();
    CurlHandle handle = take_handle();
    CURL* h = handle.get();
    const CurlHeaders route = apply_credentials(h, *options);
    connections_.attach(h);
    const CurlHeaders headers = request_headers(*options, content_type);
    std::string answer;
    char problem[CURL_ERROR_SIZE] = {};
    const std::string url = request_url(*options, path);
    curl_easy_setopt(h, CURLOPT_URL, url.c_str());
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, problem);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, kRequestTimeoutMs);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, &Https::on_data);
    if (!content_type.empty()) {
      curl_easy_setopt(h, CURLOPT_POSTFIELDS, body.data());
      curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    }
    const CURLcode code = curl_easy_perform(h);
    long status = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_reset(h);  // keeps the connection
    if (code != CURLE_OK) {
      unreachable();
      return error_from_curl(code, problem);
    }
    give_back(std::move(handle));
    if (status < 200 || status > 299) return error_from_status(answer, status);
    return answer;
  }

  static std::size_t on_data(char* data, std::size_t size, std::size_t count, void* answer) {
    static_cast<std::string*>(answer)->append(data, size * count);
    return size * count;
  }

  std::shared_ptr<const HttpClientOptions> current() const {
    const std::lock_guard lock(mutex_);
    return current_;
  }

  void unreachable() const {
    if (told_) told_();
  }

  CurlHandle take_handle() {
    CurlHandle handle;
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        handle = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (handle == nullptr) handle.reset(curl_easy_init());
    return handle;
  }
  void give_back(CurlHandle handle) {
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kPooledHandles) idle_.push_back(std::move(handle));
  }

  static bool looks_like_pem(const std::string& text) {
    return text.find("-----BEGIN ") != std::string::npos;
  }

  Connections connections_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::shared_ptr<const HttpClientOptions> current_;
  std::vector<CurlHandle> idle_;
  std::function<void()> told_;
  HttpWatches watches_;  // last: its thread uses the others
};

Result<std::unique_ptr<Https>> make(const HttpClientOptions& options) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) return Error{Code::Internal, "libcurl did not start"};
  return std::make_unique<Https>(TRY(Https::checked(options)));
}

}  // namespace

Result<std::unique_ptr<HttpClient>> make_http_client(const HttpClientOptions& options) {
  return std::unique_ptr<HttpClient>(TRY(make(options)));
}

Result<std::string> http_get(const HttpClientOptions& options, const std::string& path) {
  return TRY(make(options))->text(path);
}

}  // namespace coracle
