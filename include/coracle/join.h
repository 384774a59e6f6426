// How a machine becomes a node: with a join token once, and with a credential of its own from then
// on. Keys are made on the machine and never leave it.
#pragma once

#include <coracle/clock.h>
#include <coracle/http_client.h>
#include <coracle/net.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <chrono>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace coracle {

// What is given to people: "<id>.<secret>.<hash>", 88 characters of a-z, 0-9 and two dots. Id (6)
// and secret (16) are a bootstrap token as upstream has them; the hash is the SHA-256 of the
// cluster's authority's certificate (DER, 64 hexadecimal digits), by which the server proves who it
// is before it is told the rest.
struct JoinToken {
  std::string id, secret, ca_hash;
  std::string bootstrap_token() const { return id + "." + secret; }
  std::string to_string() const { return bootstrap_token() + "." + ca_hash; }
  // BadRequest says which part is wrong, and shows none of it. White space around it is ignored.
  static Result<JoinToken> parse(std::string_view text);
};
// Of the first certificate in a PEM text. BadRequest when there is none.
Result<std::string> certificate_hash(const std::string& pem);

// What every node of the cluster must agree on.
struct ClusterSettings {
  Cidr pod_cidr, service_cidr;
  std::string cluster_domain;
  Ip cluster_dns;
  std::string proxy_mode, backend;
};
// From a join's answer, or what was stored of it.
Result<ClusterSettings> read_cluster_settings(const Json& json);

inline constexpr std::size_t kMostServers = 8;

// What an agent keeps in DIRECTORY (0700): node.key, and credential.json for the rest; both 0600,
// written whole or not at all.
struct NodeCredential {
  std::string node_name;
  std::vector<std::string> servers;  // "https://HOST:PORT", at most kMostServers, that in use first
  std::string ca_pem, certificate_pem, key_pem;
  ClusterSettings cluster;
  // For make_http_client: the first server, the certificate, the authority pinned.
  HttpClientOptions client_options() const;
  // When two thirds of the certificate's life, from `now` of its making, are over.
  std::chrono::system_clock::time_point renew_at;
};
// NotFound when nothing was stored; Internal when it is damaged, naming the file.
Result<NodeCredential> load_credential(const std::string& directory);
Result<void> store_credential(const std::string& directory, const NodeCredential& credential);

struct ClusterJoin {
  std::string server;  // "https://HOST[:6443]", a name or an address
  JoinToken token;
  std::string directory;  // where node.key is kept, or made
  std::string node_name;
  std::vector<Ip> addresses;
  bool replace = false;
};
// "https://HOST:PORT" from what people write: without a port it is 6443. BadRequest when it is
// none.
Result<std::string> server_address(const std::string& text);

// Joins, and stores the credential. Its errors say which of the server's address, the port (plain
// HTTP, another protocol), the authority, the token, the name or the clock was wrong:
// Unavailable nobody answers; BadRequest no Coracle there; Forbidden the authority's hash differs;
// Unauthorized the token is unknown or expired; Conflict the name is taken.
Result<NodeCredential> join_cluster(const ClusterJoin& options, const Clock& clock);
// The addresses of the server's own Nodes are remembered, the newest first after the one in use, at
// most kMostServers in all. True when that changed anything. Pure.
bool remember_servers(NodeCredential& credential, const std::vector<Object>& control_plane);
// Asks the servers in turn, over new connections (5 s for each that is silent), for their Nodes,
// and remembers their addresses. The first that proves to be the cluster's comes to the front and
// makes the result true when it was not there. The error of the first when none does. The
// credential is stored when it changed. `hint`, where it may be now, is asked first; "" for none.
// Gives up when `stop` is requested, soon if one of them is silent just then.
Result<bool> find_server(const std::string& directory, NodeCredential& credential,
                         const std::string& hint = "", const std::stop_token& stop = {});

// A new certificate for the same key, stored; its own certificate, even an expired one, suffices.
Result<NodeCredential> renew_credential(const std::string& directory,
                                        const NodeCredential& credential, const Clock& clock);

}  // namespace coracle
