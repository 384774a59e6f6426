// Who sent a request: a client certificate of our CA, the admin's token or a bootstrap token. What
// they may do is authorizer.h's.
#pragma once

#include <coracle/result.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pki.h"

namespace coracle {

struct Identity {
  std::string user;
  std::vector<std::string> groups;
  std::string key = {};  // fingerprint of the certificate's key; "" = came with a token
  // The certificate was valid once. A node's only, and good for nothing but its renewal: a machine
  // that was off for long, or a server whose clock was wrong, needs no new token.
  bool lapsed = false;
};

class Authenticator {
 public:
  // Whose bootstrap token it is; Unauthorized with the reason when nobody's. Asked for what has the
  // form of one. Must be thread-safe.
  using TokenLookup = std::function<Result<Identity>(const std::string& token)>;

  Authenticator(std::unique_ptr<CertificateVerifier> verifier, std::string admin_token,
                TokenLookup bootstrap_token = {})
      : verifier_(std::move(verifier)),
        admin_token_(std::move(admin_token)),
        bootstrap_token_(std::move(bootstrap_token)) {}

  // `certificate_der` and `authorization` (the header's value) are "" when absent. Unauthorized
  // when neither is known. A valid certificate wins over a token, as upstream. Thread-safe.
  Result<Identity> authenticate(const std::string& certificate_der,
                                const std::string& authorization) const;

 private:
  std::unique_ptr<CertificateVerifier> verifier_;
  std::string admin_token_;
  TokenLookup bootstrap_token_;
};

// In time that tells nothing of where the two differ.
bool same_secret(const std::string& a, const std::string& b);

// The paths that answer anybody: /livez, /readyz, /healthz (and their checks), /version, /cacerts.
bool is_public_path(const std::string& path);

}  // namespace coracle
