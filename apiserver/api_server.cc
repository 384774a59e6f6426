#include "api_server.h"

#include "auth.h"
#include "handlers.h"
#include "http_server.h"
#include "join.h"
#include "kubeconfig.h"
#include "pki.h"
#include "signer.h"
#include "tokens.h"

namespace coracle {
namespace {

// Where clients find the server: the address it is bound to, if to one, else its first.
std::string host_port(const ApiServerOptions& options, int port) {
  Ip address = options.addresses.empty() ? Ip::v4(0x7f000001) : options.addresses.front();
  if (const auto bound = Ip::parse(options.bind_address); bound && !bound->is_unspecified())
    address = *bound;
  const std::string host = address.is_v4() ? address.to_string() : "[" + address.to_string() + "]";
  return host + ":" + std::to_string(port);
}

class Server : public ApiServer {
 public:
  explicit Server(ApiServerOptions options) : options_(std::move(options)) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override { halt(); }

  Result<void> start();
  int port() const override { return http_->port(); }
  std::string kubeconfig_path() const override { return options_.data_dir + "/kubeconfig"; }
  void set_ready(bool ready) override { handlers_->set_ready(ready); }
  void stop() override { halt(); }

 private:
  void halt() {
    if (http_) http_->stop();
  }
  Result<void> listen(const Pki& pki);

  ApiServerOptions options_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<CertificateSigner> signer_;
  std::unique_ptr<Handlers> handlers_;
  std::unique_ptr<HttpServer> http_;  // last: its threads use the others
};

Result<void> Server::start() {
  PkiOptions keys;
  keys.directory = options_.data_dir + "/pki";
  keys.addresses = options_.addresses;
  keys.addresses.push_back(options_.kubernetes_service_ip);
  if (const auto bound = Ip::parse(options_.bind_address); bound && !bound->is_unspecified())
    keys.addresses.push_back(*bound);
  std::erase_if(keys.addresses, [](const Ip& ip) { return ip.is_unspecified(); });
  keys.cluster_domain = options_.cluster_domain;
  const Pki pki = TRY(open_pki(keys, options_.clock));
  authenticator_ = std::make_unique<Authenticator>(
      TRY(CertificateVerifier::create(pki.ca_certificate)), pki.admin_token,
      bootstrap_token_lookup(options_.registry, options_.clock));
  signer_ = TRY(CertificateSigner::create(keys.directory, options_.clock));
  handlers_ = std::make_unique<Handlers>(Handlers::Options{
      options_.registry,
      options_.clock,
      *authenticator_,
      options_.version,
      host_port(options_, options_.port),
      {.bookmark_interval = options_.bookmark_interval},
      pki.ca_certificate,
      [this](const Identity& who, const HttpRequest& request) {
        return join_node({options_.registry, options_.clock, *signer_, options_.facts,
                          http_->port(), options_.node_certificate_life},
                         who, request.body);
      }});
  TRY(listen(pki));
  return write_kubeconfig(kubeconfig_path(), pki, "https://" + host_port(options_, http_->port()));
}

Result<void> Server::listen(const Pki& pki) {
  HttpServer::Options http;
  http.bind_address = options_.bind_address;
  http.port = options_.port;
  http.certificate_pem = pki.server_certificate;
  http.key_pem = pki.server_key;
  http.client_ca_pem = pki.ca_certificate;
  http.threads = options_.threads;
  http.max_connections = options_.max_connections;
  http.max_per_source = options_.max_per_source;
  http.max_streams = options_.max_watches;
  http.reserved_streams = options_.reserved_watches;
  http.header_timeout = options_.header_timeout;
  http.admit = [this](const HttpRequest& request) { return handlers_->admit(request); };
  http.handle = [this](const HttpRequest& request) { return handlers_->handle(request); };
  http.privileged = [this](const HttpRequest& request) { return handlers_->is_node(request); };
  http_ = TRY(HttpServer::create(std::move(http)));
  return {};
}

}  // namespace

Result<std::unique_ptr<ApiServer>> ApiServer::create(const ApiServerOptions& options) {
  auto server = std::make_unique<Server>(options);
  TRY(server->start());
  return std::unique_ptr<ApiServer>(std::move(server));
}

}  // namespace coracle
