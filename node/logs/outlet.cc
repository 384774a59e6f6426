#include "logs/outlet.h"

#include <utility>

namespace coracle::logs {

Result<Outlet> make_outlet(decltype(TunnelEnd::Options::connect) connect, const Runtime& runtime,
                           const Clock& clock, const std::string& data_dir) {
  Outlet out;
  if (!connect) return out;
  out.service = TRY(LogService::create(runtime, clock, data_dir));
  LogService* const service = out.service.get();
  TunnelEnd::Options tunnel;
  tunnel.connect = std::move(connect);
  tunnel.serve = [service](const TunnelRequest& request) { return service->serve(request); };
  tunnel.also_fd = service->watch().fd();
  tunnel.also = [service] { service->watch().drain(); };
  out.tunnel = TRY(TunnelEnd::create(std::move(tunnel)));
  return out;
}

}  // namespace coracle::logs
