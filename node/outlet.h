// What this node tells of itself when the server asks: the node's end of the tunnel, and behind it
// the logs of its containers, the metrics of this process, and that it is alive.
#pragma once

#include <coracle/clock.h>
#include <coracle/tunnel.h>

#include <memory>
#include <string>

#include "logs/log_service.h"

namespace coracle {

struct Outlet {
  std::unique_ptr<logs::LogService> logs;
  std::unique_ptr<TunnelEnd> tunnel;  // last: its thread uses the other

  void start() const {
    if (tunnel) tunnel->start();
  }
  void stop() const {
    if (tunnel) tunnel->stop();
  }
};

// Without `connect` it is empty: nobody asks. Runtime and clock outlive it. Internal: no
// descriptors left.
Result<Outlet> make_outlet(decltype(TunnelEnd::Options::connect) connect, const Runtime& runtime,
                           const Clock& clock, const std::string& data_dir);

// Answers "/v1/logs", "/v1/metrics" (Prometheus text, as of now) and "/v1/healthz" ("ok"). NotFound
// for any other path; else the errors of LogService::serve. Called by the tunnel's thread only.
Result<std::unique_ptr<TunnelSource>> answer_server(logs::LogService& logs,
                                                    const TunnelRequest& request);

}  // namespace coracle
