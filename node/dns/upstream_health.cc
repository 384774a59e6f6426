#include "dns/upstream_health.h"

#include <algorithm>

namespace coracle::dns {
namespace {

constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kLongestPause{30};
constexpr std::chrono::minutes kPlainFor{15};

}  // namespace

void UpstreamHealth::set_servers(const std::vector<UpstreamServer>& servers) {
  std::vector<State> states;
  for (const UpstreamServer& server : servers) {
    const State* old = find(server);
    states.push_back(old != nullptr ? *old : State{server});
  }
  states_ = std::move(states);
}

std::vector<UpstreamServer> UpstreamHealth::order(Time now) const {
  std::vector<const State*> states;
  states.reserve(states_.size());
  for (const State& state : states_) states.push_back(&state);
  const auto waits = [&](const State* s) { return s->failures > 0 && s->retry > now; };
  std::stable_sort(states.begin(), states.end(), [&](const State* a, const State* b) {
    if (waits(a) != waits(b)) return waits(b);
    return waits(a) && a->retry < b->retry;
  });
  std::vector<UpstreamServer> out;
  out.reserve(states.size());
  for (const State* state : states) out.push_back(state->server);
  return out;
}

void UpstreamHealth::answered(const UpstreamServer& server) {
  if (State* state = find(server)) state->failures = 0;
}

void UpstreamHealth::failed(const UpstreamServer& server, Time now) {
  State* state = find(server);
  if (state == nullptr) return;
  const auto pause = kFirstPause * (std::size_t{1} << std::min<std::size_t>(state->failures, 5));
  state->retry = now + std::min<std::chrono::seconds>(pause, kLongestPause);
  ++state->failures;
}

void UpstreamHealth::refused_edns(const UpstreamServer& server, Time now) {
  if (State* state = find(server)) state->plain_until = now + kPlainFor;
}

bool UpstreamHealth::takes_edns(const UpstreamServer& server, Time now) const {
  const State* state = find(server);
  return state == nullptr || !state->plain_until || *state->plain_until <= now;
}

const UpstreamHealth::State* UpstreamHealth::find(const UpstreamServer& server) const {
  const auto found = std::find_if(states_.begin(), states_.end(),
                                  [&](const State& state) { return state.server == server; });
  return found == states_.end() ? nullptr : &*found;
}

UpstreamHealth::State* UpstreamHealth::find(const UpstreamServer& server) {
  const auto found = std::find_if(states_.begin(), states_.end(),
                                  [&](const State& state) { return state.server == server; });
  return found == states_.end() ? nullptr : &*found;
}

}  // namespace coracle::dns
