// What each request does: from a parsed route, through the Registry, to a response. One function
// per verb.
#pragma once

#include <coracle/clock.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <semaphore>
#include <string>

#include "auth.h"
#include "authorizer.h"
#include "handlers_output.h"
#include "http_server.h"
#include "registry.h"
#include "router.h"
#include "status.h"
#include "tunnel/tunnel_hub.h"
#include "watch_stream.h"

namespace coracle {

// Prometheus' exposition format.
inline constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

class Handlers {
 public:
  struct Options {
    Registry& registry;
    const Clock& clock;
    const Authenticator& authenticator;
    std::string version;                          // of Coracle
    std::function<std::string()> server_address;  // "host:port" now, for /api
    WatchTimes watch_times;
    std::string ca_pem = {};  // what /cacerts shows
    // Lets a node join: join.h. Null: none can.
    std::function<Result<Json>(const Identity& who, const HttpRequest& request)> join = {};
    // The way to the nodes; null: there is none. Outlives the handlers and their streams.
    TunnelHub* tunnels = nullptr;
    int node_turns = 8;  // how many may wait at a time for a node to answer
  };
  explicit Handlers(Options options);

  // Before the body: a path that can be served, and a client that may. Errors are complete
  // responses.
  std::optional<HttpResponse> admit(const HttpRequest& request) const;
  HttpResponse handle(const HttpRequest& request) const;
  // The request is a node's (group system:nodes).
  bool is_node(const HttpRequest& request) const;
  void set_ready(bool ready) { ready_ = ready; }

 private:
  struct Call {  // one request to a resource
    const HttpRequest& http;
    const ApiPath& route;
    const Query& query;
    const ResourceKind& kind;
    OutputOptions output;
    const Identity& who;
    ObjectKey key() const { return {route.ns, route.name}; }
  };
  using Answer = Result<HttpResponse>;

  // What every request passes: who sent it, and may they. Unauthorized or Forbidden; on the paths
  // that answer anybody an Identity without a name.
  Result<Identity> check(const HttpRequest& request, const ApiPath& route,
                         const Query& query) const;
  Answer dispatch(const HttpRequest& request, StatusSubject& subject) const;
  struct Asked {
    const HttpRequest& http;
    const ApiPath& route;
    const Query& query;
    const Identity& who;
  };
  Answer resource(const Asked& asked, StatusSubject& subject) const;
  Answer run(const Call& call, Verb verb, StatusSubject& subject) const;
  Result<const ResourceKind*> kind_of(const ApiPath& route) const;

  // handlers_info.cc
  Answer info(const HttpRequest& request, const ApiPath& route, const Query& query) const;
  Answer discovery(const HttpRequest& request, const ApiPath& route) const;
  Answer openapi(const HttpRequest& request, const ApiPath& route) const;
  Answer health(const ApiPath& route, const Query& query) const;
  Answer join(const HttpRequest& request, const Identity& who) const;

  // handlers.cc
  Answer get(const Call& call) const;
  Answer list(const Call& call) const;
  Answer watch(const Call& call) const;
  Result<WatchRequest> begin_watch(const Call& call) const;

  // handlers_write.cc
  Answer create(const Call& call, StatusSubject& subject) const;
  Answer ask(const Call& call) const;
  Answer bind(const Call& call) const;
  Answer evict(const Call& call) const;
  Answer update(const Call& call) const;
  Answer patch(const Call& call) const;
  Answer remove(const Call& call) const;
  Answer remove_collection(const Call& call) const;

  // handlers_scale.cc
  Answer get_scale(const Call& call) const;
  Answer update_scale(const Call& call) const;
  Answer patch_scale(const Call& call) const;
  Result<Json> stored_scale(const Call& call) const;
  Result<Json> write_scale(const Call& call, const Json& scale, const WriteOptions& options) const;

  // handlers_log.cc
  Answer log(const Asked& asked, const ResourceKind& kind) const;

  // handlers_node.cc
  Answer proxy(const Asked& asked, const ResourceKind& kind) const;
  // The node's answer, once that has begun. The node's error; Unavailable, Timeout,
  // TooManyRequests.
  Result<std::shared_ptr<StreamSource>> ask_node(const std::string& node,
                                                 const TunnelRequest& request) const;

  // The body as an object of the kind, named as the URL says.
  static Result<Json> decode_named_body(const Call& call, const ResourceKind& kind,
                                        const std::string& options_kind);
  // What is asked of a write besides what its query says.
  Result<WriteOptions> write_options_of(const Call& call, const std::string& options_kind) const;

  Options options_;
  std::unique_ptr<AccessView> view_;
  mutable std::counting_semaphore<> node_turns_;
  std::atomic<bool> ready_{false};
  // Large, rarely asked for, and mostly by clients that unpack it themselves.
  struct Packed {
    std::string type, tag, gzip;
  };
  static Packed pack(std::string type, const std::string& document);
  static HttpResponse serve_packed(const HttpRequest& request, const Packed& document);
  Packed openapi_v2_, openapi_v2_json_;
  std::string openapi_v3_;
  std::map<std::string, Packed> openapi_v3_documents_;
};

}  // namespace coracle
