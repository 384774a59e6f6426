// Who sent a request: a client certificate of our CA, or a bearer token. Everybody it knows may do
// everything.
#pragma once

#include <coracle/result.h>

#include <memory>
#include <string>
#include <vector>

#include "pki.h"

namespace coracle {

struct Identity {
  std::string user;
  std::vector<std::string> groups;
};

class Authenticator {
 public:
  Authenticator(std::unique_ptr<CertificateVerifier> verifier, std::string admin_token)
      : verifier_(std::move(verifier)), admin_token_(std::move(admin_token)) {}

  // `certificate_der` and `authorization` (the header's value) are "" when absent. Unauthorized
  // when neither is known. A valid certificate wins over a bad token, as upstream. Thread-safe.
  Result<Identity> authenticate(const std::string& certificate_der,
                                const std::string& authorization) const;

 private:
  std::unique_ptr<CertificateVerifier> verifier_;
  std::string admin_token_;
};

// The paths that answer anybody: /livez, /readyz, /healthz (and their checks), /version.
bool is_public_path(const std::string& path);

}  // namespace coracle
