// The log subresource of Pods: what of a Pod is asked for, and what a failure means.
#include <nlohmann/json.hpp>

#include "handlers.h"
#include "log_options.h"

namespace coracle {

Handlers::Answer Handlers::log(const Asked& asked, const ResourceKind& kind) const {
  const ApiPath& route = asked.route;
  const LogOptions options = TRY(log_options(asked.query, route.name));
  const EntryPtr entry = TRY(options_.registry.get(kind, {route.ns, route.name}));
  const Json pod = parse_stored(entry->value);
  const std::string container = TRY(log_container(pod, options.container));
  const std::string node = json_string(pod, {"spec", "nodeName"});
  HttpResponse response;
  response.content_type = "text/plain";
  if (node.empty()) return response;  // nothing has run yet, as upstream has it
  auto stream = ask_node(node, {"/v1/logs", encode_log_request(options, pod, container)});
  if (!stream) {
    if (is_not_found(stream.error())) return no_log(pod, container, options.previous);
    if (stream.error().code == Code::Unavailable || stream.error().code == Code::Timeout)
      return stream.error().context("the log of pod \"" + route.name + "\" cannot be read");
    return stream.error();
  }
  response.stream = std::move(*stream);
  return response;
}

}  // namespace coracle
