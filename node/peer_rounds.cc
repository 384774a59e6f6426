#include "peer_rounds.h"

#include <algorithm>
#include <utility>

namespace coracle {
namespace {

bool failed(const std::optional<PeerVerdict>& verdict) {
  return verdict && *verdict != PeerVerdict::Ok;
}

bool has(const std::array<bool, kProbeKinds>& answered, ProbeKind kind) {
  return answered[static_cast<std::size_t>(kind)];
}

}  // namespace

PeerVerdict classify(const std::array<bool, kProbeKinds>& answered) {
  const bool large = has(answered, ProbeKind::Large);
  if (has(answered, ProbeKind::Small) || large)
    return large ? PeerVerdict::Ok : PeerVerdict::MtuTooSmall;
  return has(answered, ProbeKind::NoChecksum) ? PeerVerdict::ChecksumOffloadBroken
                                              : PeerVerdict::Unreachable;
}

void PeerRounds::set_peers(const std::vector<ProbePeer>& peers, Time now) {
  std::map<Ip, Peer> next;
  bool news = false;
  for (const ProbePeer& peer : peers) {
    const auto old = peers_.find(peer.address);
    const bool same = old != peers_.end() && old->second.name == peer.name;
    Peer& kept = next[peer.address];
    if (same) kept = old->second;
    kept.name = peer.name;
    const bool back = peer.ready && !kept.ready;
    kept.ready = peer.ready;
    if (same && back && kept.failing) {
      kept.failing.reset();
      if (failed(kept.verdict)) kept.verdict.reset();
    }
    news = news || !same || back;
  }
  if (peers_.empty()) due_ = now + times_.settle;
  peers_ = std::move(next);
  if (news) wanted_ = std::min(wanted_.value_or(Time::max()), now + times_.settle);
}

void PeerRounds::probe_now(Time now) {
  attempt_ = 0;
  wanted_ = now;
}

bool PeerRounds::complete() const {
  return std::all_of(peers_.begin(), peers_.end(), [](const auto& entry) {
    const Peer& peer = entry.second;
    return peer.id == 0 || std::all_of(peer.answered.begin(), peer.answered.end(),
                                       [](bool answered) { return answered; });
  });
}

// Whether it is worth to ask again soon. That a dead node is silent is no news.
bool PeerRounds::doubtful() const {
  return std::any_of(peers_.begin(), peers_.end(), [](const auto& entry) {
    const Peer& peer = entry.second;
    return peer.failing && (peer.ready || !failed(peer.verdict));
  });
}

std::vector<PeerRounds::Send> PeerRounds::step(Time now,
                                               const std::function<std::uint64_t()>& random) {
  if (running() && (complete() || (now >= due_ && attempt_ >= times_.attempts))) finish(now);
  if (running() && now >= due_) {
    ++attempt_;
    due_ = now + times_.gap;
    return missing();
  }
  const auto next_round = next();
  if (running() || !next_round || now < *next_round) return {};
  begin(now, random);
  return missing();
}

void PeerRounds::begin(Time now, const std::function<std::uint64_t()>& random) {
  wanted_.reset();
  attempt_ = 1;
  began_ = now;
  due_ = now + times_.gap;
  for (auto& [address, peer] : peers_) {
    peer.id = std::max<std::uint64_t>(random(), 1);
    peer.answered = {};
  }
}

void PeerRounds::finish(Time now) {
  for (auto& [address, peer] : peers_) {
    if (std::exchange(peer.id, 0) == 0) continue;
    const PeerVerdict verdict = classify(peer.answered);
    if (verdict == PeerVerdict::Ok) {
      peer.failing.reset();
      peer.verdict = verdict;
      continue;
    }
    if (!peer.failing) peer.failing = began_;
    if (now - *peer.failing >= times_.patience) peer.verdict = verdict;
  }
  attempt_ = 0;
  ++rounds_;
  due_ = std::max(now, began_ + (doubtful() ? times_.interval / 2 : times_.interval));
}

std::vector<PeerRounds::Send> PeerRounds::missing() const {
  std::vector<Send> out;
  for (const auto& [address, peer] : peers_) {
    for (const ProbeKind kind : {ProbeKind::Small, ProbeKind::NoChecksum, ProbeKind::Large}) {
      if (peer.id != 0 && !has(peer.answered, kind)) out.push_back({address, kind, peer.id});
    }
  }
  return out;
}

void PeerRounds::answered(const Ip& from, const ProbePacket& answer) {
  const auto found = peers_.find(from);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  if (peer.id != 0 && peer.id == answer.id && peer.name == answer.node)
    peer.answered[static_cast<std::size_t>(answer.kind)] = true;
}

std::optional<PeerRounds::Time> PeerRounds::next() const {
  if (peers_.empty()) return std::nullopt;
  if (running()) return complete() ? began_ : due_;
  return wanted_ ? std::min(*wanted_, due_) : due_;
}

std::vector<PeerResult> PeerRounds::results() const {
  std::vector<PeerResult> out;
  out.reserve(peers_.size());
  for (const auto& [address, peer] : peers_) out.push_back({peer.name, peer.ready, peer.verdict});
  std::sort(out.begin(), out.end(),
            [](const PeerResult& a, const PeerResult& b) { return a.name < b.name; });
  return out;
}

}  // namespace coracle
