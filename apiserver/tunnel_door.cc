#include "tunnel_door.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "authorizer.h"

namespace coracle {
namespace {

// A node whose cable is pulled out is noticed in some ten seconds, busy or idle, by the kernel.
constexpr int kKeepAliveIdle = 5, kKeepAliveInterval = 2, kKeepAliveProbes = 3;
constexpr int kUserTimeoutMs = 10'000;

void watch_node(int fd) {
  const auto set = [fd](int level, int option, int value) {
    (void)setsockopt(fd, level, option, &value, sizeof(value));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdle);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveInterval);
  set(IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
}

class TlsPeer final : public TunnelPeer {
 public:
  TlsPeer(int fd, const SharedTlsContext& tls, const Authenticator& authenticator,
          const Registry& registry)
      : socket_(fd), tls_(tls), authenticator_(authenticator), registry_(registry) {}

  int fd() const override { return socket_.fd(); }
  Moved read(char* into, std::size_t size) override { return socket_.read(into, size); }
  Moved write(std::string_view bytes) override { return socket_.write(bytes); }
  Step shake_hands() override {
    const Step step = socket_.shake_hands(tls_);
    if (step == Step::Done) watch_node(socket_.fd());  // after what the handshake begins with
    return step;
  }
  Result<std::string> node() const override {
    return tunnel_node(authenticator_, registry_, socket_.peer_certificate());
  }

 private:
  TlsSocket socket_;
  const SharedTlsContext& tls_;
  const Authenticator& authenticator_;
  const Registry& registry_;
};

}  // namespace

Result<std::string> tunnel_node(const Authenticator& authenticator, const Registry& registry,
                                const std::string& certificate_der) {
  if (certificate_der.empty())
    return Error{Code::Unauthorized, "it has shown no client certificate"};
  const auto who = authenticator.authenticate(certificate_der, "");
  if (!who) return Error{Code::Unauthorized, "its certificate is not of this cluster's authority"};
  std::string node = node_of(*who);
  if (node.empty()) return Error{Code::Forbidden, "\"" + who->user + "\" is no node"};
  if (who->lapsed)
    return Error{Code::Forbidden, "the certificate of node \"" + node + "\" has expired"};
  const std::string key = access_view(registry)->node_key(node);
  if (!key.empty() && key != who->key)
    return Error{Code::Forbidden, "node \"" + node + "\" has joined again with another key"};
  return node;
}

std::unique_ptr<TunnelPeer> TunnelDoor::receive(int fd) const {
  return std::make_unique<TlsPeer>(fd, tls_, authenticator_, registry_);
}

}  // namespace coracle
