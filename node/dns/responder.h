// A packet in, a packet out: who may ask, what is asked, how it is answered, and the counting of
// it. What the cluster's names answer is written where it will be sent from, without closures and
// copies of the question: those are for what has to wait. No sockets. Of the thread of its
// Resolver.
#pragma once

#include <coracle/clock.h>
#include <coracle/net.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "dns/message.h"
#include "dns/resolver.h"

namespace coracle::dns {

enum class Transport { Udp, Tcp };

// The types of questions that are counted apart, and what all others are called.
inline constexpr std::array<std::pair<std::uint16_t, const char*>, 6> kCountedTypes = {
    {{type::kA, "A"},
     {type::kAaaa, "AAAA"},
     {type::kSrv, "SRV"},
     {type::kPtr, "PTR"},
     {type::kTxt, "TXT"},
     {0, "other"}}};

struct Counters {
  std::uint64_t udp = 0, tcp = 0;  // questions that were served
  std::array<std::uint64_t, kCountedTypes.size()> types{};
  std::uint64_t strangers = 0;  // dropped: neither a Pod nor this node
  std::uint64_t dropped = 0;    // of those we serve: no question at all, or too many wait
  std::uint64_t loops = 0;      // our own questions that came back to us
  std::uint64_t truncated = 0;  // answers with TC
  std::array<std::uint64_t, 16> rcodes{};  // answers by rcode; BADVERS is 0, as in the header
  // Answers by the time they took: up to 0.1, 1, 10, 100, 1,000 ms; longer.
  std::array<std::uint64_t, 6> took{};
  std::chrono::nanoseconds took_in_all{0};
  ResolverCounters resolver;
};

// The namespaces of this node's Pods, by their addresses.
using PodNamespaces = std::map<Ip, std::string>;

struct ResponderOptions {
  Cidr pod_cidr;                   // the cluster's: its Pods are served
  bool search_path = true;         // of Pods in set_pods()
  std::size_t max_pending = 2000;  // answers that wait for upstream; then questions are dropped
  // Whether a packet from there is a question of ours, which an upstream server sent back.
  std::function<bool(const Ip&, Port)> is_own_question = {};
};

class Responder {
 public:
  Responder(const Clock& clock, Resolver& resolver, ResponderOptions options)
      : clock_(clock), resolver_(resolver), options_(std::move(options)) {}

  // The node's addresses; loopback ones need not be named.
  void set_own(std::set<Ip> own) { own_ = std::move(own); }
  void set_pods(std::shared_ptr<const PodNamespaces> pods) { pods_ = std::move(pods); }

  // Pods of the cluster and this node; nobody else, so that we are no amplifier.
  bool serves(const Ip& ip) const;
  struct Source {
    Ip ip;
    Port port = 0;
    Transport transport = Transport::Udp;
  };
  // Takes an answer, once.
  using Send = std::function<void(const std::string& packet)>;
  // True: the answer is known, and in `out` instead of what was there. Else `later` is asked for
  // who takes it, at once or when upstream servers have answered; or it deserves none.
  bool respond(Bytes packet, const Source& source, std::string& out,
               const std::function<Send()>& later);

  std::size_t pending() const { return pending_; }  // answers that wait for upstream
  Counters counters() const;

 private:
  using Time = std::chrono::steady_clock::time_point;
  bool answer(const Query& query, const Reply& reply, Transport transport, std::string& out);
  void answer_later(const Source& source, const std::string& pod_namespace, Time begin, Send send);
  void note_time(Time begin);
  const std::string& namespace_of(const Ip& ip) const;

  const Clock& clock_;
  Resolver& resolver_;
  const ResponderOptions options_;
  std::set<Ip> own_;
  std::shared_ptr<const PodNamespaces> pods_;
  Query query_;  // the one in hand
  std::size_t pending_ = 0;
  Counters counters_;
};

}  // namespace coracle::dns
