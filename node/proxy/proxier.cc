#include "proxy/proxier.h"

#include <coracle/metrics.h>

#include <atomic>
#include <utility>

#include "proxy/iptables_backend.h"

namespace coracle::proxy {
namespace {

using namespace std::chrono_literals;

metrics::Histogram sync_times("kubeproxy_sync_proxy_rules_duration_seconds",
                              "Time to bring the Service rules up to date.", 0.001);

std::atomic<double> last_success{0};
const metrics::Gauge last_sync("kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                               "When the Service rules were last brought up to date.",
                               [] { return last_success.load(); });

constexpr SyncLoopOptions kLoop{
    .min_interval = 10ms, .full_interval = 600s, .retry_min = 100ms, .retry_max = 2s};

}  // namespace

Result<std::unique_ptr<Proxier>> Proxier::create(ServiceCache& services, const Clock& clock,
                                                 ProxierConfig config) {
  auto backend = TRY(make_backend(config.mode, config.rules));
  return std::make_unique<Proxier>(services, clock, std::move(config), std::move(backend));
}

Proxier::Proxier(ServiceCache& services, const Clock& clock, ProxierConfig config,
                 std::unique_ptr<ProxyBackend> backend)
    : config_(std::move(config)),
      backend_(std::move(backend)),
      services_(services),
      loop_(
          "service rules", clock, kLoop, [this](bool full) { return sync(full); },
          [this] { return damaged(); }, [this] { return backend_->events(); }) {
  services_.on_change([this](const ObjectKey&) { loop_.mark_dirty(); });
  services_.on_synced([this] { loop_.mark_dirty(); });
}

Proxier::~Proxier() {
  stop();
}

void Proxier::start() {
  loop_.mark_dirty();  // also a cluster without Services has rules
  loop_.start();
}

void Proxier::stop() {
  loop_.stop();
}

bool Proxier::damaged() {
  const auto intact = backend_->intact();
  repairing_ = intact && !*intact;
  return !intact || !*intact;
}

Result<void> Proxier::sync(bool full) {
  // Half a list would delete the rules of Services that exist.
  const auto soon = std::chrono::steady_clock::now() + 500ms;
  if (!services_.wait_filled(soon))
    return Error{Code::Unavailable, "waiting for the server's Services and EndpointSlices"};
  const bool told = services_.synced();
  const bool repair = std::exchange(repairing_, false);
  if (full && !repair) backend_->invalidate();
  const auto begin = std::chrono::steady_clock::now();
  auto synced = backend_->sync(service_table(
      {services_.services(), services_.slices(), config_.node_name, config_.cluster_dns}));
  sync_times.observe_since(begin, {{"kind", repair ? "repair"
                                            : full ? "full"
                                                   : "changes"},
                                   {"result", synced ? "success" : "error"}});
  if (!synced) return synced;
  last_success =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  if (told) told_ = true;
  return {};
}

Result<void> remove_service_rules() {
  std::string failures;
  for (const IptablesVariant variant : {IptablesVariant::Nft, IptablesVariant::Legacy}) {
    auto tool = IptablesTool::open(variant);
    if (!tool) continue;
    const auto done = IptablesBackend(*tool, {}).cleanup();
    if (!done) failures += (failures.empty() ? "" : "; ") + done.error().message;
  }
  if (failures.empty()) return {};
  return Error{Code::Internal, failures};
}

}  // namespace coracle::proxy
