#include "outlet.h"

#include <coracle/metrics.h>
#include <coracle/process_metrics.h>

#include <algorithm>
#include <utility>

namespace coracle {
namespace {

// A text that is there in full.
class TextSource final : public TunnelSource {
 public:
  explicit TextSource(std::string text) : text_(std::move(text)) {}
  void start(std::function<void()> /*wake*/) override {}
  State produce(std::string& out, std::size_t room) override {
    const std::size_t size = std::min(room, text_.size() - told_);
    out.append(text_, told_, size);
    told_ += size;
    return told_ == text_.size() ? State::End : State::More;
  }

 private:
  const std::string text_;
  std::size_t told_ = 0;
};

}  // namespace

Result<std::unique_ptr<TunnelSource>> answer_server(logs::LogService& logs,
                                                    const TunnelRequest& request) {
  const auto text = [](std::string of) -> std::unique_ptr<TunnelSource> {
    return std::make_unique<TextSource>(std::move(of));
  };
  if (request.path == "/v1/logs") return logs.serve(request.options);
  if (request.path == "/v1/metrics") return text(metrics::Family::text());
  if (request.path == "/v1/healthz") return text("ok");
  return Error{Code::NotFound, "this agent knows no " + request.path};
}

Result<Outlet> make_outlet(decltype(TunnelEnd::Options::connect) connect, const Runtime& runtime,
                           const Clock& clock, const std::string& data_dir) {
  serve_process_metrics();
  Outlet out;
  if (!connect) return out;
  out.logs = TRY(logs::LogService::create(runtime, clock, data_dir));
  logs::LogService* const logs = out.logs.get();
  TunnelEnd::Options tunnel;
  tunnel.connect = std::move(connect);
  tunnel.serve = [logs](const TunnelRequest& request) { return answer_server(*logs, request); };
  tunnel.also_fd = logs->watch().fd();
  tunnel.also = [logs] { logs->watch().drain(); };
  out.tunnel = TRY(TunnelEnd::create(std::move(tunnel)));
  return out;
}

}  // namespace coracle
