#include "auth.h"

#include <openssl/crypto.h>
#include <strings.h>

#include <algorithm>

#include "tokens.h"

namespace coracle {
namespace {

constexpr std::string_view kScheme = "Bearer ";

std::string bearer_token(const std::string& authorization) {
  if (authorization.size() <= kScheme.size() ||
      strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) != 0)
    return "";
  const std::size_t from = authorization.find_first_not_of(' ', kScheme.size());
  return from == std::string::npos ? "" : authorization.substr(from);
}

}  // namespace

bool same_secret(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<Identity> Authenticator::authenticate(const std::string& certificate_der,
                                             const std::string& authorization) const {
  if (!certificate_der.empty()) {
    auto known = verifier_->verify(certificate_der);
    const bool node = known && std::find(known->groups.begin(), known->groups.end(),
                                         "system:nodes") != known->groups.end();
    if (known && (!known->lapsed || node))
      return Identity{std::move(known->user), std::move(known->groups), std::move(known->key),
                      known->lapsed};
  }
  const std::string token = bearer_token(authorization);
  if (!token.empty() && same_secret(token, admin_token_))
    return Identity{"kubernetes-admin", {"system:masters"}};
  if (bootstrap_token_ && is_bootstrap_token(token)) return bootstrap_token_(token);
  return Error{Code::Unauthorized, "Unauthorized"};
}

bool is_public_path(const std::string& path) {
  for (const std::string prefix : {"/livez", "/readyz", "/healthz", "/version", "/cacerts"})
    if (path == prefix || path.starts_with(prefix + "/")) return true;
  return false;
}

}  // namespace coracle
