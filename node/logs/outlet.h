// What this node tells of itself when the server asks: the node's end of the tunnel, and the logs
// behind it.
#pragma once

#include <coracle/clock.h>
#include <coracle/tunnel.h>

#include <memory>
#include <string>

#include "logs/log_service.h"

namespace coracle::logs {

struct Outlet {
  std::unique_ptr<LogService> service;
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

}  // namespace coracle::logs
