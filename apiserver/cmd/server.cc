// `coracle server`: builds the pieces in order, waits for a signal, takes them down in reverse.
#include <apiserver/api_server.h>
#include <apiserver/bootstrap.h>
#include <apiserver/local_client.h>
#include <apiserver/registry.h>
#include <apiserver/resources/resources.h>
#include <apiserver/tokens.h>
#include <coracle/controllers.h>
#include <coracle/events.h>
#include <coracle/log.h>
#include <coracle/stores.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <thread>
#include <utility>

#include "commands.h"
#include "process.h"

namespace coracle {
namespace {

struct Settings {
  std::string data_dir, node_name;
  Ip node_ip, cluster_dns;
  Cidr pod_cidr, service_cidr;
};

Error bad_flag(const std::string& what) {
  return {Code::BadRequest, what};
}

Result<Settings> parse_flags(const ServerFlags& flags) {
  Settings out;
  std::error_code ignored;
  out.data_dir = std::filesystem::absolute(flags.data_dir, ignored).lexically_normal();
  if (out.data_dir.size() > 1 && out.data_dir.back() == '/') out.data_dir.pop_back();
  out.node_name = flags.node_name.empty() ? host_name() : flags.node_name;
  if (flags.node_ip.empty()) {
    out.node_ip = TRY(detect_node_ip());
  } else {
    auto ip = Ip::parse(flags.node_ip);
    if (!ip) return ip.error().context("--node-ip");
    out.node_ip = *ip;
  }
  const auto pods = Cidr::parse(flags.pod_cidr);
  if (!pods) return pods.error().context("--pod-cidr");
  const auto services = Cidr::parse(flags.service_cidr);
  if (!services) return services.error().context("--service-cidr");
  const auto dns = Ip::parse(flags.cluster_dns);
  if (!dns) return dns.error().context("--cluster-dns");
  if (pods->overlaps(*services))
    return bad_flag("--pod-cidr " + flags.pod_cidr + " overlaps --service-cidr " +
                    flags.service_cidr);
  if (!services->contains(*dns))
    return bad_flag("--cluster-dns " + flags.cluster_dns + " is not in --service-cidr " +
                    flags.service_cidr);
  if (!pods->ip.is_v4() || pods->prefix > 24)
    return bad_flag("--pod-cidr: an IPv4 range of /24 or larger is needed, each node gets a /24");
  if (!services->ip.is_v4() || services->prefix > 28)
    return bad_flag("--service-cidr: an IPv4 range of /28 or larger is needed");
  if (flags.proxy_mode != "iptables")
    return bad_flag("--proxy-mode " + flags.proxy_mode + " is not built; these work: iptables");
  if (flags.runtime != "process")
    return bad_flag("--runtime " + flags.runtime + " is not built; these work: process");
  if (flags.backend != "vxlan" && flags.backend != "host-gw" && flags.backend != "auto")
    return bad_flag("--backend " + flags.backend +
                    " is not built; these work: vxlan, host-gw, auto");
  out.pod_cidr = *pods;
  out.service_cidr = *services;
  out.cluster_dns = *dns;
  return out;
}

// Tells what the store has to tell: in the log at once, and as Warning Events of the node as soon
// as there is an API to write them to.
class StoreNotices {
 public:
  void note(const StoreNotice& notice) {
    log::error("store", notice.message);
    const std::lock_guard lock(mutex_);
    if (events_ == nullptr) {
      early_.push_back(notice);
    } else {
      record(notice);
    }
  }
  // While it exists there are Events.
  class Telling {
   public:
    Telling(StoreNotices& notices, EventRecorder& events, const std::string& node_name)
        : notices_(notices) {
      const std::lock_guard lock(notices_.mutex_);
      notices_.events_ = &events;
      notices_.about_ = {"v1", "Node", "", node_name, node_name, ""};
      for (const StoreNotice& notice : std::exchange(notices_.early_, {})) notices_.record(notice);
    }
    ~Telling() {
      const std::lock_guard lock(notices_.mutex_);
      notices_.events_ = nullptr;
    }
    Telling(const Telling&) = delete;
    Telling& operator=(const Telling&) = delete;

   private:
    StoreNotices& notices_;
  };

 private:
  void record(const StoreNotice& notice) {
    static constexpr const char* kReasons[] = {"DatabaseRecovered", "DatabaseRepaired",
                                               "SnapshotFailed"};
    // Events have room for 1,024 bytes of message.
    events_->warning(about_, kReasons[static_cast<int>(notice.kind)],
                     notice.message.substr(0, 1000));
  }

  std::mutex mutex_;
  // Guarded by mutex_.
  EventRecorder* events_ = nullptr;
  ObjectReference about_;
  std::vector<StoreNotice> early_;
};

ApiServerOptions api_options(const ServerFlags& flags, const Settings& settings, Registry& registry,
                             const Clock& clock) {
  ApiServerOptions api{registry, clock};
  api.bind_address = flags.bind_address;
  api.port = flags.secure_port;
  api.tunnel_port_may_move = flags.tunnel_port == 0;
  api.tunnel_port = flags.tunnel_port != 0 ? flags.tunnel_port : flags.secure_port % 65535 + 1;
  api.data_dir = settings.data_dir;
  api.addresses = {settings.node_ip};
  api.cluster_domain = flags.cluster_domain;
  api.facts = {.pod_cidr = settings.pod_cidr,
               .service_cidr = settings.service_cidr,
               .cluster_domain = flags.cluster_domain,
               .cluster_dns = settings.cluster_dns,
               .proxy_mode = flags.proxy_mode,
               .backend = flags.backend};
  api.kubernetes_service_ip = settings.service_cidr.network().plus(1);
  return api;
}

// Tells everybody where the server is now.
class Publisher {
 public:
  Publisher(ApiServer& server, Registry& registry, BootstrapOptions boot)
      : server_(server),
        registry_(registry),
        boot_(std::move(boot)),
        address_(boot_.server_address) {}
  void publish(const Ip& ip) {
    boot_.server_address = ip;
    if (const auto done = server_.set_addresses({ip}); !done)
      log::error("server", "the certificate does not name the new address",
                 {{"address", ip.to_string()}, {"error", done.error().message}});
    if (const auto done = publish_server(registry_, boot_); !done)
      log::error("server", "the kubernetes endpoints do not name the new address",
                 {{"address", ip.to_string()}, {"error", done.error().message}});
  }
  // Where no agent sees at once what happens to the address. Not together with publish().
  void look() {
    const Ip now = address_.now();
    if (now != boot_.server_address) publish(now);
  }

 private:
  ApiServer& server_;
  Registry& registry_;
  BootstrapOptions boot_;
  OwnAddress address_;
};

BootstrapOptions bootstrap_options(const ServerFlags& flags, const Settings& settings) {
  BootstrapOptions boot{};
  boot.server_address = settings.node_ip;
  boot.server_port = static_cast<Port>(flags.secure_port);
  boot.service_cidr = settings.service_cidr;
  if (!flags.no_agent) boot.node_name = settings.node_name;
  return boot;
}

AgentOptions agent_options(const ServerFlags& flags, const Settings& settings, ApiServer& server,
                           Publisher& publisher) {
  return {.node_name = settings.node_name,
          .node_ip = settings.node_ip,
          .data_dir = settings.data_dir,
          .pod_cidr = settings.pod_cidr,
          .service_cidr = settings.service_cidr,
          .cluster_domain = flags.cluster_domain,
          .cluster_dns = settings.cluster_dns,
          .proxy_mode = flags.proxy_mode,
          .runtime = flags.runtime,
          .backend = flags.backend,
          .resolv_conf = flags.node.resolv_conf,
          .dns_stub_domains = flags.node.dns_stub_domains,
          .dns_hosts = flags.node.dns_hosts,
          .pod_max_pids = flags.node.pod_max_pids,
          .on_address = [&publisher](const Ip& ip) { publisher.publish(ip); },
          .version = "v" CORACLE_VERSION,
          .announce_server = [&server] { return server.url(); },
          .open_tunnel = [&server, node = settings.node_name](
                             const std::stop_token&) { return server.open_tunnel(node); }};
}

// How the second machine joins, told for as long as there is none.
Result<void> invite(Client& client, const Settings& settings) {
  if (settings.node_ip.is_loopback()) return {};
  const auto nodes = TRY(client.list(resources::kNodes, {}));
  if (std::any_of(nodes.items.begin(), nodes.items.end(),
                  [&](const Object& node) { return node.name() != settings.node_name; }))
    return {};
  const HttpClientOptions admin = TRY(admin_options(settings.data_dir));
  const std::string token = TRY(lasting_join_token(client, admin.ca_pem, "made by the server"));
  std::printf("Another machine joins with:\n\n  %s\n\n", join_command(admin.server, token).c_str());
  (void)std::fflush(stdout);
  return {};
}

Result<void> serve(const ServerFlags& flags, const Settings& settings, const sigset_t& signals) {
  const Clock& clock = system_clock();
  TRY(make_data_dir(settings.data_dir));
  const auto lock = TRY(ProcessLock::take(settings.data_dir));
  StoreNotices notices;
  auto store =
      TRY(open_sqlite_store({.path = database_path(settings.data_dir),
                             .decorate = stamp_resource_version,
                             .notice = [&](const StoreNotice& notice) { notices.note(notice); }}));
  ResourceOptions kinds{};
  kinds.service_cidr = settings.service_cidr;
  kinds.cluster_dns = settings.cluster_dns;
  kinds.tolerations = {flags.not_ready_toleration, flags.unreachable_toleration};
  auto registry = TRY(Registry::create({*store, clock, all_kinds(kinds)}));
  const BootstrapOptions boot = bootstrap_options(flags, settings);
  TRY(bootstrap(*registry, boot));
  if (const auto named = ensure_dns_service(*registry, settings.cluster_dns, flags.cluster_domain);
      !named)
    log::warn("server", "no Service names the cluster's DNS, going on",
              {{"error", named.error().message}});
  remove_expired_tokens(*registry, clock);
  auto server = TRY(ApiServer::create(api_options(flags, settings, *registry, clock)));
  TRY(publish_tunnel(*registry, server->tunnel_port()));
  LocalClient client(*registry, clock);
  EventRecorder events(client, clock, "coracle-store", settings.node_name);
  const StoreNotices::Telling telling(notices, events, settings.node_name);
  auto controllers = TRY(Controllers::create(
      client, clock,
      {.pod_cidr = settings.pod_cidr,
       .node_monitor_grace_period = std::chrono::seconds(flags.node_monitor_grace_period),
       .taken_ports = {"TCP/" + std::to_string(flags.secure_port),
                       "TCP/" + std::to_string(server->tunnel_port())}}));
  controllers->start();
  Publisher publisher(*server, *registry, boot);
  std::unique_ptr<Agent> agent;
  if (!flags.no_agent)
    agent = TRY(Agent::create(client, clock, agent_options(flags, settings, *server, publisher)));
  server->set_ready(true);
  log::info("server", "serving the API",
            {{"port", server->port()}, {"kubeconfig", server->kubeconfig_path()}});
  if (agent && !agent->wait_ready(clock.steady_now() + std::chrono::seconds(30)))
    log::warn("server", "the node is not ready after 30 s, going on",
              {{"node", settings.node_name}});
  notify("READY=1");
  if (const auto told = invite(client, settings); !told)
    log::warn("server", "no join token is made", {{"error", told.error().message}});
  const int signal = wait_for_signal(signals, [&] {
    if (!agent) publisher.look();
  });
  notify("STOPPING=1");
  log::info("server", "stopping; Pods and rules stay up",
            {{"signal", signal == SIGINT ? "SIGINT" : "SIGTERM"}});
  if (agent) agent->stop();
  controllers->stop();
  server->stop();
  return {};
}

}  // namespace

int run_server(const ServerFlags& flags) {
  const sigset_t signals = begin_process();
  const auto settings = parse_flags(flags);
  if (!settings) return fail(settings.error());
  const auto served = serve(flags, *settings, signals);
  return served ? 0 : fail(served.error());
}

int fail(const Error& error) {
  std::fprintf(stderr, "coracle: %s\n", error.message.c_str());
  return 1;
}

}  // namespace coracle
