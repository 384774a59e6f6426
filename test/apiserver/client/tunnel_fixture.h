// A whole API server and a node's end of a tunnel to it, which answers what a test says.
#pragma once

#include <apiserver/client/node_key.h>
#include <apiserver/signer.h>
#include <coracle/http_client.h>
#include <coracle/tunnel.h>

#include <atomic>
#include <mutex>

#include "support/api_fixture.h"

namespace coracle {

// Says `text`, then waits until it is told to end; `endless`: says it again and again.
struct Script {
  std::string text = "a line\n";
  bool endless = false;
  std::atomic<bool> ends{true};
  std::atomic<int> open{0};
};

class ScriptSource final : public TunnelSource {
 public:
  explicit ScriptSource(Script& script) : script_(script) { ++script_.open; }
  ScriptSource(const ScriptSource&) = delete;
  ScriptSource& operator=(const ScriptSource&) = delete;
  ~ScriptSource() override { --script_.open; }
  void start(std::function<void()> /*wake*/) override {}
  State produce(std::string& out, std::size_t /*room*/) override {
    if (!said_ || script_.endless) out += script_.text;
    said_ = true;
    if (script_.endless) return State::More;
    return script_.ends ? State::End : State::Waiting;
  }

 private:
  Script& script_;
  bool said_ = false;
};

class TunnelFixture : public ClusterFixture {
 protected:
  TunnelFixture() {
    tune_ = [](ApiServerOptions& options) { options.tunnel_port = 0; };
  }
  void TearDown() override {
    end_.reset();
    client_.reset();
    ClusterFixture::TearDown();
  }

  // A certificate of the cluster's authority for that node, with a new key.
  HttpClientOptions credential(const std::string& node) {
    HttpClientOptions out;
    out.server = "https://127.0.0.1:" + std::to_string(server_->port());
    out.server_name = "kubernetes";
    out.ca_pem = read("pki/ca.crt");
    out.client_key_pem = *make_node_key();
    const auto signer = CertificateSigner::create(dir_ + "/pki", system_clock());
    const auto request = read_signing_request(*make_signing_request(out.client_key_pem));
    out.client_cert_pem = *(*signer)->sign_node(*request, node, std::chrono::hours(1));
    return out;
  }
  void start_node(const HttpClientOptions& options) {
    client_ = std::move(*make_http_client(options));
    TunnelEnd::Options end;
    end.connect = [this](const std::stop_token& stop) {
      ++connects_;
      return client_->connect(server_port_, stop);
    };
    end.serve = [this](const TunnelRequest& request) -> Result<std::unique_ptr<TunnelSource>> {
      const std::lock_guard lock(mutex_);
      asked_path_ = request.path;
      asked_ = Json::parse(request.options, nullptr, false);
      if (refusal_.code != Code::Internal) return refusal_;
      return std::unique_ptr<TunnelSource>(std::make_unique<ScriptSource>(script_));
    };
    end.retry_min = std::chrono::milliseconds(1);
    end.retry_max = std::chrono::milliseconds(20);
    server_port_ = server_->tunnel_port();
    end_ = std::move(*TunnelEnd::create(std::move(end)));
    end_->start();
  }
  Json asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  std::string asked_path() {
    const std::lock_guard lock(mutex_);
    return asked_path_;
  }
  void refuse(Error error) {
    const std::lock_guard lock(mutex_);
    refusal_ = std::move(error);
  }

  Script script_;
  std::mutex mutex_;
  std::string asked_path_;
  Json asked_;
  Error refusal_{};  // Internal: none
  std::atomic<int> connects_{0};
  std::atomic<int> server_port_{0};
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<TunnelEnd> end_;
};

}  // namespace coracle
