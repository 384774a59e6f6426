// What a node tells of itself: asks its agent through the tunnel, and passes on what comes. The
// proxy subresource of Nodes is made of it: of what a kubelet serves there, what an agent has.
#include <algorithm>
#include <chrono>
#include <semaphore>

#include "handlers.h"
#include "stream_loop.h"
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

struct NodePage {
  const char* path;     // behind nodes/NAME/proxy/
  const char* request;  // at the agent
  const char* type;
};
constexpr NodePage kNodePages[] = {{"healthz", "/v1/healthz", "text/plain; charset=utf-8"},
                                   {"metrics", "/v1/metrics", kMetricsType}};

// NotFound, naming those there are.
Result<const NodePage*> node_page(const std::string& path) {
  std::string there;
  for (const NodePage& page : kNodePages) {
    if (path == page.path) return &page;
    there.append(there.empty() ? "" : ", ").append(page.path);
  }
  return Error{Code::NotFound, "there is no \"" + path + "\" at a node, only these: " + there};
}

class NodeStream final : public StreamSource {
 public:
  explicit NodeStream(std::unique_ptr<TunnelStream> stream) : stream_(std::move(stream)) {}
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

}  // namespace

Result<std::shared_ptr<StreamSource>> Handlers::ask_node(const std::string& node,
                                                         const TunnelRequest& request) const {
  const Error busy{Code::TooManyRequests, "Too many requests, please try again later.", {}, 1};
  if (options_.tunnels == nullptr)
    return Error{Code::Unavailable, "this server has no connections to nodes"};
  const Turn turn(node_turns_, kTurnPatience);
  if (!turn.taken()) return busy;
  const auto now = steady_clock::now();
  auto stream = TRY(options_.tunnels->open(node, request, now + kConnectPatience));
  TRY(stream->wait_answer(now + kAnswerPatience));
  return std::shared_ptr<StreamSource>(std::make_shared<NodeStream>(std::move(stream)));
}

Handlers::Answer Handlers::proxy(const Asked& asked, const ResourceKind& kind) const {
  const ApiPath& route = asked.route;
  if (asked.http.method != "GET" && asked.http.method != "HEAD")
    return Error{Code::MethodNotAllowed, "only GET is supported on nodes/proxy"};
  (void)TRY(options_.registry.get(kind, {"", route.name}));
  const NodePage* page = TRY(node_page(route.extra));
  auto stream = ask_node(route.name, {page->request, ""});
  if (!stream && is_not_found(stream.error()))
    return Error{Code::NotFound, "the agent of node \"" + route.name + "\" knows no \"" +
                                     page->path + "\": it is of an earlier version"};
  if (!stream)
    return stream.error().context("the " + std::string(page->path) + " of node \"" + route.name +
                                  "\" cannot be read");
  HttpResponse response;
  response.content_type = page->type;
  response.stream = std::move(*stream);
  return response;
}

}  // namespace coracle
