// A whole API server in the test's process: MemoryStore, Registry and HTTPS on a free port, and a
// curl client for it.
#pragma once

#include <apiserver/api_server.h>
#include <apiserver/registry.h>
#include <apiserver/resources/resources.h>
#include <coracle/stores.h>
#include <curl/curl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stop_token>

namespace coracle {

struct Reply {
  long code = 0;  // 0: no HTTP answer
  std::string headers, body;
  Json json() const { return Json::parse(body, nullptr, false); }
  std::string reason() const {
    const Json document = json();
    return document.is_object() ? json_string(document, {"reason"}) : "";
  }
  // The value of a header, "" when absent; names in lower case.
  std::string header(const std::string& name) const {
    std::istringstream lines(headers);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t colon = line.find(": ");
      if (colon == std::string::npos) continue;
      std::string key = line.substr(0, colon);
      for (char& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (key == name) return line.substr(colon + 2, line.find('\r') - colon - 2);
    }
    return "";
  }
};

struct CallOptions {
  std::vector<std::string> headers;
  std::string token;        // bearer, "" = none
  bool certificate = true;  // the admin's
  long timeout_ms = 20'000;
  std::function<bool(std::string_view)> on_data;  // false ends the transfer
  std::stop_token stop = {};                      // requested: ends it too
};

class ClusterFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/coracle-api-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
    store_ = open_memory_store(stamp_resource_version);
    ResourceOptions kinds{};
    kinds.service_cidr = *Cidr::parse("10.96.0.0/16");
    kinds.cluster_dns = *Ip::parse("10.96.0.10");
    auto registry = Registry::create({*store_, system_clock(), all_kinds(kinds)});
    ASSERT_TRUE(registry) << registry.error().message;
    registry_ = std::move(*registry);
    for (const char* name : {"default", "other"}) {
      const Json ns = {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}}}};
      ASSERT_TRUE(registry_->create(kind("", "v1", "namespaces"), "", ns, {}));
    }
    start_server();
  }
  void TearDown() override {
    server_.reset();
    registry_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  // Tests change `tune_` in their constructor.
  std::function<void(ApiServerOptions&)> tune_;

  void start_server() {
    ApiServerOptions options{*registry_, system_clock()};
    options.bind_address = "127.0.0.1";
    options.port = 0;
    options.data_dir = dir_;
    options.addresses = {*Ip::parse("127.0.0.1")};
    options.kubernetes_service_ip = *Ip::parse("10.96.0.1");
    options.threads = 32;
    if (tune_) tune_(options);
    auto server = ApiServer::create(options);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    server_->set_ready(true);
  }

  const ResourceKind& kind(const char* group, const char* version, const char* plural) const {
    return *registry_->find(group, version, plural);
  }
  std::string read(const std::string& name) const {
    std::ifstream in(dir_ + "/" + name);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  std::string admin_token() const {
    std::string token = read("pki/admin.token");
    token.pop_back();
    return token;
  }

  Reply call(const std::string& method, const std::string& path, const std::string& body = "",
             const CallOptions& options = {}) const {
    Reply reply;
    CURL* curl = curl_easy_init();
    const std::string url = "https://127.0.0.1:" + std::to_string(server_->port()) + path;
    const std::string ca = dir_ + "/pki/ca.crt", crt = dir_ + "/pki/admin.crt",
                      key = dir_ + "/pki/admin.key";
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CAINFO, ca.c_str());
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, options.timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
    if (method == "HEAD") curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    if (options.certificate && options.token.empty()) {
      curl_easy_setopt(curl, CURLOPT_SSLCERT, crt.c_str());
      curl_easy_setopt(curl, CURLOPT_SSLKEY, key.c_str());
    }
    curl_slist* headers = curl_slist_append(nullptr, "Expect:");
    bool typed = false;
    for (const std::string& header : options.headers) {
      typed = typed || header.starts_with("Content-Type:");
      headers = curl_slist_append(headers, header.c_str());
    }
    if (!options.token.empty())
      headers = curl_slist_append(headers, ("Authorization: Bearer " + options.token).c_str());
    if (!typed)
      headers = curl_slist_append(
          headers, body.empty() ? "Content-Type:" : "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (!body.empty()) {
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    }
    Sink sink{reply, options};
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &ClusterFixture::on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &sink);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &ClusterFixture::on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &ClusterFixture::on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &sink);
    (void)curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.code);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return reply;
  }
  Reply get(const std::string& path, const std::vector<std::string>& headers = {}) const {
    CallOptions options;
    options.headers = headers;
    return call("GET", path, "", options);
  }
  Reply post(const std::string& path, const Json& body) const {
    return call("POST", path, body.dump());
  }
  static Json config_map(const std::string& name, const std::string& value = "v") {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", {{"name", name}}},
            {"data", {{"k", value}}}};
  }

  std::string dir_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<ApiServer> server_;

 private:
  struct Sink {
    Reply& reply;
    const CallOptions& options;
  };
  static std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* to) {
    auto* sink = static_cast<Sink*>(to);
    sink->reply.body.append(bytes, size * count);
    if (sink->options.on_data && !sink->options.on_data({bytes, size * count})) return 0;
    return size * count;
  }
  static int on_progress(void* to, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Sink*>(to)->options.stop.stop_requested() ? 1 : 0;
  }
  static std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* to) {
    static_cast<Sink*>(to)->reply.headers.append(bytes, size * count);
    return size * count;
  }
};

}  // namespace coracle
