// Bootstrap tokens: with one a machine joins the cluster, and can do nothing else. Kept as upstream
// keeps them (kubeadm's and its tokencleaner's, bootstrap-token-<id> in kube-system); what is given
// to people is a JoinToken (coracle/join.h), which holds one.
#pragma once

#include <coracle/clock.h>
#include <coracle/object.h>
#include <coracle/result.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "auth.h"
#include "registry.h"

namespace coracle {

inline constexpr const char* kTokenNamespace = "kube-system";
inline constexpr const char* kTokenSecretType = "bootstrap.kubernetes.io/token";

struct BootstrapToken {
  std::string id;      // 6 of a-z and 0-9; known to all who may read Secrets' names
  std::string secret;  // 16 of them
  std::string description;
  std::optional<std::chrono::system_clock::time_point> expiration;  // nullopt: never
  bool authenticates = true;                                        // may be used to join
  std::string text() const { return id + "." + secret; }
  bool expired(std::chrono::system_clock::time_point now) const {
    return expiration && *expiration <= now;
  }
};

// "abcdef.0123456789abcdef": the form, not whether there is such a token. Pure.
bool is_bootstrap_token(std::string_view text);
std::string token_secret_name(const std::string& id);  // bootstrap-token-<id>
// A new one of random characters.
Result<BootstrapToken> make_bootstrap_token();
// The Secret that keeps it, and what a Secret keeps. Pure. BadRequest for a Secret that keeps none.
Json bootstrap_token_secret(const BootstrapToken& token);
Result<BootstrapToken> decode_bootstrap_token(const Json& secret);

// For Authenticator: user system:bootstrap:<id>, group system:bootstrappers. An expired one is
// removed when it is used. Both must outlive it.
Authenticator::TokenLookup bootstrap_token_lookup(Registry& registry, const Clock& clock);
// Removes those that have expired; says how many.
std::size_t remove_expired_tokens(Registry& registry, const Clock& clock);

}  // namespace coracle
