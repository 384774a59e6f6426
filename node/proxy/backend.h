// ProxyBackend: puts a ServiceTable into the kernel. Used from one thread at a time.
#pragma once

#include <coracle/result.h>

#include <memory>
#include <string>

#include "proxy/iptables_rules.h"
#include "proxy/service_table.h"

namespace coracle::proxy {

class ProxyBackend {
 public:
  virtual ~ProxyBackend() = default;
  // Afterwards the kernel serves `table`. After an error what was there before stays, and the next
  // call rebuilds everything.
  virtual Result<void> sync(const ServiceTable& table) = 0;
  // Whether what was last synced is still there; cheap. False before the first sync, and when
  // others have changed something: the next sync then repairs that.
  virtual Result<bool> intact() = 0;
  // Readable when intact() is worth asking; -1: there is no such descriptor (yet).
  virtual int events() const = 0;
  // Makes the next sync a full one.
  virtual void invalidate() = 0;
  // Removes everything of ours, also what a previous run left.
  virtual Result<void> cleanup() = 0;
};

// BadRequest, naming the modes that work, for any other than "iptables".
Result<std::unique_ptr<ProxyBackend>> make_backend(const std::string& mode,
                                                   const IptablesConfig& config);

}  // namespace coracle::proxy
