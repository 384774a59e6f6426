#include "api_server.h"

#include <coracle/log.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "auth.h"
#include "handlers.h"
#include "http_listener.h"
#include "http_server.h"
#include "join.h"
#include "kubeconfig.h"
#include "pki.h"
#include "signer.h"
#include "tokens.h"
#include "tunnel/tunnel_hub.h"
#include "tunnel_door.h"

namespace coracle {
namespace {

std::string host_port(const Ip& address, int port) {
  const std::string host = address.is_v4() ? address.to_string() : "[" + address.to_string() + "]";
  return host + ":" + std::to_string(port);
}

class Server : public ApiServer {
 public:
  explicit Server(ApiServerOptions options)
      : options_(std::move(options)), addresses_(options_.addresses) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override { halt(); }

  Result<void> start();
  int port() const override { return http_->port(); }
  int tunnel_port() const override { return tunnels_->port(); }
  Result<std::unique_ptr<ByteStream>> open_tunnel(const std::string& node) override {
    return tunnels_->connect(node);
  }
  std::string kubeconfig_path() const override { return options_.data_dir + "/kubeconfig"; }
  Result<void> set_addresses(const std::vector<Ip>& addresses) override;
  std::string url() const override { return "https://" + where(); }
  void set_ready(bool ready) override { handlers_->set_ready(ready); }
  void stop() override { halt(); }

 private:
  void halt() {
    if (http_) http_->stop();
    if (tunnels_) tunnels_->stop();
  }
  Result<Pki> keys();
  Result<void> listen(const Pki& pki);
  Result<void> open_door(const Pki& pki);
  // Where clients find the server: the address it is bound to, if to one, else its first.
  std::string where() const;

  ApiServerOptions options_;  // but for the addresses constant
  mutable std::mutex mutex_;
  std::vector<Ip> addresses_;  // guarded by mutex_
  std::mutex renewing_;        // one at a time
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<CertificateSigner> signer_;
  std::unique_ptr<TunnelDoor> door_;
  std::unique_ptr<TunnelHub> tunnels_;
  std::unique_ptr<Handlers> handlers_;
  std::unique_ptr<HttpServer> http_;  // last: its threads use the others
};

std::string Server::where() const {
  if (const auto bound = Ip::parse(options_.bind_address); bound && !bound->is_unspecified())
    return host_port(*bound, http_->port());
  const std::lock_guard lock(mutex_);
  return host_port(addresses_.empty() ? Ip::v4(0x7f000001) : addresses_.front(), http_->port());
}

Result<Pki> Server::keys() {
  PkiOptions keys;
  keys.directory = options_.data_dir + "/pki";
  {
    const std::lock_guard lock(mutex_);
    keys.addresses = addresses_;
  }
  keys.addresses.push_back(options_.kubernetes_service_ip);
  if (const auto bound = Ip::parse(options_.bind_address); bound && !bound->is_unspecified())
    keys.addresses.push_back(*bound);
  std::erase_if(keys.addresses, [](const Ip& ip) { return ip.is_unspecified(); });
  keys.cluster_domain = options_.cluster_domain;
  return open_pki(keys, options_.clock);
}

Result<void> Server::set_addresses(const std::vector<Ip>& addresses) {
  const std::lock_guard one(renewing_);
  {
    const std::lock_guard lock(mutex_);
    addresses_ = addresses;
  }
  const Pki pki = TRY(keys());
  TRY(http_->set_certificate(pki.server_certificate, pki.server_key));
  door_->set(TRY(tls_context(pki.server_certificate, pki.server_key, pki.ca_certificate)));
  return write_kubeconfig(kubeconfig_path(), pki, url());
}

Result<void> Server::start() {
  const Pki pki = TRY(keys());
  authenticator_ = std::make_unique<Authenticator>(
      TRY(CertificateVerifier::create(pki.ca_certificate)), pki.admin_token,
      bootstrap_token_lookup(options_.registry, options_.clock));
  signer_ = TRY(CertificateSigner::create(options_.data_dir + "/pki", options_.clock));
  TRY(open_door(pki));
  handlers_ = std::make_unique<Handlers>(Handlers::Options{
      options_.registry,
      options_.clock,
      *authenticator_,
      options_.version,
      [this] { return where(); },
      {.bookmark_interval = options_.bookmark_interval},
      pki.ca_certificate,
      [this](const Identity& who, const HttpRequest& request) {
        return join_node({options_.registry, options_.clock, *signer_, options_.facts,
                          http_->port(), options_.node_certificate_life},
                         who, request.body);
      },
      tunnels_.get(),
      std::max(1, options_.threads / 4)});
  TRY(listen(pki));
  return write_kubeconfig(kubeconfig_path(), pki, url());
}

Result<void> Server::open_door(const Pki& pki) {
  door_ = std::make_unique<TunnelDoor>(*authenticator_, options_.registry);
  door_->set(TRY(tls_context(pki.server_certificate, pki.server_key, pki.ca_certificate)));
  TunnelHub::Options tunnels;
  tunnels.accept = [this](int fd) { return door_->receive(fd); };
  if (options_.tunnel_port >= 0) {
    auto listener = listen_on(options_.bind_address, options_.tunnel_port);
    if (!listener && options_.tunnel_port_may_move) {
      log::warn("server", "another port is taken for the nodes' tunnels",
                {{"error", listener.error().message}});
      listener = listen_on(options_.bind_address, 0);
    }
    tunnels.listener = TRY(std::move(listener));
  }
  tunnels_ = TRY(TunnelHub::create(std::move(tunnels)));
  return {};
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
