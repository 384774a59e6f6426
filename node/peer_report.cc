#include "peer_report.h"

#include <coracle/api/peers.h>

#include <algorithm>

namespace coracle {
namespace {

constexpr std::size_t kMostNamed = 10;      // of a reason
constexpr std::size_t kLongestNamed = 600;  // bytes of their names

struct Reason {
  PeerVerdict verdict;
  const char* name;
  const char* meaning;
};
// The gravest first.
constexpr Reason kReasons[] = {
    {PeerVerdict::Unreachable, kPeerUnreachable, "nothing comes back from"},
    {PeerVerdict::ChecksumOffloadBroken, kPeerChecksum,
     "only packets without a UDP checksum come back from"},
    {PeerVerdict::MtuTooSmall, kPeerMtu,
     "packets as large as the Pods' MTU do not come back from"}};

const char* state_of(PeerVerdict verdict) {
  for (const Reason& reason : kReasons)
    if (reason.verdict == verdict) return reason.name;
  return kPeerOk;
}

std::string names_text(const std::vector<std::string>& names) {
  std::string text;
  std::size_t named = 0;
  for (const std::string& name : names) {
    if (named == kMostNamed || text.size() + name.size() > kLongestNamed) break;
    text += (named++ == 0 ? "" : ", ") + name;
  }
  if (named < names.size()) text += " and " + std::to_string(names.size() - named) + " more";
  return text;
}

std::vector<std::string> failing(const std::vector<PeerResult>& ready, PeerVerdict verdict) {
  std::vector<std::string> names;
  for (const PeerResult& result : ready)
    if (result.verdict == verdict) names.push_back(result.name);
  return names;
}

std::optional<PeerFinding> finding_of(const std::vector<PeerResult>& ready) {
  const bool tested = std::any_of(ready.begin(), ready.end(), [](const PeerResult& result) {
    return result.verdict.has_value();
  });
  if (!tested) return std::nullopt;
  std::size_t all = 0;
  std::size_t most = 0;
  PeerFinding out{false, "PeersReachable", "packets of every kind come back from other nodes"};
  std::string message;
  for (const Reason& reason : kReasons) {
    const auto names = failing(ready, reason.verdict);
    if (names.empty()) continue;
    all += names.size();
    if (names.size() > most) out.reason = reason.name;
    most = std::max(most, names.size());
    message += (message.empty() ? "" : "; ") + (reason.meaning + (" " + names_text(names)));
  }
  out.unavailable = all * 2 > ready.size();
  if (all > 0) out.message = message;
  return out;
}

}  // namespace

PeerReport compute_peer_report(const std::vector<PeerResult>& results) {
  PeerReport out;
  PeerStates states;
  std::vector<PeerResult> ready;
  for (const PeerResult& result : results) {
    if (result.verdict) states[result.name] = state_of(*result.verdict);
    if (result.ready) ready.push_back(result);
  }
  if (!states.empty()) out.annotation = peers_text(states);
  out.finding = finding_of(ready);
  return out;
}

}  // namespace coracle
