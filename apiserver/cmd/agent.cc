// `coracle agent`: joins a server once, then runs the node agent over HTTPS with the credential it
// got.
#include <coracle/files.h>
#include <coracle/join.h>
#include <coracle/log.h>
#include <coracle/tunnel.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "commands.h"
#include "keeper.h"
#include "process.h"

namespace coracle {
namespace {

struct Settings {
  std::string data_dir, directory;  // the credential's
  std::string node_name;            // "" when not asked for
  Ip node_ip;
  NodeFlags node;
};

Result<Settings> read_flags(const AgentFlags& flags) {
  Settings out;
  std::error_code ignored;
  out.data_dir = std::filesystem::absolute(flags.data_dir, ignored).lexically_normal();
  if (out.data_dir.size() > 1 && out.data_dir.back() == '/') out.data_dir.pop_back();
  out.directory = out.data_dir + "/agent";
  out.node_name = flags.node_name;
  out.node = flags.node;
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
  // What is kept there was another node's or another cluster's.
  std::error_code ignored;
  std::filesystem::remove_all(settings.data_dir + "/kept", ignored);
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

// Where the server awaits tunnels now.
Result<std::unique_ptr<ByteStream>> open_tunnel(HttpClient& client, const std::stop_token& stop) {
  const Object service = TRY(client.get(resources::kServices, {"default", "kubernetes"}));
  const std::string text = service.meta().annotations[kTunnelPortAnnotation];
  int port = kTunnelPort;
  (void)std::from_chars(text.data(), text.data() + text.size(), port);
  return client.connect(port, stop);
}

AgentOptions agent_options(const Settings& settings, const NodeCredential& credential,
                           Keeper& keeper, HttpClient& client) {
  return {
      .node_name = credential.node_name,
      .node_ip = settings.node_ip,
      .data_dir = settings.data_dir,
      .pod_cidr = credential.cluster.pod_cidr,
      .service_cidr = credential.cluster.service_cidr,
      .cluster_domain = credential.cluster.cluster_domain,
      .cluster_dns = credential.cluster.cluster_dns,
      .proxy_mode = credential.cluster.proxy_mode,
      .runtime = "process",
      .backend = credential.cluster.backend,
      .resolv_conf = settings.node.resolv_conf,
      .dns_stub_domains = settings.node.dns_stub_domains,
      .dns_hosts = settings.node.dns_hosts,
      .pod_max_pids = settings.node.pod_max_pids,
      .version = "v" CORACLE_VERSION,
      .keep_lists = true,
      .on_server_announced = [&keeper](const std::string& url) { keeper.hint(url); },
      .open_tunnel = [&client](const std::stop_token& stop) { return open_tunnel(client, stop); }};
}

Result<void> serve(const AgentFlags& flags, const Settings& settings, const sigset_t& signals) {
  const Clock& clock = system_clock();
  TRY(make_data_dir(settings.data_dir));
  const auto lock = TRY(ProcessLock::take(settings.data_dir));
  const NodeCredential credential = TRY(credential_of(flags, settings));
  log::info("agent", "running as a node",
            {{"node", credential.node_name}, {"server", credential.servers.front()}});
  const auto client = TRY(make_http_client(credential.client_options()));
  Keeper keeper(settings.directory, credential, *client, clock);
  client->on_unreachable([&keeper] { keeper.unreachable(); });
  keeper.start();
  const auto agent =
      TRY(Agent::create(*client, clock, agent_options(settings, credential, keeper, *client)));
  if (!agent->wait_ready(clock.steady_now() + std::chrono::seconds(30)))
    log::warn("agent", "the node is not ready after 30 s, going on",
              {{"node", credential.node_name}, {"server", credential.servers.front()}});
  notify("READY=1");
  const int signal = wait_for_signal(signals);
  notify("STOPPING=1");
  log::info("agent", "stopping; Pods and rules stay up",
            {{"signal", signal == SIGINT ? "SIGINT" : "SIGTERM"}});
  agent->stop();
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
