#include "dns/cluster_dns.h"

#include <chrono>
#include <utility>

namespace coracle::dns {
namespace {

using namespace std::chrono_literals;

// A burst of changes becomes one new zone, and a single one is not made to wait for it.
constexpr SyncLoopOptions kLoop{
    .min_interval = 5ms, .full_interval = 600s, .retry_min = 100ms, .retry_max = 2s};

constexpr auto kRulesPatience = 100ms;
// Shorter than the 5 s after which resolvers ask again.
constexpr auto kFillPatience = 500ms;

// Serials must not go back over a restart: seconds, as is the custom.
std::uint32_t first_serial(const Clock& clock) {
  const auto now = clock.now().time_since_epoch();
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

}  // namespace

Result<std::unique_ptr<ClusterDns>> ClusterDns::create(ServiceCache& services, const Clock& clock,
                                                       ClusterDnsOptions options) {
  const auto domain = Name::parse(options.domain);
  if (!domain || domain->is_root())
    return Error{Code::BadRequest, "the cluster domain \"" + options.domain + "\" is no DNS name"};
  const ZoneConfig zone{.domain = *domain,
                        .dns_address = options.address,
                        .pod_cidr = options.pod_cidr,
                        .service_cidr = options.service_cidr,
                        .serial = first_serial(clock)};
  return std::unique_ptr<ClusterDns>(new ClusterDns(services, clock, std::move(options), zone));
}

ClusterDns::ClusterDns(ServiceCache& services, const Clock& clock, ClusterDnsOptions options,
                       const ZoneConfig& zone)
    : services_(services),
      clock_(clock),
      options_(std::move(options)),
      table_(zone),
      loop_("cluster DNS", clock, kLoop, [this](bool) { return sync(); }),
      metrics_([this] { return counters(); }) {
  services_.on_change([this](const ObjectKey& service) {
    {
      const MutexLock lock(mutex_);
      touched_.insert(service);
    }
    loop_.mark_dirty();
  });
  services_.on_synced([this] { loop_.mark_dirty(); });
}

ClusterDns::~ClusterDns() {
  stop();
}

void ClusterDns::start() {
  loop_.mark_dirty();
  loop_.start();
}

void ClusterDns::stop() {
  loop_.stop();
  const MutexLock lock(mutex_);
  server_.reset();
}

void ClusterDns::set_own(std::set<Ip> own) {
  {
    const MutexLock lock(mutex_);
    if (own_ == own) return;
    own_ = std::move(own);
    hosts_changed_ = true;
  }
  loop_.mark_dirty();
}

void ClusterDns::set_pod(const std::string& uid, const std::string& ns,
                         const std::optional<Ip>& ip) {
  {
    const MutexLock lock(mutex_);
    const auto known = pods_.find(uid);
    if (!ip && known == pods_.end()) return;
    if (ip && known != pods_.end() && known->second == LocalPod{ns, *ip}) return;
    if (ip)
      pods_.insert_or_assign(uid, LocalPod{ns, *ip});
    else
      pods_.erase(known);
    hosts_changed_ = true;
  }
  loop_.mark_dirty();
}

bool ClusterDns::synced() const {
  const MutexLock lock(mutex_);
  return synced_;
}

Port ClusterDns::port() const {
  const MutexLock lock(mutex_);
  return server_ ? server_->port() : 0;
}

Counters ClusterDns::counters() const {
  const MutexLock lock(mutex_);
  return server_ ? server_->counters() : Counters{};
}

Result<void> ClusterDns::sync() {
  if (auto listens = ensure_server(); !listens) {
    if (std::exchange(trouble_, listens.error().message) != listens.error().message && on_trouble_)
      on_trouble_(trouble_);
    return listens;
  }
  trouble_.clear();
  tell_hosts();
  // Half a list would deny names that exist.
  const bool filled = services_.wait_filled(std::chrono::steady_clock::now() + kFillPatience);
  if (filled) compile();
  server()->start();
  if (filled) return {};
  return Error{Code::Unavailable, "waiting for the server's Services and EndpointSlices"};
}

std::shared_ptr<Server> ClusterDns::server() const {
  const MutexLock lock(mutex_);
  return server_;
}

// Who asks meanwhile waits. Until the Services are known the answer is that nobody knows.
Result<void> ClusterDns::ensure_server() {
  {
    const MutexLock lock(mutex_);
    if (server_) return {};
  }
  std::shared_ptr<Server> server = TRY(Server::create(clock_, {.listen = {options_.address},
                                                               .port = options_.port,
                                                               .pod_cidr = options_.pod_cidr,
                                                               .resolv_conf = options_.resolv_conf,
                                                               .names = options_.names,
                                                               .sockets = options_.sockets}));
  server->set_zone(table_.snapshot(), false);
  const MutexLock lock(mutex_);
  server_ = std::move(server);
  return {};
}

void ClusterDns::tell_hosts() {
  const MutexLock lock(mutex_);
  if (!std::exchange(hosts_changed_, false)) return;
  PodNamespaces pods;
  for (const auto& [uid, pod] : pods_) pods.insert_or_assign(pod.ip, pod.ns);
  server_->set_pods(std::move(pods));
  server_->set_own(own_);
}

void ClusterDns::compile() {
  std::set<ObjectKey> touched;
  {
    const MutexLock lock(mutex_);
    touched.swap(touched_);
  }
  const bool first = !std::exchange(filled_, true);
  if (first)
    for (const auto& service : services_.services()) touched.insert(service->meta.key());
  else if (options_.await_rules && !touched.empty())
    options_.await_rules(std::chrono::steady_clock::now() + kRulesPatience);
  bool changed = first;
  for (const ObjectKey& key : touched) {
    const auto service = services_.service(key);
    changed |= table_.set(key, service.get(), services_.slices_of(key));
  }
  if (!changed) return;
  server()->set_zone(table_.snapshot(), true);
  const MutexLock lock(mutex_);
  synced_ = true;
}

}  // namespace coracle::dns
