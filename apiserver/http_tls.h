// The TLS side of http_server.cc: sets up the context civetweb accepts with, and tells the
// connection a thread works on.
#pragma once

#include <coracle/result.h>

#include <string>

struct ssl_ctx_st;

namespace coracle {

// TLS 1.2 or newer, the server's certificate, and a client certificate asked for but not demanded.
// Who it names is checked per request (a stranger's gets a 401 that says so, not a broken
// handshake).
bool configure_tls(ssl_ctx_st* context, const std::string& certificate_pem,
                   const std::string& key_pem, const std::string& client_ca_pem);

// The connection this thread accepted last, which civetweb does not show: -1 and "" without one.
int current_socket();
const std::string& current_peer_certificate();  // DER
// False when the peer has closed its side or the connection broke.
bool socket_alive(int fd);
// Lets the kernel keep connections that sent nothing: of the listening sockets of this process,
// those on `port`.
void defer_silent_connections(int port);

}  // namespace coracle
