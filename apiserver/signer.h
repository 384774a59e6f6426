// What the cluster's authority signs for others: certificates of nodes. The key of a node is made
// on the node and is never seen here.
#pragma once

#include <coracle/clock.h>
#include <coracle/result.h>

#include <chrono>
#include <memory>
#include <string>

namespace coracle {

struct SigningRequest {
  std::string key;  // fingerprint of the public key, as in CertificateIdentity
  std::string pem;
};
// Reads a PKCS #10 request whose signature proves that the sender has the key. BadRequest for
// anything else, and for keys too weak (below 112 bits of security). What it says of names and
// extensions is ignored: the server decides on them. Pure.
Result<SigningRequest> read_signing_request(const std::string& pem);

class CertificateSigner {
 public:
  // Of the authority in DATA/pki, see open_pki.
  static Result<std::unique_ptr<CertificateSigner>> create(const std::string& pki_directory,
                                                           const Clock& clock);
  virtual ~CertificateSigner() = default;
  // PEM: CN=system:node:<name>, O=system:nodes, for client use. Valid since 1970, so that a server
  // whose clock fell back there still knows its nodes; until `life` from now. Thread-safe.
  virtual Result<std::string> sign_node(const SigningRequest& request, const std::string& node_name,
                                        std::chrono::hours life) const = 0;
};

}  // namespace coracle
