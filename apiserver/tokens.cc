#include "tokens.h"

#include <coracle/log.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "kubeconfig.h"
#include "resources/fields.h"
#include "x509.h"

namespace coracle {
namespace {

constexpr std::size_t kIdSize = 6, kSecretSize = 16;
constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr const char* kNamePrefix = "bootstrap-token-";

bool of_alphabet(std::string_view text) {
  return text.find_first_not_of(kAlphabet) == std::string_view::npos;
}

Result<std::string> random_text(std::size_t size) {
  // Bytes beyond the last whole turn of the alphabet would favour its beginning.
  const std::size_t usable = 256 / kAlphabet.size() * kAlphabet.size();
  std::string out;
  while (out.size() < size) {
    unsigned char byte = 0;
    if (RAND_bytes(&byte, 1) != 1)
      return Error{Code::Internal, "making a token: " + openssl_error()};
    if (byte < usable) out += kAlphabet[byte % kAlphabet.size()];
  }
  return out;
}

// "" for what is no base64.
std::string base64_decode(const std::string& text) {
  std::string out(text.size() / 4 * 3 + 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),         // NOLINT
                                   reinterpret_cast<const unsigned char*>(text.data()),  // NOLINT
                                   static_cast<int>(text.size()));
  const auto padding = static_cast<std::size_t>(std::count(text.begin(), text.end(), '='));
  if (size < 0 || padding > 2 || static_cast<std::size_t>(size) < padding) return "";
  out.resize(static_cast<std::size_t>(size) - padding);
  return out;
}

std::string field(const Json& secret, const char* name) {
  return base64_decode(json_string(secret, {"data", name}));
}

const ResourceKind* secrets_of(const Registry& registry) {
  return registry.find("", "v1", "secrets");
}

void remove_token(Registry& registry, const Json& secret) {
  const ResourceKind* kind = secrets_of(registry);
  const std::string name = json_string(secret, {"metadata", "name"});
  DeleteOptions exactly;
  exactly.uid = json_string(secret, {"metadata", "uid"});
  const auto removed = registry.remove(*kind, {kTokenNamespace, name}, exactly, {});
  if (removed) log::info("tokens", "removed an expired token", {{"secret", name}});
}

Result<Identity> identify(Registry& registry, const Clock& clock, const std::string& text) {
  const Error unknown{Code::Unauthorized,
                      "the bootstrap token is not known: it is of another cluster, or it has "
                      "expired or was deleted"};
  const ResourceKind* kind = secrets_of(registry);
  const std::string id = text.substr(0, kIdSize);
  const auto entry = kind == nullptr
                         ? Result<EntryPtr>(unknown)
                         : registry.get(*kind, {kTokenNamespace, token_secret_name(id)});
  if (!entry) return unknown;
  const Json secret = Json::parse((*entry)->value, nullptr, false);
  const auto token = decode_bootstrap_token(secret);
  if (!token || !same_secret(token->text(), text)) return unknown;
  if (token->expired(clock.now())) {
    remove_token(registry, secret);
    return Error{Code::Unauthorized, "the bootstrap token \"" + id + "\" expired at " +
                                         format_time(*token->expiration)};
  }
  if (!token->authenticates)
    return Error{Code::Unauthorized, "the bootstrap token \"" + id + "\" is not for joining"};
  return Identity{"system:bootstrap:" + id, {"system:bootstrappers"}};
}

}  // namespace

bool is_bootstrap_token(std::string_view text) {
  return text.size() == kIdSize + 1 + kSecretSize && text[kIdSize] == '.' &&
         of_alphabet(text.substr(0, kIdSize)) && of_alphabet(text.substr(kIdSize + 1));
}

std::string token_secret_name(const std::string& id) {
  return kNamePrefix + id;
}

Result<BootstrapToken> make_bootstrap_token() {
  BootstrapToken token;
  token.id = TRY(random_text(kIdSize));
  token.secret = TRY(random_text(kSecretSize));
  return token;
}

Json bootstrap_token_secret(const BootstrapToken& token) {
  Json data = {
      {"token-id", base64_encode(token.id)},
      {"token-secret", base64_encode(token.secret)},
      {"usage-bootstrap-authentication", base64_encode(token.authenticates ? "true" : "false")}};
  if (!token.description.empty()) data["description"] = base64_encode(token.description);
  if (token.expiration) data["expiration"] = base64_encode(format_time(*token.expiration));
  return {{"apiVersion", "v1"},
          {"kind", "Secret"},
          {"metadata", {{"name", token_secret_name(token.id)}, {"namespace", kTokenNamespace}}},
          {"type", kTokenSecretType},
          {"data", std::move(data)}};
}

Result<BootstrapToken> decode_bootstrap_token(const Json& secret) {
  BootstrapToken token;
  token.id = field(secret, "token-id");
  token.secret = field(secret, "token-secret");
  token.description = field(secret, "description");
  token.authenticates = field(secret, "usage-bootstrap-authentication") == "true";
  const std::string name = json_string(secret, {"metadata", "name"});
  if (json_string(secret, {"type"}) != kTokenSecretType || !is_bootstrap_token(token.text()) ||
      name != token_secret_name(token.id))
    return Error{Code::BadRequest, "the Secret " + name + " keeps no bootstrap token"};
  // A time that cannot be read has passed, as for upstream.
  const std::string expiration = field(secret, "expiration");
  if (!expiration.empty()) token.expiration = parse_time(expiration);
  return token;
}

Authenticator::TokenLookup bootstrap_token_lookup(Registry& registry, const Clock& clock) {
  return [&registry, &clock](const std::string& text) { return identify(registry, clock, text); };
}

std::size_t remove_expired_tokens(Registry& registry, const Clock& clock) {
  const ResourceKind* kind = secrets_of(registry);
  auto tokens = FieldSelector::parse(std::string("type=") + kTokenSecretType);
  if (kind == nullptr || !tokens) return 0;
  ListRequest request;
  request.ns = kTokenNamespace;
  request.fields = std::move(*tokens);
  const auto page = registry.list(*kind, request);
  std::size_t removed = 0;
  if (!page) return removed;
  for (const EntryPtr& entry : page->entries) {
    const Json secret = Json::parse(entry->value, nullptr, false);
    const auto token = decode_bootstrap_token(secret);
    if (!token || !token->expired(clock.now())) continue;
    remove_token(registry, secret);
    ++removed;
  }
  return removed;
}

}  // namespace coracle
