// What the node's DNS server has counted, among the metrics of the process while this object lives.
// Of an agent that runs alone they are read through the server: nodes/NAME/proxy/metrics.
#pragma once

#include <coracle/metrics.h>

#include <functional>
#include <memory>
#include <vector>

#include "dns/responder.h"

namespace coracle::dns {

class DnsMetrics {
 public:
  // `source` is called when somebody reads the metrics, from any thread.
  explicit DnsMetrics(const std::function<Counters()>& source);

 private:
  std::vector<std::unique_ptr<metrics::Family>> families_;
};

}  // namespace coracle::dns
