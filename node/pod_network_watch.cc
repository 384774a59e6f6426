#include "pod_network_watch.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <utility>

namespace coracle {

PodNetworkWatch::PodNetworkWatch(RouteWatch routes, std::unique_ptr<proxy::RuleWatch> rules)
    : routes_(std::move(routes)),
      rules_(std::move(rules)),
      either_(::epoll_create1(EPOLL_CLOEXEC)) {
  for (const int fd : {routes_.fd(), rules_->fd()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    (void)::epoll_ctl(either_, EPOLL_CTL_ADD, fd, &event);
  }
}

PodNetworkWatch::~PodNetworkWatch() {
  if (either_ >= 0) ::close(either_);
}

Result<std::unique_ptr<PodNetworkWatch>> PodNetworkWatch::open(IptablesVariant variant) {
  proxy::WatchedRules watched;
  for (const OwnChain& chain : pod_chains({}, {})) {
    watched.tables.insert(chain.table);
    watched.parents.insert({chain.table, chain.parent});
  }
  watched.own = [](const std::string& name) {
    for (const OwnChain& chain : pod_chains({}, {})) {
      if (chain.chain == name) return true;
    }
    return false;
  };
  auto routes = TRY(RouteWatch::open());
  auto rules = TRY(proxy::RuleWatch::open(variant, std::move(watched)));
  return std::unique_ptr<PodNetworkWatch>(new PodNetworkWatch(std::move(routes), std::move(rules)));
}

bool PodNetworkWatch::look() {
  const RouteWatch::Seen seen = routes_.read(applied_.get());
  seen_.links |= seen.network;
  seen_.sysctls |= seen.forwarding;
  const auto damage = rules_->look();
  seen_.rules |= !damage || !damage->empty();
  return seen_.links || seen_.sysctls || seen_.rules;
}

PodNetworkParts PodNetworkWatch::take() {
  (void)look();
  return std::exchange(seen_, {false, false, false});
}

void PodNetworkWatch::ensured(PodNetworkParts parts) {
  if (!parts.rules) return;
  // Without events this is what later looks compare with. A failure is found by the next look.
  (void)rules_->after_own_change(0, 0).has_value();
}

}  // namespace coracle
