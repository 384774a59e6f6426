// `coracle agent`: joins a server once, then runs the node agent over HTTPS with the credential it
// got.
#include <coracle/files.h>
#include <coracle/join.h>
#include <coracle/log.h>

#include <algorithm>
#include <filesystem>

#include "commands.h"
#include "process.h"

namespace coracle {
namespace {

constexpr std::chrono::minutes kRenewalRetry{10};

struct Settings {
  std::string data_dir, directory;  // the credential's
  std::string node_name;            // "" when not asked for
  Ip node_ip;
};

Result<Settings> read_flags(const AgentFlags& flags) {
  Settings out;
  std::error_code ignored;
  out.data_dir = std::filesystem::absolute(flags.data_dir, ignored).lexically_normal();
  if (out.data_dir.size() > 1 && out.data_dir.back() == '/') out.data_dir.pop_back();
  out.directory = out.data_dir + "/agent";
  out.node_name = flags.node_name;
  if (flags.node_ip.empty()) {
    out.node_ip = TRY(detect_node_ip());
    return out;
  }
  auto ip = Ip::parse(flags.node_ip);
  if (!ip) return ip.error().context("--node-ip");
  out.node_ip = *ip;
  return out;
}

Result<NodeCredential> join(const AgentFlags& flags, const Settings& settings) {
  if (flags.server.empty() || flags.token.empty())
    return Error{Code::BadRequest,
                 settings.data_dir +
                     " holds no credential of a node yet: --server and --token are "
                     "needed (`coracle token create` on the server prints them)"};
  ClusterJoin join;
  join.server = flags.server;
  join.token = TRY(JoinToken::parse(flags.token));
  join.directory = settings.directory;
  join.node_name = settings.node_name.empty() ? host_name() : settings.node_name;
  join.addresses = {settings.node_ip};
  join.replace = flags.replace;
  auto joined = join_cluster(join, system_clock());
  if (joined) log::info("agent", "joined the cluster", {{"node", joined->node_name}});
  return joined;
}

// The one that is kept, pointed to --server; or what a join yields.
Result<NodeCredential> credential_of(const AgentFlags& flags, const Settings& settings) {
  auto kept = load_credential(settings.directory);
  const bool other_name =
      kept && !settings.node_name.empty() && settings.node_name != kept->node_name;
  // Without a token it is this credential or none.
  if (other_name && flags.token.empty())
    return Error{Code::Conflict, settings.data_dir + " is that of the node \"" + kept->node_name +
                                     "\": to join as \"" + settings.node_name +
                                     "\", a token is needed"};
  if (!kept && !is_not_found(kept.error()) && flags.token.empty()) return kept;
  if (!kept || other_name) return join(flags, settings);
  if (!flags.token.empty()) {
    // A token of another cluster than the one that is kept means that one.
    const JoinToken token = TRY(JoinToken::parse(flags.token));
    if (TRY(certificate_hash(kept->ca_pem)) != token.ca_hash || flags.replace)
      return join(flags, settings);
  }
  if (flags.server.empty()) return kept;
  const std::string server = TRY(server_address(flags.server));
  std::erase(kept->servers, server);
  kept->servers.insert(kept->servers.begin(), server);
  TRY(store_credential(settings.directory, *kept));
  return kept;
}

// Keeps the credential valid and pointed to where the server is.
class Keeper {
 public:
  explicit Keeper(std::string directory) : directory_(std::move(directory)) {}
  // True when it is another one now, or names another server first.
  bool look(NodeCredential& credential) {
    bool changed = false;
    const auto moved = find_server(directory_, credential);
    if (moved && *moved) {
      log::info("agent", "the server answers at another address",
                {{"server", credential.servers.front()}});
      changed = true;
    }
    const Clock& clock = system_clock();
    if (!moved || clock.now() < credential.renew_at || clock.steady_now() < next_try_)
      return changed;
    auto renewed = renew_credential(directory_, credential, clock);
    if (renewed) {
      credential = std::move(*renewed);
      return true;
    }
    next_try_ = clock.steady_now() + kRenewalRetry;
    log::warn("agent", "the certificate is not renewed, retrying in 10 min",
              {{"error", renewed.error().message}});
    return changed;
  }

 private:
  const std::string directory_;
  std::chrono::steady_clock::time_point next_try_;
};

// Until a signal (the result), or until the credential is another one (0).
Result<int> run_node(const Settings& settings, NodeCredential& credential, Keeper& keeper,
                     const sigset_t& signals) {
  const Clock& clock = system_clock();
  const auto client = TRY(make_http_client(credential.client_options()));
  const auto agent = TRY(Agent::create(*client, clock,
                                       {.node_name = credential.node_name,
                                        .node_ip = settings.node_ip,
                                        .data_dir = settings.data_dir,
                                        .pod_cidr = credential.cluster.pod_cidr,
                                        .cluster_domain = credential.cluster.cluster_domain,
                                        .cluster_dns = credential.cluster.cluster_dns,
                                        .proxy_mode = credential.cluster.proxy_mode,
                                        .runtime = "process",
                                        .backend = credential.cluster.backend,
                                        .version = "v" CORACLE_VERSION}));
  if (!agent->wait_ready(clock.steady_now() + std::chrono::seconds(30)))
    log::warn("agent", "the node is not ready after 30 s, going on",
              {{"node", credential.node_name}, {"server", credential.servers.front()}});
  (void)keeper.look(credential);
  notify("READY=1");
  const int signal = wait_for_signal(signals, [&] { return !keeper.look(credential); });
  agent->stop();
  return signal;
}

Result<void> serve(const AgentFlags& flags, const Settings& settings, const sigset_t& signals) {
  TRY(make_data_dir(settings.data_dir));
  NodeCredential credential = TRY(credential_of(flags, settings));
  Keeper keeper(settings.directory);
  (void)keeper.look(credential);
  log::info("agent", "running as a node",
            {{"node", credential.node_name}, {"server", credential.servers.front()}});
  int signal = 0;
  // Pods and rules stay up while the agent begins anew with another certificate.
  while (signal == 0) signal = TRY(run_node(settings, credential, keeper, signals));
  notify("STOPPING=1");
  log::info("agent", "stopping; Pods and rules stay up",
            {{"signal", signal == SIGINT ? "SIGINT" : "SIGTERM"}});
  return {};
}

}  // namespace

int run_agent(const AgentFlags& flags) {
  const sigset_t signals = begin_process();
  const auto settings = read_flags(flags);
  if (!settings) return fail(settings.error());
  const auto served = serve(flags, *settings, signals);
  return served ? 0 : fail(served.error());
}

}  // namespace coracle
