// Which peers are asked when, and what is known of each by what came back. Pure: time and
// randomness are given.
#pragma once

#include <coracle/net.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "probe_packet.h"

namespace coracle {

// Another node, by its end of the Pod network.
struct ProbePeer {
  std::string name;
  Ip address;
  bool ready = false;  // the API says so
  bool operator==(const ProbePeer&) const = default;
};

enum class PeerVerdict { Ok, Unreachable, ChecksumOffloadBroken, MtuTooSmall };
// By kind, whether an answer has come. A large packet has a checksum, too.
PeerVerdict classify(const std::array<bool, kProbeKinds>& answered);

struct PeerResult {
  std::string name;
  bool ready = false;
  std::optional<PeerVerdict> verdict = {};  // none: not tested yet
  bool operator==(const PeerResult&) const = default;
};

struct RoundTimes {
  std::chrono::milliseconds interval{10'000};  // between rounds; half of it while a peer fails
  std::chrono::milliseconds settle{1'000};     // from news of a peer to a round
  std::chrono::milliseconds gap{500};          // from an attempt to the next
  int attempts = 3;
  // How long rounds fail until the peer does; one good round is enough for the contrary.
  std::chrono::milliseconds patience{15'000};
};

class PeerRounds {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Send {
    Ip to;
    ProbeKind kind = ProbeKind::Small;
    std::uint64_t id = 0;
  };

  explicit PeerRounds(RoundTimes times) : times_(times) {}

  // What is known of those that stay is kept, but that a peer failed is forgotten when it becomes
  // ready: what it was asked before says nothing of now.
  void set_peers(const std::vector<ProbePeer>& peers, Time now);
  // A new round begins with the next step.
  void probe_now(Time now);
  // Ends, goes on with or begins a round; what is to be sent.
  std::vector<Send> step(Time now, const std::function<std::uint64_t()>& random);
  // An answer of the size that was asked for.
  void answered(const Ip& from, const ProbePacket& answer);
  // When the next step is due; nothing without peers.
  std::optional<Time> next() const;
  // In order of names.
  std::vector<PeerResult> results() const;
  bool has_peer(const Ip& address) const { return peers_.contains(address); }
  // There is a result to tell: a round has ended, or there is nobody to ask.
  bool known() const { return rounds_ > 0 || peers_.empty(); }

 private:
  struct Peer {
    std::string name;
    bool ready = false;
    std::uint64_t id = 0;  // of the round that runs; 0: not in it
    std::array<bool, kProbeKinds> answered{};
    std::optional<Time> failing = {};  // since that round
    std::optional<PeerVerdict> verdict = {};
  };
  bool running() const { return attempt_ > 0; }
  bool complete() const;
  bool doubtful() const;
  void begin(Time now, const std::function<std::uint64_t()>& random);
  void finish(Time now);
  std::vector<Send> missing() const;

  const RoundTimes times_;
  std::map<Ip, Peer> peers_;
  int attempt_ = 0;                  // of the round that runs
  Time began_{};                     // that round
  Time due_{};                       // the next attempt, or the next round when none runs
  std::optional<Time> wanted_ = {};  // a round before the next regular one
  std::uint64_t rounds_ = 0;         // that have ended
};

}  // namespace coracle
