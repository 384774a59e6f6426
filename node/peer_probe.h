// PeerProbe: tests the way to the other nodes through the Pod network, and answers their tests. One
// thread, which sleeps while there is nobody to test; without peers there is no socket either.
#pragma once

#include <coracle/clock.h>
#include <coracle/mutex.h>
#include <coracle/net.h>

#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "peer_rounds.h"
#include "probe_socket.h"

namespace coracle {

struct PeerProbeOptions {
  std::string node_name;
  Cidr cluster_cidr;  // all nodes' Pods
  Port port = kProbePort;
  RoundTimes times = {};
  // What has become known, whenever it differs. From the probe's thread; must return quickly.
  std::function<void(const std::vector<PeerResult>&)> report = {};
  // Where the server that this node runs is reached: "https://10.0.0.7:6443", or nothing. Sent to
  // all peers. Asked at each round, from the probe's thread.
  std::function<std::optional<std::string>()> announce = {};
  // A peer says that its node runs a server there; called at most once a second for each peer, from
  // the probe's thread; must return quickly. Well-formed URLs of IPv4 or IPv6 addresses only, but
  // no more than a hint from whoever can send a packet to the port: what answers there must prove
  // that it is the cluster's server.
  std::function<void(const std::string& url)> heard = {};
};

// Thread-safe, but for follow() and stop(), which exclude each other.
class PeerProbe {
 public:
  explicit PeerProbe(PeerProbeOptions options);
  ~PeerProbe();  // stops
  PeerProbe(const PeerProbe&) = delete;
  PeerProbe& operator=(const PeerProbe&) = delete;

  // From now on tests from `address`, this node's end of the Pod network, to the peers; nullopt:
  // who they are is not known yet, and any node of the cluster's range is answered and heard. The
  // network namespace is that of the thread that calls it first. Cheap when nothing changes.
  void follow(const Ip& address, const std::optional<std::vector<ProbePeer>>& peers);
  // Sends a round at once: after this node's address has changed.
  void probe_now();
  // Idempotent.
  void stop();

 private:
  using Time = PeerRounds::Time;
  struct Wanted {
    Ip address;
    std::optional<std::vector<ProbePeer>> peers = {};
    bool operator==(const Wanted&) const = default;
  };
  // What a sender may make us do.
  struct Sender {
    double answers = 0;  // that it may still have
    Time counted{};      // when that was so
    std::optional<Time> heard = {};
  };
  void wake();
  void loop(const std::stop_token& stop);
  void take_news(Time now);
  void keep_socket(Time now);
  void send_round(Time now);
  void tell();
  void wait(Time now);
  void receive(Time now);
  void handle(const ProbeSocket::Received& received, Time now);
  Sender* sender_of(const ProbeSocket::Endpoint& from);
  void answer(const ProbeSocket::Received& received, const ProbePacket& request, Sender& sender,
              Time now);
  void hear(const ProbePacket& request, Sender& sender, Time now);

  const PeerProbeOptions options_;
  const runtime::Fd wake_;
  Mutex mutex_;
  Wanted wanted_ CORACLE_GUARDED_BY(mutex_);
  bool changed_ CORACLE_GUARDED_BY(mutex_) = false;
  bool at_once_ CORACLE_GUARDED_BY(mutex_) = false;
  // Of the thread.
  Wanted now_;
  PeerRounds rounds_;
  std::optional<ProbeSocket> socket_;
  Time next_open_{};
  bool warned_ = false;
  std::size_t large_ = 0;         // the size of this round's large packets
  std::map<Ip, Sender> senders_;  // by peer; the unspecified one: all, while peers are unknown
  std::optional<std::vector<PeerResult>> told_;
  std::jthread thread_;
};

}  // namespace coracle
