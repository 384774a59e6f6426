#include "dns/responder.h"

#include <algorithm>
#include <utility>

namespace coracle::dns {
namespace {

constexpr std::array kBounds = {std::chrono::microseconds(100), std::chrono::microseconds(1000),
                                std::chrono::microseconds(10'000),
                                std::chrono::microseconds(100'000),
                                std::chrono::microseconds(1'000'000)};

std::size_t counted_type(std::uint16_t type) {
  const auto* const found =
      std::find_if(kCountedTypes.begin(), kCountedTypes.end() - 1,
                   [type](const auto& counted) { return counted.first == type; });
  return static_cast<std::size_t>(found - kCountedTypes.begin());
}

Reply refusal(Rcode rcode) {
  Reply reply;
  reply.rcode = rcode;
  return reply;
}

}  // namespace

bool Responder::serves(const Ip& ip) const {
  return ip.is_loopback() || options_.pod_cidr.contains(ip) || own_.contains(ip);
}

bool Responder::respond(Bytes packet, const Source& source, std::string& out,
                        const std::function<Send()>& later) {
  if (!serves(source.ip)) {
    ++counters_.strangers;
    return false;
  }
  if (!parse_query(packet, query_) || pending_ >= options_.max_pending) {
    ++counters_.dropped;
    return false;
  }
  ++(source.transport == Transport::Udp ? counters_.udp : counters_.tcp);
  if (query_.verdict != Rcode::NoError)
    return answer(query_, refusal(query_.verdict), source.transport, out);
  if (options_.is_own_question && source.transport == Transport::Udp &&
      options_.is_own_question(source.ip, source.port)) {
    ++counters_.loops;
    return answer(query_, refusal(Rcode::ServFail), source.transport, out);
  }
  ++counters_.types.at(counted_type(query_.question.type));
  const Time begin = clock_.steady_now();
  const std::string& pod_namespace = namespace_of(source.ip);
  if (const auto reply = resolver_.known(query_.question, pod_namespace)) {
    note_time(begin);
    return answer(query_, *reply, source.transport, out);
  }
  answer_later(source, pod_namespace, begin, later());
  return false;
}

void Responder::answer_later(const Source& source, const std::string& pod_namespace, Time begin,
                             Send send) {
  ++pending_;
  resolver_.resolve(query_.question, pod_namespace,
                    [this, query = query_, transport = source.transport, send = std::move(send),
                     begin](const Reply& reply) {
                      --pending_;
                      note_time(begin);
                      std::string out;
                      answer(query, reply, transport, out);
                      send(out);
                    });
}

void Responder::note_time(Time begin) {
  const auto took = clock_.steady_now() - begin;
  const auto* const bound = std::lower_bound(kBounds.begin(), kBounds.end(), took);
  counters_.took_in_all += took;
  ++counters_.took.at(static_cast<std::size_t>(bound - kBounds.begin()));
}

bool Responder::answer(const Query& query, const Reply& reply, Transport transport,
                       std::string& out) {
  encode(query, reply, transport == Transport::Udp ? udp_limit(query) : kMaxTcp, out);
  ++counters_.rcodes.at(static_cast<std::size_t>(reply.rcode) & 15U);
  if ((static_cast<unsigned char>(out[2]) & 2U) != 0) ++counters_.truncated;
  return true;
}

// "": of no Pod that is known here.
const std::string& Responder::namespace_of(const Ip& ip) const {
  static const std::string kNone;
  if (!options_.search_path || !pods_) return kNone;
  const auto found = pods_->find(ip);
  return found == pods_->end() ? kNone : found->second;
}

Counters Responder::counters() const {
  Counters out = counters_;
  out.resolver = resolver_.counters();
  return out;
}

}  // namespace coracle::dns
