#include "dns/dns_metrics.h"

#include <string>
#include <utility>

namespace coracle::dns {
namespace {

using metrics::Labels;

// A family whose lines are made of the counters as they are then.
class Derived final : public metrics::Family {
 public:
  using Write = std::function<void(std::string& out, const std::string& name, const Counters&)>;
  Derived(const char* name, const char* type, const char* help, std::function<Counters()> source,
          Write write)
      : Family(name, type, help), source_(std::move(source)), write_(std::move(write)) {}

 protected:
  void write(std::string& out, const std::string& name) const override {
    write_(out, name, source_());
  }

 private:
  const std::function<Counters()> source_;
  const Write write_;
};

void line(std::string& out, const std::string& name, const Labels& labels, std::uint64_t value) {
  out += name + metrics::to_string(labels) + " " + std::to_string(value) + "\n";
}

void write_requests(std::string& out, const std::string& name, const Counters& counters) {
  for (std::size_t i = 0; i < counters.types.size(); ++i)
    line(out, name, {{"type", kCountedTypes.at(i).second}}, counters.types[i]);
}

void write_protocols(std::string& out, const std::string& name, const Counters& counters) {
  line(out, name, {{"proto", "udp"}}, counters.udp);
  line(out, name, {{"proto", "tcp"}}, counters.tcp);
}

void write_responses(std::string& out, const std::string& name, const Counters& counters) {
  for (std::size_t i = 0; i < counters.rcodes.size(); ++i)
    if (counters.rcodes[i] > 0)
      line(out, name, {{"rcode", to_string(static_cast<Rcode>(i))}}, counters.rcodes[i]);
}

void write_durations(std::string& out, const std::string& name, const Counters& counters) {
  constexpr const char* kBounds[] = {"0.0001", "0.001", "0.01", "0.1", "1", "+Inf"};
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counters.took.size(); ++i) {
    seen += counters.took[i];
    line(out, name + "_bucket", {{"le", kBounds[i]}}, seen);
  }
  const std::chrono::duration<double> sum = counters.took_in_all;
  out += name + "_sum " + metrics::number(sum.count()) + "\n";
  line(out, name + "_count", {}, seen);
}

void write_cache(std::string& out, const std::string& name, const Counters& counters) {
  line(out, name, {{"result", "hit"}}, counters.resolver.cache_hits);
  line(out, name, {{"result", "miss"}}, counters.resolver.cache_misses);
  line(out, name, {{"result", "stale"}}, counters.resolver.stale);
}

void write_dropped(std::string& out, const std::string& name, const Counters& counters) {
  line(out, name, {{"reason", "stranger"}}, counters.strangers);
  line(out, name, {{"reason", "malformed_or_too_many"}}, counters.dropped);
}

}  // namespace

DnsMetrics::DnsMetrics(const std::function<Counters()>& source) {
  const auto add = [&](const char* name, const char* type, const char* help, Derived::Write write) {
    families_.push_back(std::make_unique<Derived>(name, type, help, source, std::move(write)));
  };
  add("coracle_dns_requests_total", "counter", "DNS questions by type.", write_requests);
  add("coracle_dns_packets_total", "counter", "DNS questions by protocol.", write_protocols);
  add("coracle_dns_responses_total", "counter", "DNS answers by rcode.", write_responses);
  add("coracle_dns_request_duration_seconds", "histogram", "Time to answer a DNS question.",
      write_durations);
  add("coracle_dns_cache_total", "counter", "Names outside the cluster by what the cache had.",
      write_cache);
  add("coracle_dns_dropped_total", "counter", "Packets without an answer.", write_dropped);
  add("coracle_dns_searched_total", "counter", "Answers found along a Pod's search path.",
      [](std::string& out, const std::string& name, const Counters& counters) {
        line(out, name, {}, counters.resolver.searched);
      });
  add("coracle_dns_upstream_failures_total", "counter", "Questions that no upstream answered.",
      [](std::string& out, const std::string& name, const Counters& counters) {
        line(out, name, {}, counters.resolver.upstream_failures);
      });
}

}  // namespace coracle::dns
