// The log subresource of Pods: asks the Pod's node through its tunnel, and passes on what comes.
#include <chrono>
#include <nlohmann/json.hpp>
#include <semaphore>

#include "handlers.h"
#include "log_options.h"
#include "tunnel/tunnel_hub.h"

namespace coracle {
namespace {

using std::chrono::steady_clock;

// A node whose agent starts over is back in a moment; one that is connected answers in
// milliseconds, unless it hangs.
constexpr auto kConnectPatience = std::chrono::seconds(3);
constexpr auto kAnswerPatience = std::chrono::seconds(10);
// A thread of the server waits meanwhile: some of them remain for all else.
constexpr auto kTurnPatience = std::chrono::seconds(2);

class LogStream final : public StreamSource {
 public:
  explicit LogStream(std::unique_ptr<TunnelStream> stream) : stream_(std::move(stream)) {}
  void start(std::function<void()> wake) override { stream_->on_news(std::move(wake)); }
  bool produce(std::string& out, std::size_t room) override {
    const auto progress = stream_->take(out, room);
    broken_ = progress == TunnelStream::Progress::Broken;
    return progress == TunnelStream::Progress::Open;
  }
  steady_clock::time_point due() const override { return steady_clock::time_point::max(); }
  bool broken() const override { return broken_; }
  bool patient() const override { return true; }

 private:
  const std::unique_ptr<TunnelStream> stream_;
  bool broken_ = false;
};

// One of the turns to wait for a node's answer, given back when this ends.
class Turn {
 public:
  Turn(std::counting_semaphore<>& turns, std::chrono::milliseconds patience)
      : turns_(turns), taken_(turns.try_acquire_for(patience)) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (taken_) turns_.release();
  }
  bool taken() const { return taken_; }

 private:
  std::counting_semaphore<>& turns_;
  const bool taken_;
};

HttpResponse plain_text() {
  HttpResponse response;
  response.content_type = "text/plain";
  return response;
}

}  // namespace

Result<std::unique_ptr<TunnelStream>> Handlers::ask_node(const std::string& node,
                                                         const TunnelRequest& request) const {
  const Error busy{Code::TooManyRequests, "Too many requests, please try again later.", {}, 1};
  if (options_.tunnels == nullptr)
    return Error{Code::Unavailable, "this server has no connections to nodes"};
  const Turn turn(log_turns_, kTurnPatience);
  if (!turn.taken()) return busy;
  const auto now = steady_clock::now();
  auto stream = TRY(options_.tunnels->open(node, request, now + kConnectPatience));
  TRY(stream->wait_answer(now + kAnswerPatience));
  return stream;
}

Handlers::Answer Handlers::log(const Asked& asked, const ResourceKind& kind) const {
  const ApiPath& route = asked.route;
  const LogOptions options = TRY(log_options(asked.query, route.name));
  const EntryPtr entry = TRY(options_.registry.get(kind, {route.ns, route.name}));
  const Json pod = parse_stored(entry->value);
  const std::string container = TRY(log_container(pod, options.container));
  const std::string node = json_string(pod, {"spec", "nodeName"});
  HttpResponse response = plain_text();
  if (node.empty()) return response;  // nothing has run yet, as upstream has it
  auto stream = ask_node(node, {"/v1/logs", encode_log_request(options, pod, container)});
  if (!stream) {
    if (is_not_found(stream.error())) return no_log(pod, container, options.previous);
    if (stream.error().code == Code::Unavailable || stream.error().code == Code::Timeout)
      return stream.error().context("the log of pod \"" + route.name + "\" cannot be read");
    return stream.error();
  }
  response.stream = std::make_shared<LogStream>(std::move(*stream));
  return response;
}

}  // namespace coracle
