// The cluster's own certificate authority and what it signs, kept in DATA/pki. Nothing else makes
// or reads keys.
#pragma once

#include <coracle/clock.h>
#include <coracle/files.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <memory>
#include <string>
#include <vector>

namespace coracle {

struct PkiOptions {
  std::string directory;      // made with mode 0700
  std::vector<Ip> addresses;  // the server certificate names these, loopback, localhost
  std::vector<std::string> host_names;
  std::string cluster_domain;  // and kubernetes[.default[.svc[.<domain>]]]
};

struct Pki {
  std::string ca_certificate;      // PEM
  std::string server_certificate;  // PEM, followed by the CA's
  std::string server_key;
  std::string admin_certificate;  // CN=kubernetes-admin, O=system:masters
  std::string admin_key;
  std::string admin_token;
};

// Reads what lies there, makes what is missing, and renews certificates that expire soon, that
// another CA signed or (the server's) whose names are no longer those asked for. Key files and the
// token are 0600. A damaged CA key is an error that names the file: a new CA would lock every
// client out.
Result<Pki> open_pki(const PkiOptions& options, const Clock& clock);

// Who a certificate names, when this CA signed it for client use. Thread-safe.
struct CertificateIdentity {
  std::string user;
  std::vector<std::string> groups;
  std::string key;      // SHA-256 of its public key (SubjectPublicKeyInfo), hexadecimal
  bool lapsed = false;  // it was valid until some time ago
};
class CertificateVerifier {
 public:
  static Result<std::unique_ptr<CertificateVerifier>> create(const std::string& ca_pem);
  virtual ~CertificateVerifier() = default;
  // DER bytes. Unauthorized otherwise, and for one that is not valid yet.
  virtual Result<CertificateIdentity> verify(const std::string& der) const = 0;
};

}  // namespace coracle
