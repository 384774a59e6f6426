// Joining: the authority is fetched from whoever answers and held against the token's hash; only
// then, and only over a connection that this authority vouches for, the token is shown.
#include <coracle/files.h>
#include <coracle/join.h>
#include <coracle/log.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "http_request.h"
#include "node_key.h"

namespace coracle {
namespace {

constexpr std::size_t kLongestAnswer = std::size_t{256} * 1024;
constexpr long kTimeoutMs = 20'000;
constexpr const char* kControlPlane = "node-role.kubernetes.io/control-plane";
constexpr const char* kJoinPath = "/coracle/v1/join";

struct Answer {
  CURLcode outcome = CURLE_OK;
  std::string problem;
  long status = 0;
  std::string body;
};

std::size_t take(char* data, std::size_t size, std::size_t count, void* to) {
  auto* body = static_cast<std::string*>(to);
  if (body->size() + size * count > kLongestAnswer) return 0;
  body->append(data, size * count);
  return size * count;
}

Answer ask(const HttpClientOptions& options, const std::string& path, const std::string* body) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  Answer answer;
  const CurlHandle handle(started == CURLE_OK ? curl_easy_init() : nullptr);
  if (!handle) return {CURLE_FAILED_INIT, "libcurl did not start", 0, ""};
  CURL* h = handle.get();
  const CurlHeaders route = apply_credentials(h, options);
  const CurlHeaders headers = request_headers(options, body == nullptr ? "" : "application/json");
  char problem[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(h, CURLOPT_URL, request_url(options, path).c_str());
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, problem);
  curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, kTimeoutMs);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, &take);
  if (body != nullptr) {
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, body->data());
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
  }
  if (options.ca_pem.empty()) {
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  answer.outcome = curl_easy_perform(h);
  answer.problem = problem[0] != '\0' ? problem : curl_easy_strerror(answer.outcome);
  curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

// What a connection that did not come about says of the address, the port, the clock or the CA.
Error unreachable(const std::string& server, const Answer& answer) {
  switch (answer.outcome) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return {Code::Unavailable, "the host name in " + server + " is not known: " + answer.problem};
    case CURLE_COULDNT_CONNECT:
      return {Code::Unavailable, "nobody answers at " + server +
                                     ": is the server up, the address right and the port open? " +
                                     answer.problem};
    case CURLE_OPERATION_TIMEDOUT:
      return {Code::Unavailable, server + " does not answer in time: " + answer.problem};
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_GOT_NOTHING:
      return {Code::BadRequest,
              "the port of " + server +
                  " is wrong: what listens there does not speak HTTPS: " + answer.problem};
    case CURLE_PEER_FAILED_VERIFICATION: {
      const bool clock = answer.problem.find("expired") != std::string::npos;
      return {Code::Forbidden,
              clock ? "the certificate of " + server +
                          " has expired, or this machine's clock is wrong: it says " +
                          format_time(system_clock().now())
                    : server + " is not the cluster's server: " + answer.problem};
    }
    default:
      return {Code::Unavailable, "talking to " + server + ": " + answer.problem};
  }
}

Result<std::string> fetch_authority(const std::string& server, const JoinToken& token) {
  HttpClientOptions stranger;
  stranger.server = server;
  const Answer answer = ask(stranger, "/cacerts", nullptr);
  if (answer.outcome != CURLE_OK) return unreachable(server, answer);
  const auto hash = certificate_hash(answer.body);
  if (answer.status != 200 || !hash)
    return Error{Code::BadRequest, "what answers at " + server +
                                       " is no Coracle server (it has no /cacerts): is the port "
                                       "right?"};
  if (*hash != token.ca_hash)
    return Error{Code::Forbidden, server +
                                      " is another cluster's than the token's, or somebody "
                                      "is in between: its authority has the hash " +
                                      *hash + ", the token names " + token.ca_hash};
  return answer.body;
}

Result<std::string> node_key(const std::string& directory) {
  const std::string path = directory + "/node.key";
  auto known = read_whole_file(path);
  // Kept from a join that was interrupted: the name may be this key's already.
  if (known && make_signing_request(*known)) return known;
  std::string made = TRY(make_node_key());
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return Error::from_errno(errno, "creating " + directory);
  TRY(write_file_atomically(path, made, 0600));
  return made;
}

Error refused(const Answer& answer, const std::string& server) {
  Error error = error_from_status(answer.body, answer.status);
  if (error.code == Code::Unauthorized) return error.context(server + " refuses the token");
  return error.context(server);
}

// Asks for a certificate and stores what comes.
Result<NodeCredential> obtain(const std::string& directory, const HttpClientOptions& as,
                              NodeCredential wanted, Json body, const Clock& clock) {
  const std::string& server = as.server;
  body["nodeName"] = wanted.node_name;
  body["csr"] = TRY(make_signing_request(wanted.key_pem));
  const std::string text = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  const Answer answer = ask(as, kJoinPath, &text);
  if (answer.outcome != CURLE_OK) return unreachable(server, answer);
  if (answer.status != 200) return refused(answer, server);
  const Json document = Json::parse(answer.body, nullptr, false);
  const Json* cluster = json_find(document, {"cluster"});
  wanted.certificate_pem = json_string(document, {"certificate"});
  const auto end = certificate_end(wanted.certificate_pem, wanted.key_pem);
  auto settings = cluster == nullptr ? Result<ClusterSettings>(Error{Code::Internal, "nothing"})
                                     : read_cluster_settings(*cluster);
  if (!end || !settings)
    return Error{Code::Internal, server + " gave an answer that makes no sense"};
  wanted.cluster = std::move(*settings);
  wanted.renew_at = clock.now() + (*end - clock.now()) / 3 * 2;
  TRY(store_credential(directory, wanted));
  return wanted;
}

}  // namespace

Result<std::string> server_address(const std::string& text) {
  constexpr std::string_view kScheme = "https://";
  std::string out = text;
  while (!out.empty() && out.back() == '/') out.pop_back();
  if (out.starts_with("http://"))
    return Error{Code::BadRequest, "--server " + text + ": the server speaks https:// only"};
  if (!out.starts_with(kScheme)) out = std::string(kScheme) + out;
  const std::string host = out.substr(kScheme.size());
  const auto bracket = host.rfind(']');
  const auto colon = host.rfind(':');
  const bool port = colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  const std::string number = port ? host.substr(colon + 1) : "6443";
  const bool digits = !number.empty() && number.size() <= 5 &&
                      number.find_first_not_of("0123456789") == std::string::npos;
  if (host.empty() || colon == 0 || host.find_first_of("/?#@ ") != std::string::npos || !digits ||
      std::stoi(number) < 1 || std::stoi(number) > 65535)
    return Error{Code::BadRequest, "--server " + text + ": https://HOST[:PORT] is needed"};
  return port ? out : out + ":6443";
}

Result<NodeCredential> join_cluster(const ClusterJoin& join, const Clock& clock) {
  const std::string server = TRY(server_address(join.server));
  NodeCredential wanted;
  wanted.ca_pem = TRY(fetch_authority(server, join.token));
  wanted.node_name = join.node_name;
  wanted.servers = {server};
  wanted.key_pem = TRY(node_key(join.directory));
  HttpClientOptions as = wanted.client_options();
  as.client_key_pem.clear();
  as.token = join.token.bootstrap_token();
  Json body = {{"replace", join.replace}, {"addresses", Json::array()}};
  for (const Ip& address : join.addresses) body["addresses"].push_back(address.to_string());
  return obtain(join.directory, as, std::move(wanted), std::move(body), clock);
}

Result<bool> find_server(const std::string& directory, NodeCredential& credential,
                         const std::string& hint, const std::stop_token& stop) {
  std::vector<std::string> candidates = credential.servers;
  if (!hint.empty()) {
    std::erase(candidates, hint);
    candidates.insert(candidates.begin(), hint);
  }
  std::optional<Error> first;
  for (const std::string& candidate : candidates) {
    if (stop.stop_requested()) break;
    HttpClientOptions options = credential.client_options();
    options.server = candidate;
    const auto client = TRY(make_http_client(options));
    const std::stop_callback cut(stop, [&client] { client->reconnect(); });
    const auto nodes = client->list(resources::kNodes, {.label_selector = kControlPlane});
    // One that refuses answers, too.
    const bool away =
        !nodes && (nodes.error().code == Code::Unavailable || nodes.error().code == Code::Timeout);
    if (away && !first) first = nodes.error();
    if (away) continue;
    const bool moved = credential.servers.front() != candidate;
    std::erase(credential.servers, candidate);
    credential.servers.insert(credential.servers.begin(), candidate);
    const bool learned = nodes && remember_servers(credential, nodes->items);
    if (credential.servers.size() > kMostServers) credential.servers.resize(kMostServers);
    if (learned || moved) TRY(store_credential(directory, credential));
    return moved;
  }
  return first.value_or(Error{Code::NotFound, "no server is known"});
}

Result<NodeCredential> renew_credential(const std::string& directory,
                                        const NodeCredential& credential, const Clock& clock) {
  return obtain(directory, credential.client_options(), credential, Json::object(), clock);
}

}  // namespace coracle
