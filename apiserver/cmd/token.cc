// `coracle token`: makes, shows and deletes join tokens.
#include <apiserver/tokens.h>
#include <coracle/join.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "commands.h"

namespace coracle {
namespace {

// Its kubeconfig lies in a server's data directory, with the keys beside it.
Result<HttpClientOptions> options_of(const TokenFlags& flags) {
  if (flags.kubeconfig.empty()) return admin_options(flags.data_dir);
  std::error_code ignored;
  return admin_options(std::filesystem::absolute(flags.kubeconfig, ignored).parent_path());
}

// "90s", "30m", "24h", "7d"; 0 is for ever.
Result<std::chrono::seconds> parse_ttl(const std::string& text) {
  const Error bad{Code::BadRequest, "--ttl " + text + ": 90s, 30m, 24h or 7d is needed, or 0"};
  if (text == "0") return std::chrono::seconds(0);
  const std::string number = text.substr(0, text.empty() ? 0 : text.size() - 1);
  if (number.empty() || number.size() > 6 ||
      number.find_first_not_of("0123456789") != std::string::npos)
    return bad;
  constexpr std::pair<char, int> kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86'400}};
  for (const auto& [unit, seconds] : kUnits)
    if (text.back() == unit) return std::chrono::seconds(std::stoll(number) * seconds);
  return bad;
}

Result<void> create(const TokenFlags& flags) {
  const HttpClientOptions options = TRY(options_of(flags));
  const auto client = TRY(make_http_client(options));
  const std::string token =
      TRY(make_join_token(*client, options.ca_pem, TRY(parse_ttl(flags.ttl)), flags.description));
  if (isatty(STDOUT_FILENO) == 0) {
    std::cout << token << "\n";
    return {};
  }
  std::cout << token << "\n\nOn the machine that is to join:\n\n  "
            << join_command(options.server, token) << "\n";
  return {};
}

Result<std::vector<BootstrapToken>> tokens_of(Client& client) {
  const auto secrets = TRY(client.list(
      resources::kSecrets,
      {.ns = kTokenNamespace, .field_selector = std::string("type=") + kTokenSecretType}));
  std::vector<BootstrapToken> out;
  for (const Object& secret : secrets.items)
    if (auto token = decode_bootstrap_token(secret.json())) out.push_back(std::move(*token));
  return out;
}

Result<void> list(const TokenFlags& flags) {
  const auto client = TRY(make_http_client(TRY(options_of(flags))));
  const auto tokens = TRY(tokens_of(*client));
  std::printf("%-8s%-22s%s\n", "ID", "EXPIRES", "DESCRIPTION");
  for (const BootstrapToken& token : tokens) {
    const std::string expires = token.expiration ? format_time(*token.expiration) : "<never>";
    const bool over = token.expired(system_clock().now());
    std::printf("%-8s%-22s%s%s\n", token.id.c_str(), expires.c_str(), over ? "(expired) " : "",
                token.description.c_str());
  }
  return {};
}

Result<void> remove(const TokenFlags& flags, const std::string& given) {
  const std::string id = given.substr(0, given.find('.'));
  if (!is_bootstrap_token(id + ".0123456789abcdef"))
    return Error{Code::BadRequest, "\"" + id + "\" is no token's id: 6 of a-z and 0-9"};
  const auto client = TRY(make_http_client(TRY(options_of(flags))));
  auto gone = client->remove(resources::kSecrets, {kTokenNamespace, token_secret_name(id)}, {});
  if (!gone && is_not_found(gone.error()))
    return Error{Code::NotFound, "there is no token \"" + id + "\""};
  return gone;
}

}  // namespace

Result<std::string> make_join_token(Client& client, const std::string& ca_pem,
                                    std::chrono::seconds ttl, const std::string& description) {
  BootstrapToken made = TRY(make_bootstrap_token());
  made.description = description;
  if (ttl.count() != 0) made.expiration = system_clock().now() + ttl;
  TRY(client.create(resources::kSecrets, Object(bootstrap_token_secret(made))));
  return JoinToken{made.id, made.secret, TRY(certificate_hash(ca_pem))}.to_string();
}

Result<std::string> lasting_join_token(Client& client, const std::string& ca_pem,
                                       const std::string& description) {
  constexpr std::chrono::hours kLeast{1}, kLife{24};
  const auto soon = system_clock().now() + kLeast;
  for (const BootstrapToken& token : TRY(tokens_of(client)))
    if (token.authenticates && token.description == description && !token.expired(soon))
      return JoinToken{token.id, token.secret, TRY(certificate_hash(ca_pem))}.to_string();
  return make_join_token(client, ca_pem, kLife, description);
}

std::string join_command(const std::string& server, const std::string& token) {
  return "coracle agent --server " + server + " --token " + token;
}

int token_create(const TokenFlags& flags) {
  const auto done = create(flags);
  return done ? 0 : fail(done.error());
}

int token_list(const TokenFlags& flags) {
  const auto done = list(flags);
  return done ? 0 : fail(done.error());
}

int token_delete(const TokenFlags& flags, const std::string& id) {
  const auto done = remove(flags, id);
  return done ? 0 : fail(done.error());
}

}  // namespace coracle
