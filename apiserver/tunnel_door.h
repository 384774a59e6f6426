// Where nodes' tunnels come in: TLS with the server's certificate, and only for who proves by a
// certificate of the cluster's authority to be a node. What then travels is tunnel/'s.
#pragma once

#include <coracle/result.h>

#include <memory>
#include <string>

#include "auth.h"
#include "http_tls.h"
#include "registry.h"
#include "tunnel/tunnel_hub.h"

namespace coracle {

// The node that a client certificate (DER, "" = none) names, if it may have a tunnel: it is valid,
// and its key is that of the Node of its name. Unauthorized or Forbidden, for the log. Thread-safe.
Result<std::string> tunnel_node(const Authenticator& authenticator, const Registry& registry,
                                const std::string& certificate_der);

class TunnelDoor {
 public:
  TunnelDoor(const Authenticator& authenticator, const Registry& registry)
      : authenticator_(authenticator), registry_(registry) {}
  // For connections that begin from now on. Thread-safe.
  void set(TlsContext context) { tls_.set(std::move(context)); }
  // A connection that was accepted, and that is non-blocking. REQUIRES: set() was called.
  std::unique_ptr<TunnelPeer> receive(int fd) const;

 private:
  const Authenticator& authenticator_;
  const Registry& registry_;
  SharedTlsContext tls_;
};

}  // namespace coracle
