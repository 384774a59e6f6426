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

void Responder::respond(Bytes packet, const Source& source, const Send& send) {
  if (!serves(source.ip)) {
    ++counters_.strangers;
    return;
  }
  const auto query = parse_query(packet);
  if (!query || pending_ >= options_.max_pending) {
    ++counters_.dropped;
    return;
  }
  ++(source.transport == Transport::Udp ? counters_.udp : counters_.tcp);
  if (query->verdict != Rcode::NoError)
    return answer(*query, refusal(query->verdict), source.transport, send);
  if (options_.is_own_question && source.transport == Transport::Udp &&
      options_.is_own_question(source.ip, source.port)) {
    ++counters_.loops;
    return answer(*query, refusal(Rcode::ServFail), source.transport, send);
  }
  ++counters_.types.at(counted_type(query->question.type));
  const auto begin = clock_.steady_now();
  ++pending_;
  resolver_.resolve(
      query->question, namespace_of(source.ip),
      [this, query = *query, transport = source.transport, send, begin](const Reply& reply) {
        --pending_;
        const auto took = clock_.steady_now() - begin;
        const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), took);
        counters_.took_in_all += took;
        ++counters_.took.at(static_cast<std::size_t>(bound - kBounds.begin()));
        answer(query, reply, transport, send);
      });
}

void Responder::answer(const Query& query, const Reply& reply, Transport transport,
                       const Send& send) {
  std::string out;
  encode(query, reply, transport == Transport::Udp ? udp_limit(query) : kMaxTcp, out);
  ++counters_.rcodes.at(static_cast<std::size_t>(reply.rcode) & 15U);
  if ((static_cast<unsigned char>(out[2]) & 2U) != 0) ++counters_.truncated;
  send(out);
}

std::string Responder::namespace_of(const Ip& ip) const {
  if (!options_.search_path || !pods_) return "";
  const auto found = pods_->find(ip);
  return found == pods_->end() ? "" : found->second;
}

Counters Responder::counters() const {
  Counters out = counters_;
  out.resolver = resolver_.counters();
  return out;
}

}  // namespace coracle::dns
